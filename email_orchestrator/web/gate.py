"""Keeps a thread of the web server free while the database hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DatabaseUnavailable
from ..store.connection import Database

# How long, in seconds, a request waits for its turn at the database, and for how long after a vain wait none does,
# unless somebody is answered before.
PATIENCE = 0.2
IMPATIENCE = 2.0


class Gate:
    """Lets so many requests at a time go to the database, for so many seconds; safe to share between threads.

    A database that has stopped answering, rather than gone, would otherwise take the server's threads one by one, and
    nobody would be left to answer a health check.
    """

    def __init__(self, database: Database, places: int, seconds: float) -> None:
        self._database = database
        self._places = threading.BoundedSemaphore(places)
        self._seconds = seconds
        self._impatient_until = 0.0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place while in the block; raises DatabaseUnavailable when there is none in time."""
        patience = PATIENCE if time.monotonic() >= self._impatient_until else 0.0
        if not self._places.acquire(timeout=patience):
            self._impatient_until = time.monotonic() + IMPATIENCE
            raise DatabaseUnavailable("The database does not answer.")
        try:
            with self._database.patience(self._seconds):
                yield
            self._impatient_until = 0.0
        finally:
            self._places.release()
