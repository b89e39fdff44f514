"""Waitress on a side thread, with limits chosen for one owner's service."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import waitress
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.task import ErrorTask

from ..errors import OrchestratorError
from .answers import HEADERS, JSON, encode, error_body

log = logging.getLogger(__name__)

# Seconds within which a request has to be here whole, however steadily it trickles in.
TIME_TO_SEND = 20.0
# Seconds for which the rest of a refused request is still read, and thrown away.
TIME_TO_LINGER = 2.0
LIMITS = {
    "threads": 4,
    # More than the application takes, so that nearly every refusal is its own; chunk headers count here too.
    "max_request_body_size": 2 * 64 * 1024,
    "max_request_header_size": 16 * 1024,
    "connection_limit": 256,
    "channel_timeout": 30,
    "cleanup_interval": 5,
    "backlog": 128,
    "ident": None,
    "clear_untrusted_proxy_headers": True,
    "expose_tracebacks": False,
    "log_socket_errors": False,
    # `select` breaks at the 1024th open file of the process.
    "asyncore_use_poll": True,
}


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Takes every malformed head for what it is, also where waitress would stumble over it or call it our fault."""

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
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
        error = self.request.error
        body = encode(error_body(error.code, f"{error.reason}."))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", JSON), *HEADERS.items()])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.unread = True
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection whose requests have to arrive in time, and whose refusals are sure to reach the client.

    Closing a connection on which something lies unread resets it, and the answer is lost with it; so only our side is
    closed at first (RFC 9112, section 9.6).
    """

    error_task_class = _ErrorTask
    parser_class = _Parser
    unread = False
    will_close: bool = False
    _begun: float | None = None
    _lingers_until: float | None = None

    def readable(self) -> bool:
        """Say whether to read on; asked about once a second, so that what takes too long is noticed here."""
        if self._lingers_until is not None:
            self.will_close = self.will_close or time.monotonic() > self._lingers_until
            return not self.will_close
        if self.request is None:
            self._begun = None
        elif self._begun is None:
            self._begun = time.monotonic()
        elif time.monotonic() - self._begun > TIME_TO_SEND:
            self.will_close = True
        return bool(super().readable())

    def handle_read(self) -> None:
        """Read what has come; after a refusal, throw it away."""
        if self._lingers_until is None:
            super().handle_read()
            return
        with suppress(OSError):
            # Closes the connection when the client has.
            self.recv(self.adj.recv_bytes)

    def handle_close(self) -> None:
        """Close the connection, or for now only our side of it."""
        if self.unread and self.connected and self._lingers_until is None:
            self._lingers_until = time.monotonic() + TIME_TO_LINGER
            self.will_close = False
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                return
        super().handle_close()


class WebServer:
    """Serves a WSGI application on a thread of its own; `port` says which port it got when 0 was asked for."""

    def __init__(self, app: Callable[..., Any], host: str, port: int) -> None:
        # One line for each request that has to wait a moment, and one for each client that has gone.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        logging.getLogger("waitress").setLevel(logging.WARNING)
        sockets = _bind(host, port)
        self.port: int = sockets[0].getsockname()[1]
        self._map: dict[int, Any] = {}
        self._server = waitress.create_server(app, map=self._map, sockets=sockets, **LIMITS)
        for listener in self._listeners():
            listener.channel_class = _Channel
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def alive(self) -> bool:
        """Say whether it serves."""
        return self._thread.is_alive()

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the requests in hand, within `timeout` seconds, and close every connection."""
        self._server.task_dispatcher.shutdown(timeout=timeout)
        if not self._thread.is_alive():
            wasyncore.close_all(self._map, ignore_all=True)
            return
        deadline = time.monotonic() + 1
        while self._unsent() and time.monotonic() < deadline:
            time.sleep(0.005)
        # In the loop's own thread: closing sockets under a loop that polls them makes it stumble.
        self._listeners()[0].trigger.pull_trigger(lambda: wasyncore.close_all(self._map, ignore_all=True))
        self._thread.join(timeout)

    def _listeners(self) -> list[Any]:
        return [entry for entry in self._map.values() if hasattr(entry, "channel_class")]

    def _unsent(self) -> bool:
        return any(getattr(entry, "total_outbufs_len", 0) for entry in list(self._map.values()))


def _bind(host: str, port: int) -> list[socket.socket]:
    """Bind every address of a host name to one port; raises OrchestratorError when it cannot be had."""
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            chosen = bound[0].getsockname()[1] if bound else port
            try:
                bound.append(_listener(family, kind, protocol, (address[0], chosen, *address[2:])))
            except OSError as error:
                # `localhost` has an IPv6 address also where the machine has no IPv6.
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
        if not bound:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except OSError as error:
        for listener in bound:
            listener.close()
        reason = error.strerror or type(error).__name__
        raise OrchestratorError(
            f"Cannot listen on {host}:{port} ({reason}): choose another HOST or PORT, or end what uses it."
        ) from error
    return bound


def _listener(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
