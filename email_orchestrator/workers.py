"""Worker threads: each repeats one step, rests when there is nothing to do, and stops when asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

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

    def noticed(self, error: DatabaseUnavailable) -> None:
        """Take note that the database is away."""
        with self._lock:
            if not self._since_notice:
                said = str(error).rstrip(".")
                log.error("%s. Work goes on when it is back.", said, extra={"fields": {"action": "database_away"}})
            self._since_notice = True

    def over(self) -> None:
        """Take note that the database answered."""
        if self._since_notice:
            with self._lock:
                if self._since_notice:
                    log.warning("The database is back.", extra={"fields": {"action": "database_back"}})
                self._since_notice = False


class Bell:
    """Calls one of those who rest; when nobody does, the next who is about to rest hears it instead.

    Whoever it calls rings again when there is more to do than one can, so that few look in vain.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rung = False
        self._closing = False

    def ring(self) -> None:
        """Say that there may be something to do."""
        with self._changed:
            self._rung = True
            self._changed.notify()

    def ring_out(self) -> None:
        """End every rest from now on."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Rest until the bell is rung, or so many seconds have passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._rung or self._closing, seconds)
            self._rung = False


class Worker:
    """A thread that does `step` until it returns False, then rests until its bell rings or `rest` seconds passed."""

    def __init__(
        self,
        name: str,
        step: Callable[[], bool],
        database: Database,
        outage: Outage,
        stop: threading.Event,
        bell: Bell,
        rest: float = REST,
    ) -> None:
        self.name = name
        self._step = step
        self._database = database
        self._outage = outage
        self._stop = stop
        self._bell = bell
        self._rest = rest
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end; False when it has not after some seconds."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            rest = self._work()
            if rest and not self._stop.is_set():
                self._bell.wait(rest)
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
        return 0.0 if busy else self._rest


class Staff:
    """All the workers of a process, and the bells of the rooms they work in."""

    def __init__(self) -> None:
        self.everyone: list[Worker] = []
        self._bells: dict[str, list[Bell]] = {}

    def add(self, worker: Worker) -> None:
        """Add a worker."""
        self.everyone.append(worker)

    def bell(self, room: str) -> Bell:
        """Hang one more bell in a room, for one worker or for several who share it."""
        bell = Bell()
        self._bells.setdefault(room, []).append(bell)
        return bell

    def wake(self, room: str) -> None:
        """Ring the bells of a room."""
        for bell in self._bells.get(room, ()):
            bell.ring()

    def start(self) -> None:
        """Start everyone."""
        for worker in self.everyone:
            worker.start()

    def stop(self, seconds: float) -> list[str]:
        """Wake everyone for the stop and wait for them; returns the names of those still busy after some seconds."""
        deadline = time.monotonic() + seconds
        for bells in self._bells.values():
            for bell in bells:
                bell.ring_out()
        return [worker.name for worker in self.everyone if not worker.join(deadline - time.monotonic())]
