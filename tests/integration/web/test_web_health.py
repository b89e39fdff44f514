"""Health: true, quick whatever the database does, and silent about what the emails say."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from email_orchestrator.store import memory
from email_orchestrator.store.connection import Database
from email_orchestrator.store.mail_pause import UNTIL_A_PERSON_ACTS
from email_orchestrator.store.transaction import Transaction
from email_orchestrator.vitals import Vitals
from email_orchestrator.web import health as health_module

from .conftest import TOKEN, Serve, Site

pytestmark = pytest.mark.usefixtures("no_tracebacks")


def health(site: Site) -> Any:
    reply = site.call("GET", "/health")
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.status == (503 if reply.json["status"] == "unhealthy" else 200)
    return reply.json


def remember(belt: Any, key: str, **value: Any) -> None:
    with belt.database.transaction() as tx:
        memory.remember(tx, key, value)


def test_a_service_that_does_its_work_is_healthy(site: Site, belt: Any) -> None:
    belt.poll()
    told = health(site)
    assert (told["status"], told["service"], told["problems"], told["database"]) == (
        "healthy",
        "orchestrator",
        [],
        "ok",
    )
    assert told["workflows"] == {"pending": 0, "awaiting_user": 0, "completed_today": 0, "failed": 0}
    assert datetime.fromisoformat(told["last_poll"]).utcoffset() == timedelta(0)


def test_health_is_open_to_all_who_can_reach_it(serve: Serve) -> None:
    site = serve(api_token=TOKEN, signing_keys=("k" * 32,))
    assert health(site)["status"] == "healthy"
    assert site.call("GET", "/health", headers={"Host": "monitor.example", "Origin": "https://x.example"}).status == 200


def test_health_counts_what_waits_and_what_is_done(site: Site, belt: Any) -> None:
    belt.offered()
    belt.answer("1")
    belt.offered()
    belt.email()
    belt.poll()
    assert health(site)["workflows"] == {"pending": 1, "awaiting_user": 1, "completed_today": 1, "failed": 0}


@pytest.mark.parametrize(
    ("zone", "hours_ago", "completed"), [("UTC", 0, 1), ("UTC", 25, 0), ("Pacific/Kiritimati", 25, 0)]
)
def test_a_day_begins_at_the_owners_midnight(
    serve: Serve, belt: Any, zone: str, hours_ago: int, completed: int
) -> None:
    belt.offered()
    belt.answer("1")
    belt.sql("UPDATE workflow_event SET at = at - make_interval(hours => %s)", hours_ago)
    belt.with_policy(timezone=ZoneInfo(zone))
    assert health(serve(desk=belt.desk))["workflows"]["completed_today"] == completed


def test_what_was_done_before_the_owners_midnight_is_not_todays(serve: Serve, belt: Any) -> None:
    belt.offered()
    belt.answer("1")
    # In one of these zones midnight was less than an hour ago, in the other more than twenty-one hours ago.
    hour = datetime.now(UTC).hour
    young, old = ((-hour + 12) % 24 - 12), ((-hour + 10) % 24 - 12)
    belt.sql("UPDATE workflow_event SET at = at - interval '2 hours'")
    for offset, completed in ((young, 0), (old, 1)):
        belt.with_policy(timezone=ZoneInfo(f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"))
        assert health(serve(desk=belt.desk))["workflows"]["completed_today"] == completed


def test_older_emails_are_counted_not_hidden(serve: Serve, belt: Any) -> None:
    for days in (2, 3, 400):
        belt.email(received_at=datetime.now(UTC) - timedelta(days=days))
    belt.poll()
    assert health(serve())["older_emails_left_alone"] == 3
    assert health(serve(lookback_hours=60))["older_emails_left_alone"] == 2


def test_without_its_database_the_service_is_unhealthy(serve: Serve, belt: Any) -> None:
    site = serve(desk=replace(belt.desk, database=Database("host=/nonexistent dbname=none")))
    told = health(site)
    assert (told["status"], told["database"], told["problems"]) == ("unhealthy", "away", ["The database is away."])
    assert told["workflows"] == dict.fromkeys(("pending", "awaiting_user", "completed_today", "failed"))
    assert told["last_poll"] is None


def test_the_service_is_healthy_again_when_the_database_is_back(serve: Serve, belt: Any) -> None:
    database = Database(belt.dsn)
    site = serve(desk=replace(belt.desk, database=database))
    database._dsn = "host=/nonexistent dbname=none"
    assert health(site)["status"] == "unhealthy"
    database._dsn = belt.dsn
    deadline = time.monotonic() + 5
    while health(site)["status"] != "healthy":
        assert time.monotonic() < deadline


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """A database server that takes connections and never says a word; the DSN leads there."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        kept: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"host=127.0.0.1 port={listener.getsockname()[1]} dbname=none user=none sslmode=disable"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def test_while_the_database_hangs_health_still_answers_within_a_second(serve: Serve, belt: Any) -> None:
    with silent_server() as dsn:
        site = serve(desk=replace(belt.desk, database=Database(dsn)))
        statuses: list[int] = []
        stuck = [
            threading.Thread(target=lambda: statuses.append(site.call("GET", "/workflow/status").status))
            for _ in range(12)
        ]
        for thread in stuck:
            thread.start()
        for _ in range(4):
            began = time.monotonic()
            assert health(site)["status"] == "unhealthy"
            assert time.monotonic() - began < 1
    for thread in stuck:
        thread.join()
    assert statuses == [503] * 12


class CountedDatabase(Database):
    """A database that writes down when it is asked."""

    def __init__(self, dsn: str, asked: list[float]) -> None:
        super().__init__(dsn)
        self._asked = asked

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self._asked.append(time.monotonic())
        with super().transaction() as tx:
            yield tx


def test_many_who_ask_at_once_share_one_look_at_the_database(serve: Serve, belt: Any) -> None:
    readings: list[float] = []
    database = CountedDatabase(belt.dsn, readings)
    site = serve(desk=replace(belt.desk, database=database))
    began = time.monotonic()
    for _ in range(40):
        assert health(site)["status"] == "healthy"
    assert len(readings) <= 1 + (time.monotonic() - began) / health_module.KEEP


def test_a_main_loop_that_does_not_turn_is_unhealthy(serve: Serve) -> None:
    site = serve(poll_interval=0.02)
    deadline = time.monotonic() + 5
    while health(site)["status"] != "unhealthy":
        assert time.monotonic() < deadline
    assert health(site)["problems"][0].startswith("The main loop has not turned for")
    before = site.front.vitals.seconds_since_turn()
    site.front.vitals.turned()
    assert site.front.vitals.seconds_since_turn() < before


def test_a_thread_that_has_stopped_is_unhealthy(serve: Serve) -> None:
    vitals = Vitals()
    vitals.thread("texting", lambda: True)
    vitals.thread("drafting-1", lambda: False)
    told = health(serve(vitals=vitals))
    assert told["threads"] == {"texting": "alive", "drafting-1": "stopped"}
    assert (told["status"], told["problems"]) == ("unhealthy", ["The thread drafting-1 has stopped."])


def test_a_service_that_does_not_answer_makes_us_degraded(serve: Serve) -> None:
    site = serve()
    site.front.vitals.called("SMS Gateway", "transient", 5.0, "no connection to 10.0.0.5:8000; is it running there?")
    told = health(site)
    assert (told["status"], told["problems"]) == ("degraded", ["SMS Gateway: the last call failed."])
    gateway = told["services"]["SMS Gateway"]
    assert (gateway["answers"], gateway["last_success"], gateway["last_error_kind"]) == (False, None, "transient")
    assert "10.0.0.5" not in str(told)
    site.front.vitals.called("SMS Gateway", "ok", 0.1)
    assert health(site)["status"] == "healthy"


def test_a_carriers_word_from_the_owner_makes_us_degraded(site: Site, belt: Any) -> None:
    belt.answer("STOP")
    told = health(site)
    assert told["status"] == "degraded"
    assert told["texting_blocked"]["since"] is not None
    assert "STOP" in told["problems"][0]


@pytest.mark.parametrize("hours_ago", [1, None])
def test_emails_that_are_not_looked_for_any_more_make_us_degraded(
    serve: Serve, belt: Any, monkeypatch: pytest.MonkeyPatch, hours_ago: int | None
) -> None:
    site = serve(poll_interval=30)
    if hours_ago:
        remember(belt, memory.LAST_POLL, at=datetime.now(UTC) - timedelta(hours=hours_ago))
    # What was before this start is none of our failures.
    assert health(site)["status"] == "healthy"
    site.front.vitals._began -= 100
    site.front.vitals.turned()
    told = health(site)
    assert (told["status"], len(told["problems"])) == ("degraded", 1)
    assert told["problems"][0].startswith("New emails have not been looked for, or in vain, for 10")


def test_after_the_database_was_restarted_the_first_look_finds_it_well(site: Site, belt: Any) -> None:
    assert health(site)["status"] == "healthy"
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    time.sleep(health_module.KEEP)
    belt.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert health(site)["status"] == "healthy"


@pytest.mark.parametrize("shown", [True, False])
def test_a_pause_of_all_replies_makes_us_degraded(site: Site, belt: Any, shown: bool) -> None:
    until = datetime.now(UTC) + timedelta(hours=1) if shown else UNTIL_A_PERSON_ACTS
    remember(belt, memory.MAIL_PAUSE, until=until, trouble="credentials", pauses=1, message="535 for owner@example.com")
    told = health(site)
    assert told["status"] == "degraded"
    assert told["replies_paused"]["trouble"] == "credentials"
    assert (told["replies_paused"]["until"] is not None) == shown
    assert "owner@example.com" not in str(told)


def test_a_pause_that_is_over_is_none(site: Site, belt: Any) -> None:
    over = datetime.now(UTC) - timedelta(seconds=1)
    remember(belt, memory.MAIL_PAUSE, until=over, trouble="busy", pauses=3, message="421")
    told = health(site)
    assert (told["status"], told["replies_paused"]) == ("healthy", None)


def test_health_says_nothing_of_what_emails_and_texts_say(site: Site, belt: Any) -> None:
    belt.offered(subject="SECRET subject", body="SECRET body", sender="secret@example.com")
    belt.answer("2 SECRET instruction")
    assert "secret" not in site.call("GET", "/health").body.decode().lower()
    assert "+1555" not in site.call("GET", "/health").body.decode()
