"""Worker threads: each repeats one step, rests when there is nothing to do, and stops when asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from .errors import DatabaseUnavailable
from .store.connection import Database

log = logging.getLogger(__name__)

# How long a worker rests, in seconds, before it looks again unasked: for what other processes left, and for what
# falls due.
REST = 1.0
LONG_REST = 30.0
REST_AFTER_TROUBLE = 2.0


class Outage:
    """Says once that the database is away, and once that it is back, however many threads notice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since_notice = False

    @property
    def lasts(self) -> bool:
        """Whether the database is away as far as is known."""
        return self._since_notice

    def noticed(self, error: DatabaseUnavailable) -> None:
        """Take note that the database is away."""
        with self._lock:
            if not self._since_notice:
                log.error("%s Work goes on when it is back.", error, extra={"fields": {"action": "database_away"}})
            self._since_notice = True

    def over(self) -> None:
        """Take note that the database answered."""
        if self._since_notice:
            with self._lock:
                if self._since_notice:
                    log.warning("The database is back.", extra={"fields": {"action": "database_back"}})
                self._since_notice = False


class Worker:
    """A thread that does `step` until it returns False, then rests until it is woken or `rest` seconds have passed.

    `call_others` is called when there was work, for there may be more than one thread can do.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], bool],
        database: Database,
        outage: Outage,
        stop: threading.Event,
        rest: float = REST,
        call_others: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._step = step
        self._database = database
        self._outage = outage
        self._stop = stop
        self._rest = rest
        self._call_others = call_others
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """End the rest: there is something to do."""
        self._woken.set()

    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; False when it has not after some seconds."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            rest = self._work()
            if rest and not self._stop.is_set():
                self._woken.wait(rest)
        self._database.close()

    def _work(self) -> float:
        """Do one step; returns how long to rest after it, in seconds."""
        try:
            busy = self._step()
        except DatabaseUnavailable as error:
            self._outage.noticed(error)
            return REST_AFTER_TROUBLE
        except Exception:
            # A step sets a bad row aside by itself; what comes through here is a fault of ours, and must not end the
            # thread.
            log.exception("%s stumbled", self.name)
            return REST_AFTER_TROUBLE
        # A step that waits by itself, and so needs no rest, may have found nothing to do without the database.
        if busy or self._rest:
            self._outage.over()
        if busy:
            self._call_others()
        return 0.0 if busy else self._rest


class Staff:
    """All the workers of a process, called by the room they work in."""

    def __init__(self) -> None:
        self._workers: dict[str, list[Worker]] = {}

    def add(self, room: str, worker: Worker) -> None:
        """Add a worker to a room."""
        self._workers.setdefault(room, []).append(worker)

    @property
    def everyone(self) -> Sequence[Worker]:
        """All workers of all rooms."""
        return [worker for workers in self._workers.values() for worker in workers]

    def wake(self, room: str) -> None:
        """Wake the workers of a room."""
        for worker in self._workers.get(room, ()):
            worker.wake()

    def start(self) -> None:
        """Start everyone."""
        for worker in self.everyone:
            worker.start()

    def stop(self, seconds: float) -> list[str]:
        """Wake everyone for the stop and wait for them; returns the names of those still busy after some seconds."""
        deadline = time.monotonic() + seconds
        for worker in self.everyone:
            worker.wake()
        return [worker.name for worker in self.everyone if not worker.join(deadline - time.monotonic())]
