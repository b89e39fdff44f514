"""Patience with a server that is there and says nothing: a stopped process, a pooler without a server behind it.

libpq waits for an answer as long as the other machine confirms what it is sent. Its kernel does that whatever became of
the server, and `statement_timeout` goes by the server's own clock: neither is any help.
"""

from __future__ import annotations

import heapq
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

import psycopg2.extensions


@dataclass(order=True, slots=True)
class _Block:
    """What is watched until a moment of the monotonic clock: a connection, as long as the block lasts."""

    until: float
    descriptor: int = field(compare=False)
    over: bool = field(default=False, compare=False)


class _Watch:
    """Cuts off the connections of blocks that last too long: one thread for all, which begins with the first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._blocks: list[_Block] = []
        self._thread: threading.Thread | None = None

    @contextmanager
    def bounded(self, descriptor: int, seconds: float) -> Iterator[None]:
        block = _Block(time.monotonic() + seconds, descriptor)
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="database patience", daemon=True)
                thread.start()
                self._thread = thread
            heapq.heappush(self._blocks, block)
            if self._blocks[0] is block:
                self._changed.notify()
        try:
            yield
        finally:
            # Under this lock is also cut: the connection is open meanwhile, and its descriptor still its own.
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
            block = self._blocks[0]
            if not block.over and block.until > now:
                return block.until - now
            heapq.heappop(self._blocks)
            if not block.over:
                _cut(block.descriptor)
        return None


_watch = _Watch()


def bounded(connection: psycopg2.extensions.connection, seconds: float | None) -> AbstractContextManager[None]:
    """Cut a connection off when the block lasts longer than so many seconds (None: any time); it then fails as lost."""
    return _watch.bounded(connection.fileno(), seconds) if seconds is not None else nullcontext()


def _cut(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as wire:
        wire.shutdown(socket.SHUT_RDWR)
