"""Metrics: every transition counted once, whoever caused it, and cheaply."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.store.connection import Database
from email_orchestrator.web import metrics

from .conftest import Serve, Site

pytestmark = pytest.mark.usefixtures("no_tracebacks")

PREFIX = "email_orchestrator_"


def scrape(site: Site) -> dict[str, float]:
    """Read the metrics as Prometheus does; samples by name and labels."""

    def samples() -> Iterator[tuple[str, float]]:
        for family in text_string_to_metric_families(reply.body.decode()):
            for sample in family.samples:
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                yield f"{sample.name.removeprefix(PREFIX)}{{{labels}}}", sample.value

    reply = site.get("/metrics")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    listed = list(samples())
    assert len(dict(listed)) == len(listed)
    return dict(listed)


def moved(found: dict[str, float], before: str, after: str, actor: str) -> float:
    return found.get(f"transitions_total{{actor={actor},from_state={before},to_state={after}}}", 0)


def test_each_transition_is_counted_once_however_often_one_looks(site: Site, belt: Any) -> None:
    belt.offered()
    for _ in range(3):
        found = scrape(site)
        assert moved(found, "", "pending", "poll") == 1
        assert moved(found, "sms_sent", "awaiting_user", "poll") == 1
    belt.answer("1")
    assert moved(scrape(site), "awaiting_user", "user_approved", "sms") == 1
    assert moved(scrape(site), "user_approved", "reply_sent", "poll") == 1


def test_what_settles_between_two_looks_is_counted_once(site: Site, belt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SETTLED_AFTER", timedelta(0))
    for number in range(1, 6):
        belt.email()
        belt.poll()
        assert moved(scrape(site), "", "pending", "poll") == number
    belt.sql("DELETE FROM workflow_state")
    assert moved(scrape(site), "", "pending", "poll") == 5


def test_counters_begin_with_the_process(serve: Serve, belt: Any) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_event SET at = at - interval '1 minute'")
    assert moved(scrape(serve()), "", "pending", "poll") == 0


def test_failures_are_counted_by_stage(site: Site, belt: Any) -> None:
    belt.generator.failures.append(ServiceError("AI Reply Generator", "it answered 422", Kind.PERMANENT))
    belt.email()
    belt.poll()
    belt.work()
    found = scrape(site)
    assert (found["failures_total{stage=drafting}"], found["failures_total{stage=replying}"]) == (1, 0)
    assert found["workflows{state=failed}"] == 1


def test_what_waits_is_measured_now(site: Site, belt: Any) -> None:
    belt.offered()
    belt.offered()
    belt.email()
    belt.poll()
    found = scrape(site)
    assert (found["workflows{state=awaiting_user}"], found["workflows{state=pending}"]) == (2, 1)
    belt.answer("3 #1")
    belt.answer("3 #2")
    later = scrape(site)
    assert (later["workflows{state=awaiting_user}"], later["workflows{state=pending}"]) == (1, 0)
    assert found["database_up{}"] == 1
    assert found["last_poll_timestamp_seconds{}"] > 1_700_000_000


def test_times_from_email_to_text_and_from_text_to_answer_are_histograms(site: Site, belt: Any) -> None:
    for _ in range(3):
        belt.offered()
        belt.answer("1")
    belt.sql("UPDATE workflow_event SET at = at - interval '10 s' WHERE workflow_id = 1 AND to_state = 'pending'")
    belt.sql(
        "UPDATE workflow_event SET at = at + interval '10 days' WHERE workflow_id = 2 AND to_state = 'user_approved'"
    )
    found = scrape(site)
    assert found["email_to_text_seconds_count{}"] == 3
    assert found["email_to_text_seconds_bucket{le=5.0}"] == 2
    assert found["email_to_text_seconds_bucket{le=15.0}"] == 3
    assert 10 < found["email_to_text_seconds_sum{}"] < 70
    assert found["text_to_answer_seconds_bucket{le=604800.0}"] == 2
    assert found["text_to_answer_seconds_bucket{le=+Inf}"] == 3


def test_calls_to_outside_systems_are_measured_by_outcome(site: Site) -> None:
    for outcome, seconds in (("ok", 0.02), ("ok", 3.0), ("transient", 200.0)):
        site.front.vitals.called("SMS Gateway", outcome, seconds)
    site.front.vitals.thread("texting", lambda: False)
    found = scrape(site)
    ok, bad = "outcome=ok,service=SMS Gateway", "outcome=transient,service=SMS Gateway"
    assert found[f"call_duration_seconds_count{{{ok}}}"] == 2
    assert found[f"call_duration_seconds_sum{{{ok}}}"] == pytest.approx(3.02)
    assert found[f"call_duration_seconds_bucket{{le=0.025,{ok}}}"] == 1
    assert found[f"call_duration_seconds_bucket{{le=120.0,{bad}}}"] == 0
    assert found[f"call_duration_seconds_bucket{{le=+Inf,{bad}}}"] == 1
    assert found["service_up{service=SMS Gateway}"] == 0
    assert found["thread_up{thread=texting}"] == 0


def test_without_the_database_the_process_still_tells_of_itself(serve: Serve, belt: Any) -> None:
    found = scrape(serve(desk=replace(belt.desk, database=Database("host=/nonexistent dbname=none"))))
    assert found["database_up{}"] == 0
    assert "workflows{state=pending}" not in found
    assert found["seconds_since_turn{}"] >= 0
    assert found["process_resident_memory_bytes{}"] > 1_000_000
