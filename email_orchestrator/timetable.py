"""The timetable of the main loop: `schedule`, guarded against jobs that raise and against clocks that are set."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import schedule

from .errors import DatabaseUnavailable, ServiceError
from .workers import Outage

log = logging.getLogger(__name__)

# By how many seconds a job may be late before the wall clock is taken to be wrong.
TOLERANCE = 1.0


class NotYet(Exception):
    """A job is put off to the next turn, and has not asked the database whether it is there."""


class Timetable:
    """Jobs that come round every so many seconds; once `stop` is set, none begins any more."""

    def __init__(self, outage: Outage, stop: threading.Event) -> None:
        self._scheduler = schedule.Scheduler()
        self._outage = outage
        self._stop = stop
        self._jobs: list[_Job] = []

    def every(self, seconds: int, name: str, action: Callable[[], object]) -> None:
        """Do an action every so many seconds."""
        job = _Job(name, action, self._outage, self._stop)
        job.entry = self._scheduler.every(seconds).seconds.do(job)
        self._jobs.append(job)

    def run_all(self) -> None:
        """Do everything once, now."""
        for job in self._jobs:
            job.entry.run()  # type: ignore[no-untyped-call]

    def run(self, name: str) -> None:
        """Do the action of that name now."""
        for job in self._jobs:
            if job.__name__ == name:
                job.entry.run()  # type: ignore[no-untyped-call]

    def turn(self) -> float:
        """Do what is due, and return how many seconds there are until something will be.

        `schedule` goes by the wall clock: after it is set back, or winter time begins, a job would wait an hour too
        long, so what is overdue by the monotonic clock is done as well, and so is what was put off.
        """
        self._scheduler.run_pending()
        for job in self._jobs:
            if job.is_put_off or time.monotonic() - job.done_at > job.entry.interval + TOLERANCE:
                job.entry.run()  # type: ignore[no-untyped-call]
        idle = self._scheduler.idle_seconds
        return max(0.0, idle) if idle is not None else TOLERANCE


class _Job:
    """A job that never raises: `schedule` would do one that did again at once, before all others, for ever."""

    entry: schedule.Job

    def __init__(self, name: str, action: Callable[[], object], outage: Outage, stop: threading.Event) -> None:
        self.__name__ = name
        self._action = action
        self._outage = outage
        self._stop = stop
        self._away: str | None = None
        self.is_put_off = False
        self.done_at = time.monotonic()

    def __call__(self) -> None:
        if self._stop.is_set():
            return
        self.is_put_off = False
        try:
            self._action()
        except NotYet:
            self.is_put_off = True
        except DatabaseUnavailable as error:
            self._outage.noticed(error)
        except ServiceError as error:
            # Said once for an outage, not once for every round of it.
            if self._away is None:
                log.warning("%s: %s", self.__name__, error, extra={"fields": {"action": "service_away"}})
            self._away = error.service
        except Exception:
            log.exception("%s stumbled", self.__name__)
        else:
            self._outage.over()
            if self._away is not None:
                log.info("%s: %s is back", self.__name__, self._away, extra={"fields": {"action": "service_back"}})
            self._away = None
        finally:
            self.done_at = time.monotonic()
