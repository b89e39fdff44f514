"""Answers with a deadline, which neither requests nor urllib3 knows.

Their read timeout is a socket's: it starts anew with every byte, so a server that drips its answer holds a call for
as long as it likes. Here the socket gets less time with every read after the first, over headers and body together.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from contextlib import suppress
from typing import Any, cast

from requests.adapters import HTTPAdapter


class DeadlineAdapter(HTTPAdapter):
    """Makes connections on which the read timeout bounds the whole answer."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pool manager as usual, with connections of our kind."""
        super().init_poolmanager(*args, **options)
        plain = self.poolmanager.pool_classes_by_scheme
        self.poolmanager.pool_classes_by_scheme = {scheme: _with_deadline(pool) for scheme, pool in plain.items()}


def _with_deadline(pool: Any) -> Any:
    connection = type("DeadlineConnection", (pool.ConnectionCls,), {"response_class": _DeadlineResponse})
    return type("DeadlinePool", (pool,), {"ConnectionCls": connection})


class DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline, which is as far away as its timeout says when the reading begins."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._timeout = sock.gettimeout()
        self._deadline: float | None = None

    def readable(self) -> bool:
        """Say that it can be read, as a raw stream must."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is into the buffer; returns how much. Raises TimeoutError at the deadline."""
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left)
        elif self._timeout is not None:
            # The socket's own timeout is right for the first read, and most answers come whole.
            self._deadline = time.monotonic() + self._timeout
        return cast("int | None", self._raw.readinto(buffer))

    def close(self) -> None:
        """Let go of the socket, which gets its timeout back."""
        if not self.closed:
            with suppress(OSError):  # the connection may be reused: leave it as it was found
                # Not for nothing: it is a call to the system, which gives the interpreter lock away.
                if self._sock.gettimeout() != self._timeout:
                    self._sock.settimeout(self._timeout)
            self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """An answer that must arrive, headers and body, within the timeout its socket had when the wait for it began."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(DeadlineReader(self.fp.detach(), sock))
