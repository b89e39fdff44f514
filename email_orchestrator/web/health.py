"""Is the service well? Open to all, so it tells how things are and nothing of what the emails and texts say."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue
from typing import Any

from bottle import HTTPResponse

from ..errors import OrchestratorError
from ..store import figures
from ..store.figures import Pulse
from ..vitals import Service, Snapshot
from .answers import answer
from .front import Front

log = logging.getLogger(__name__)

# A health check waits this long, in seconds, for the database, and believes a pulse taken within the last second.
PATIENCE = 0.55
KEEP = 1.0
# After so many seconds a reading is given up, so that the next finds the database when it is back.
HUNG = 3.0
# The main loop is taken for stuck when it has not turned for so many poll intervals.
INTERVALS = 3
# Emails have not been looked for in vain for so many seconds at least before that is called a problem.
POLL_OVERDUE = 60.0


@dataclass(slots=True)
class _Reading:
    began: float
    done: threading.Event = field(default_factory=threading.Event)
    pulse: Pulse | None = None


class PulseTaker:
    """Takes the database's pulse without ever waiting long.

    All readings are done by a thread of their own, on a connection of its own, so that a database that hangs holds up
    nobody who asks; there is one reading at a time, and those who ask meanwhile share it.
    """

    def __init__(self, read: Callable[[], Pulse]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._last: _Reading | None = None
        self._asked: SimpleQueue[_Reading] = SimpleQueue()
        self._thread = threading.Thread(target=self._take_readings, name="pulse", daemon=True)

    def take(self) -> Pulse | None:
        """Return the pulse, at most a second old, or None when the database is away or does not answer in time."""
        with self._lock:
            now = time.monotonic()
            reading = self._last
            if reading is None or (reading.done.is_set() and now - reading.began >= KEEP):
                reading = self._last = _Reading(now)
                self._asked.put(reading)
                if not self._thread.is_alive():
                    self._thread.start()
        reading.done.wait(max(0.0, reading.began + PATIENCE - now))
        return reading.pulse

    def _take_readings(self) -> None:
        while True:
            self._fill(self._asked.get())

    def _fill(self, reading: _Reading) -> None:
        try:
            reading.pulse = self._read()
        except OrchestratorError as error:
            log.debug("no pulse: %s", error)
        except Exception as error:  # noqa: BLE001
            log.error("no pulse: %s", type(error).__name__, extra={"fields": {"action": "web_error"}})  # noqa: TRY400
        finally:
            reading.done.set()


def pulse_taker(front: Front) -> PulseTaker:
    """Make the taker of the pulse of a front's database."""

    def read() -> Pulse:
        database = front.desk.database
        with database.patience(HUNG), database.transaction() as tx:
            return figures.pulse(tx, front.lookback_hours, front.desk.policy.timezone)

    return PulseTaker(read)


def tell_health(front: Front, taker: PulseTaker) -> HTTPResponse:
    """Answer how the service is: 200 when healthy or degraded, 503 when unhealthy; within a second in any case."""
    pulse, vitals = taker.take(), front.vitals.snapshot()
    grave = _grave_problems(pulse, vitals, front.poll_interval)
    light = _light_problems(pulse, vitals, front.poll_interval)
    status = "unhealthy" if grave else "degraded" if light else "healthy"
    report = {
        "status": status,
        "service": "orchestrator",
        "problems": grave + light,
        "workflows": {
            "pending": pulse.pending if pulse else None,
            "awaiting_user": pulse.awaiting_user if pulse else None,
            "completed_today": pulse.completed_today if pulse else None,
            "failed": pulse.failed if pulse else None,
        },
        "last_poll": pulse.last_poll if pulse else None,
        "older_emails_left_alone": pulse.older_emails_left_alone if pulse else None,
        "database": "ok" if pulse else "away",
        "main_loop": {"seconds_since_turn": round(vitals.seconds_since_turn, 3)},
        "threads": {name: "alive" if alive else "stopped" for name, alive in vitals.threads.items()},
        "services": {name: _service(service) for name, service in vitals.services.items()},
        "texting_blocked": {"since": pulse.texting_blocked_since} if pulse and pulse.texting_blocked_since else None,
        "replies_paused": {"trouble": pulse.replies_paused, "until": pulse.replies_paused_until}
        if pulse and pulse.replies_paused
        else None,
    }
    return answer(report, 503 if grave else 200)


def _grave_problems(pulse: Pulse | None, vitals: Snapshot, poll_interval: float) -> list[str]:
    """List what keeps the service from working: each is a sentence."""
    problems = [] if pulse else ["The database is away."]
    if vitals.seconds_since_turn > INTERVALS * poll_interval:
        problems.append(f"The main loop has not turned for {vitals.seconds_since_turn:.0f} s.")
    stopped = sorted(name for name, alive in vitals.threads.items() if not alive)
    return problems + [f"The thread {name} has stopped." for name in stopped]


def _light_problems(pulse: Pulse | None, vitals: Snapshot, poll_interval: float) -> list[str]:
    """List what hampers the service: each is a sentence."""
    away = sorted(name for name, service in vitals.services.items() if not service.answers)
    problems = [f"{name}: the last call failed." for name in away]
    if pulse:
        # What was before our start is none of our failures.
        unpolled = min(vitals.seconds_up, math.inf if pulse.seconds_since_poll is None else pulse.seconds_since_poll)
        if unpolled > max(INTERVALS * poll_interval, POLL_OVERDUE):
            problems.append(f"New emails have not been looked for, or in vain, for {unpolled:.0f} s.")
    if pulse and pulse.texting_blocked_since:
        problems.append("Texting may be blocked by the carrier: the owner texted STOP or the like.")
    if pulse and pulse.replies_paused:
        problems.append(f"Replies are paused: {_trouble(pulse.replies_paused, pulse.replies_paused_until)}.")
    return problems


def _trouble(trouble: str, until: datetime | None) -> str:
    return f"{trouble}, until {until:%Y-%m-%d %H:%M} UTC" if until else f"{trouble}, until somebody acts"


def _service(service: Service) -> dict[str, Any]:
    # The message may name hosts: the log and the command line show it, this page does not.
    return {
        "answers": service.answers,
        "last_success": service.last_success,
        "last_error": service.last_error,
        "last_error_kind": service.last_error_kind,
    }
