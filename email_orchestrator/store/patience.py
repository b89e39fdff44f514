"""Patience with a server that is there and says nothing: a stopped process, a pooler without a server behind it.

libpq waits for an answer as long as the other machine confirms what it is sent. Its kernel does that whatever became of
the server, and `statement_timeout` goes by the server's own clock: neither is any help.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import psycopg2.extensions


def bounded(connection: psycopg2.extensions.connection, seconds: float | None) -> AbstractContextManager[None]:
    """Cut a connection off when the block lasts longer than so many seconds (None: any time); it then fails as lost."""
    return _bounded(connection.fileno(), seconds) if seconds is not None else nullcontext()


@contextmanager
def _bounded(number: int, seconds: float) -> Iterator[None]:
    lock, over = threading.Lock(), False

    def cut() -> None:
        # Under the lock the connection is not closed, so that its number is still its own.
        with lock:
            if not over:
                with suppress(OSError), socket.socket(fileno=os.dup(number)) as wire:
                    wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.name, timer.daemon = "database patience", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
