"""Patience with a server that is there and says nothing: a stopped process, a pooler without a server behind it.

libpq waits for an answer as long as the other machine confirms what it is sent. Its kernel does that whatever became of
the server, and `statement_timeout` goes by the server's own clock: neither is any help.
"""

from __future__ import annotations

import heapq
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

import psycopg2.extensions


@dataclass(slots=True)
class _Block:
    """A block that is being waited for: the number of its connection, and whether it is over."""

    number: int
    over: bool = False


class _Watch:
    """Cuts off the connections of blocks that last too long: one thread for all, which begins with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._blocks: list[tuple[float, int, _Block]] = []
        self._turns = itertools.count()
        self._thread: threading.Thread | None = None

    @contextmanager
    def bounded(self, number: int, seconds: float) -> Iterator[None]:
        block = _Block(number)
        until = time.monotonic() + seconds
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="database patience", daemon=True)
                thread.start()
                self._thread = thread
            heapq.heappush(self._blocks, (until, next(self._turns), block))
            if self._blocks[0][2] is block:
                self._changed.notify()
        try:
            yield
        finally:
            # Who cuts holds this as well: the connection is not closed meanwhile, so that its number is still its own.
            with self._changed:
                block.over = True

    def _run(self) -> None:
        with self._changed:
            while True:
                self._changed.wait(self._cut_what_is_due())

    def _cut_what_is_due(self) -> float | None:
        """Cut what has lasted too long; returns how many seconds from now there is more to see to (None: nothing)."""
        now = time.monotonic()
        while self._blocks:
            until, _, block = self._blocks[0]
            if not block.over and until > now:
                return until - now
            heapq.heappop(self._blocks)
            if not block.over:
                _cut(block.number)
        return None


_watch = _Watch()


def bounded(connection: psycopg2.extensions.connection, seconds: float | None) -> AbstractContextManager[None]:
    """Cut a connection off when the block lasts longer than so many seconds (None: any time); it then fails as lost."""
    return _watch.bounded(connection.fileno(), seconds) if seconds is not None else nullcontext()


def _cut(number: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
