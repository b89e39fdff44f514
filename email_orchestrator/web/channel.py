"""A connection to the web server: what a hostile client can make of it, which is nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from operator import itemgetter
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.task import ErrorTask
from waitress.utilities import BadRequest

from .answers import as_json, reason_of, refused, too_many

# Seconds within which a request has to be here whole, however steadily it trickles in.
TIME_TO_SEND = 20.0
# Seconds for which the rest of a refused request is still read, and thrown away.
TIME_TO_LINGER = 2.0
# Of more connections than these, the oldest that wait for no answer have to make room: whoever only opens connections
# keeps nobody out.
CROWD = 224
# Seconds that everybody has to begin to speak.
TIME_TO_BEGIN = 0.25
# So many requests may be sent before the first is answered (pipelining, RFC 9112, section 9.3.2), which no client of
# ours does: each costs a few bytes there, and here the room for its answer.
AT_ONCE = 4
# A body in chunks that are smaller than what announces them is read no further than so many bytes: it costs many times
# what others of its length do.
TINY_CHUNKS = 4096


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Takes every malformed head for what it is, also where waitress would stumble over it or call it our fault."""

    error: Any
    # What is malformed has none, but is named by it when its client has gone.
    path = "?"

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.chunked and self.body_bytes_received > max(TINY_CHUNKS, 2 * len(self.body_rcv)) and not self.error:
            self.error = BadRequest("The chunks are too small.")
            self.completed = True
        if self.error is not None:
            # Nobody who was refused is asked to go on.
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except TransferEncodingNotImplemented as error:
            raise ParsingError("This transfer encoding is not supported.") from error
        except ValueError as error:
            raise ParsingError("The request is malformed.") from error


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """Answers what does not get as far as the application, in the application's manner."""

    def execute(self) -> None:
        error = refused(self.request.error.code, f"{self.request.error.reason}.")
        wait = self.channel.server.refusals.count(str(self.channel.addr[0]), reason_of(error))
        shown = as_json(error if wait is None else too_many(wait))
        self.status = shown.status_line
        self.response_headers.extend(shown.headerlist)
        self.set_close_on_finish()
        self.content_length = len(shown.body)
        self.channel.unread = True
        self.write(shown.body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose requests have to arrive in time, and whose refusals are sure to reach the client.

    Closing a connection on which something lies unread resets it, and the answer is lost with it; so only our side is
    closed at first (RFC 9112, section 9.6).
    """

    error_task_class = _ErrorTask
    parser_class = _Parser
    unread = False
    connected: bool
    requests: list[Any]
    will_close: bool = False
    came: float | None = None
    _begun: float | None = None
    _lingers_until: float | None = None

    def readable(self) -> bool:
        """Say whether to read on; asked about once a second, so that what takes too long is noticed and ended here.

        Waitress itself ends a connection only once the client takes something, and one that never does stays for ever.
        """
        now = time.monotonic()
        self.came = self.came or now
        if self._lingers_until is not None:
            self.will_close = self.will_close or now > self._lingers_until
        elif self.request is None:
            self._begun = None
        elif self._begun is None:
            self._begun = now
        elif now - self._begun > TIME_TO_SEND:
            self.will_close = True
        if self.will_close:
            self.handle_close()
        return self.connected and (self._lingers_until is not None or bool(super().readable()))

    def writable(self) -> bool:
        """Say whether there is anything to be done for the client, which there is not after the end."""
        return self.connected and bool(super().writable())

    def received(self, data: bytes) -> bool:
        """Take in what has come; whoever asks on and on without waiting for an answer is cut off."""
        taken = bool(super().received(data))
        if len(self.requests) > AT_ONCE:
            self.will_close = True
        return taken

    def handle_read(self) -> None:
        """Read what has come; after a refusal, throw it away."""
        if self._lingers_until is None:
            super().handle_read()
            return
        with suppress(OSError):
            # Closes the connection when the client has.
            self.recv(self.adj.recv_bytes)

    def handle_write(self) -> None:
        """Send what is there, unless the client turned out to have gone at this very turn of the loop."""
        if self.connected:
            super().handle_write()

    def handle_close(self) -> None:
        """Close the connection, or for now only our side of it."""
        if self.unread and self.connected and self._lingers_until is None:
            self._lingers_until = time.monotonic() + TIME_TO_LINGER
            self.will_close = False
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()


def make_room(connections: Iterable[object]) -> None:
    """Have the oldest of a crowd of connections closed, but none that waits for an answer or has just come."""
    everyone = [one for one in connections if isinstance(one, Channel) and not one.will_close]
    if len(everyone) > CROWD:
        early = time.monotonic() - TIME_TO_BEGIN
        idle = [(one.came, one) for one in everyone if one.came and one.came < early and not one.requests]
        for _, oldest in sorted(idle, key=itemgetter(0))[: len(everyone) - CROWD]:
            oldest.will_close = True
