"""Waitress on a side thread, with limits chosen for one owner's service."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import waitress
from waitress import wasyncore

from ..errors import OrchestratorError
from .channel import Channel, make_room
from .refusals import Refusals

log = logging.getLogger(__name__)

# At most so many connections are let in at each turn of waitress's loop, which by itself lets in one: whoever comes
# behind a crowd would wait as many turns.
AT_A_TIME = 128
LIMITS: dict[str, Any] = {
    "threads": 5,
    # More than the application takes, so that nearly every refusal is its own; chunk headers count here too.
    "max_request_body_size": 2 * 64 * 1024,
    "max_request_header_size": 16 * 1024,
    # Read little at a time: what is sent in thousands of tiny chunks takes long to read, and others have their turn.
    "recv_bytes": 2048,
    # Never reached: a crowd is thinned out long before.
    "connection_limit": 512,
    "channel_timeout": 30,
    "cleanup_interval": 5,
    # Whoever finds it full tries again after a second, and then two, and so on.
    "backlog": 1024,
    "ident": None,
    "clear_untrusted_proxy_headers": True,
    "expose_tracebacks": False,
    "log_socket_errors": False,
    # `select` breaks at the 1024th open file of the process.
    "asyncore_use_poll": True,
}


class WebServer:
    """Serves a WSGI application on a thread of its own; `port` says which port it got when 0 was asked for.

    `refusals` counts those who are turned away before the application sees them.
    """

    def __init__(self, app: Callable[..., Any], host: str, port: int, refusals: Refusals | None = None) -> None:
        # It warns of each request that has to wait a moment.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        sockets = _bind(host, port)
        self.port: int = sockets[0].getsockname()[1]
        self._map: dict[int, Any] = {}
        self._server = waitress.create_server(app, map=self._map, sockets=sockets, **LIMITS)
        for listener in self._listeners():
            listener.channel_class = Channel
            listener.refusals = Refusals() if refusals is None else refusals
            listener.handle_accept = partial(self._let_in, listener.handle_accept)
            listener.readable = partial(self._turn, listener.readable)
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
            self._close_all()
            return
        deadline = time.monotonic() + 1
        while self._unsent() and time.monotonic() < deadline:
            time.sleep(0.005)
        # In the loop's own thread: closing sockets under a loop that polls them makes it stumble. The loop may wake by
        # itself, and must not close what it is about to be woken through.
        pulled = threading.Event()

        def close_all() -> None:
            pulled.wait(timeout)
            self._close_all()

        self._listeners()[0].trigger.pull_trigger(close_all)
        pulled.set()
        self._thread.join(timeout)

    def _close_all(self) -> None:
        for entry in list(self._map.values()):
            if hasattr(entry, "outbufs"):
                entry.handle_close()  # closes as well the file in which a long answer waits
        wasyncore.close_all(self._map, ignore_all=True)

    def _listeners(self) -> list[Any]:
        return [entry for entry in self._map.values() if hasattr(entry, "channel_class")]

    def _let_in(self, accept: Callable[[], None]) -> None:
        """Let in everybody who is at the door, up to AT_A_TIME."""
        for _ in range(AT_A_TIME):
            # `accept` does not say whether anybody came, but whoever did is on the map.
            inside = len(self._map)
            accept()
            if len(self._map) == inside:
                return

    def _turn(self, readable: Callable[[], bool]) -> bool:
        make_room(self._map.values())
        return readable()

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
