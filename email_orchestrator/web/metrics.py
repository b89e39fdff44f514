"""Metrics in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).

What happened to workflows is counted from the database, so that what the command line or another daemon did counts too.
The counters begin at zero with the process, as counters do; each scrape looks only at what is new.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

from bottle import HTTPResponse

from ..core.states import UNFINISHED, State
from ..errors import DatabaseUnavailable
from ..store import figures
from ..store.counting import SETTLED_AFTER, counts_by_state
from ..store.figures import SPAN_BOUNDS, SPANS, Span
from ..store.transaction import Transaction
from ..vitals import BOUNDS
from .answers import plain_answer
from .front import Front

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Tally:
    """Transitions and spans added up."""

    transitions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    spans: dict[str, Span] = field(default_factory=lambda: dict.fromkeys(SPANS, Span()))

    def plus(self, tx: Transaction, since: datetime, until: datetime | None) -> Tally:
        """Return the tally with what happened between two moments added."""
        more = figures.spans(tx, since, until)
        together = {name: _add(span, more[name]) for name, span in self.spans.items()}
        return Tally(self.transitions + Counter(figures.transitions(tx, since, until)), together)


class Metrics:
    """Collects the metrics of a process; safe to ask from several threads."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._settled = Tally()
        self._settled_until: datetime | None = None

    def answer(self) -> HTTPResponse:
        """Answer with every metric; without the database, with those of the process alone."""
        # Imported late: it costs 30 ms and 2 MB, which a service that nobody scrapes need not pay.
        from prometheus_client import generate_latest

        return plain_answer(generate_latest(self), CONTENT_TYPE)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family, as prometheus_client asks for them."""
        from prometheus_client import ProcessCollector
        from prometheus_client.core import GaugeMetricFamily

        up = True
        try:
            yield from self._from_database()
        except DatabaseUnavailable:
            up = False
        yield GaugeMetricFamily("email_orchestrator_database_up", "1 when the database answers.", value=up)
        yield from self._from_vitals()
        yield from ProcessCollector(registry=None).collect()

    def _from_database(self) -> list[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock, self._front.desk.database.transaction() as tx:
            tally = self._count(tx)
            open_now = counts_by_state(tx, (*UNFINISHED, State.FAILED))
            pulse = figures.pulse(tx, self._front.lookback_hours, self._front.desk.policy.timezone)
        moved = CounterMetricFamily(
            "email_orchestrator_transitions", "Transitions of workflows.", labels=["from_state", "to_state", "actor"]
        )
        for labels, count in sorted(tally.transitions.items()):
            moved.add_metric(labels, count)
        failures = CounterMetricFamily(
            "email_orchestrator_failures", "Workflows that failed, by stage.", labels=["stage"]
        )
        for stage, count in figures.failures_by_stage(tally.transitions).items():
            failures.add_metric([stage], count)
        states = GaugeMetricFamily("email_orchestrator_workflows", "Workflows now, by state.", labels=["state"])
        for state, count in open_now.items():
            states.add_metric([str(state)], count)
        polled = GaugeMetricFamily(
            "email_orchestrator_last_poll_timestamp_seconds",
            "When new emails were last looked for, in Unix time; 0 for never.",
            value=pulse.last_poll.timestamp() if pulse.last_poll else 0,
        )
        return [moved, failures, states, polled, *(_span_metric(name, span) for name, span in tally.spans.items())]

    def _count(self, tx: Transaction) -> Tally:
        """Add up what happened since the process began; only the last minute is looked at again each time."""
        if self._settled_until is None:
            self._settled_until = tx.now - timedelta(seconds=time.monotonic() - self._began)
        settled_until = max(self._settled_until, tx.now - SETTLED_AFTER)
        settled = self._settled.plus(tx, self._settled_until, settled_until)
        tally = settled.plus(tx, settled_until, None)
        self._settled, self._settled_until = settled, settled_until
        return tally

    def _from_vitals(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

        vitals = self._front.vitals.snapshot()
        yield GaugeMetricFamily(
            "email_orchestrator_seconds_since_turn",
            "Seconds since the main loop last turned.",
            value=vitals.seconds_since_turn,
        )
        threads = GaugeMetricFamily("email_orchestrator_thread_up", "1 while a thread runs.", labels=["thread"])
        for name, alive in vitals.threads.items():
            threads.add_metric([name], alive)
        services = GaugeMetricFamily(
            "email_orchestrator_service_up", "1 when the last call to a service was answered.", labels=["service"]
        )
        for name, service in vitals.services.items():
            services.add_metric([name], service.answers)
        calls = HistogramMetricFamily(
            "email_orchestrator_call_duration_seconds",
            "How long calls to outside systems took.",
            labels=["service", "outcome"],
        )
        for labels, durations in sorted(vitals.durations.items()):
            calls.add_metric(labels, _cumulative(BOUNDS, durations.buckets), durations.total)
        yield from (threads, services, calls)


def _span_metric(name: str, span: Span) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(
        f"email_orchestrator_{name}_seconds",
        "From an email's taking to its text." if name == "email_to_text" else "From a text to the owner's answer.",
        buckets=_cumulative(SPAN_BOUNDS, span.buckets),
        sum_value=span.total,
    )


def _cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Make the buckets of a histogram, each with all below it; the last is `+Inf`."""
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))


def _add(one: Span, other: Span) -> Span:
    buckets = tuple(a + b for a, b in zip(one.buckets, other.buckets, strict=True))
    return Span(one.count + other.count, one.total + other.total, None, buckets)
