"""Vital signs of the process: is the main loop turning, are the threads alive, do the outside systems answer."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

# Upper bounds, in seconds, of the buckets that call durations are counted in; above the last there is one more.
BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# What a call came to. A permanent refusal is an answer too: the system is there.
OK = "ok"
ANSWERED = frozenset({OK, "permanent"})


@dataclass(frozen=True, slots=True)
class Service:
    """How an outside system last did: when it last succeeded and failed, how it failed, whether it answers."""

    answers: bool
    last_success: datetime | None = None
    last_error: datetime | None = None
    last_error_kind: str | None = None
    last_error_message: str = ""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long calls took: how many fell into each bucket of BOUNDS and beyond, and seconds in all."""

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    total: float = 0.0

    def with_one_more(self, seconds: float) -> Durations:
        """Return the durations with one call counted in."""
        place = bisect_left(BOUNDS, seconds)
        buckets = tuple(count + (n == place) for n, count in enumerate(self.buckets))
        return Durations(buckets, self.total + seconds)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The vital signs at one moment; `durations` are by service and outcome."""

    seconds_up: float
    seconds_since_turn: float
    threads: Mapping[str, bool]
    services: Mapping[str, Service]
    durations: Mapping[tuple[str, str], Durations]


class Vitals:
    """Takes the vital signs as they come, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = self._turned = time.monotonic()
        self._threads: dict[str, Callable[[], bool]] = {}
        self._services: dict[str, Service] = {}
        self._durations: dict[tuple[str, str], Durations] = {}

    def turned(self) -> None:
        """Take note that the main loop has turned once more."""
        self._turned = time.monotonic()

    def seconds_since_turn(self) -> float:
        """Return the seconds since the main loop last turned, or since the start."""
        return time.monotonic() - self._turned

    def thread(self, name: str, alive: Callable[[], bool]) -> None:
        """Watch a thread: `alive` says whether it still runs."""
        with self._lock:
            self._threads[name] = alive

    def stopped_threads(self) -> list[str]:
        """Name the watched threads that do not run any more, or do not yet."""
        with self._lock:
            watched = list(self._threads.items())
        return [name for name, alive in watched if not alive()]

    def called(self, service: str, outcome: str, seconds: float, message: str = "") -> None:
        """Take note of a call to an outside system.

        `outcome` is ok, transient, permanent or unknown; `message` says what went wrong, in words fit for a log.
        """
        now = datetime.now(UTC)
        with self._lock:
            before = self._services.get(service, Service(answers=True))
            if outcome == OK:
                after = Service(True, now, before.last_error, before.last_error_kind, before.last_error_message)
            else:
                after = Service(outcome in ANSWERED, before.last_success, now, outcome, message)
            self._services[service] = after
            key = (service, outcome)
            self._durations[key] = self._durations.get(key, Durations()).with_one_more(seconds)

    def snapshot(self) -> Snapshot:
        """Return the vital signs as they are now."""
        with self._lock:
            watched, services, durations = dict(self._threads), dict(self._services), dict(self._durations)
        threads = {name: alive() for name, alive in watched.items()}
        return Snapshot(time.monotonic() - self._began, self.seconds_since_turn(), threads, services, durations)
