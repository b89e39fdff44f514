"""A small HTTP/1.1 server on loopback for stand-ins: quick to start and stop, and able to misbehave on demand."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import parse_qsl, unquote

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: `path` and `query` decoded, header names in lower case."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """Return the body's JSON object, {} when it is anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and the way it is given: after `hang` seconds, `drip` seconds between bytes, or not at all (`drop`).

    A body of bytes goes out as it is, any other value as JSON.
    """

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: float = 0.0
    drip: float = 0.0
    drop: bool = False

    def encode(self) -> bytes:
        """Return the answer as it goes over the wire."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        reason = HTTPStatus(self.status).phrase if self.status in HTTPStatus._value2member_map_ else "Unknown"
        more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        fixed = f"HTTP/1.1 {self.status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{fixed}{more}\r\n".encode("latin-1") + body


NOT_FOUND = Answer(404, {"detail": "Not Found"})
METHOD_NOT_ALLOWED = Answer(405, {"detail": "Method Not Allowed"})


def unprocessable(*place: str, message: str) -> Answer:
    """Return the 422 that the services' web framework gives for a value at `place` that it does not accept."""
    return Answer(422, {"detail": [{"type": "value_error", "loc": list(place), "msg": message}]})


class HttpStandIn:
    """A service on a loopback port, which it keeps when it is stopped and started again.

    `script` queues answers for the next requests of the service's main endpoint, `always` answers all of them while
    it is set, `latency` is how many seconds each takes; `calls` lists every request as `METHOD target`, `connections`
    counts the connections.
    """

    def __init__(self) -> None:
        self.port = 0
        self.latency = 0.0
        self.always: Answer | None = None
        self.calls: list[str] = []
        self.connections = 0
        self._script: deque[Answer] = deque()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """Return where the service listens, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listen and answer from now on; returns the stand-in itself."""
        self._stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening and drop every connection, answered or not."""
        if self._listener is None:
            return
        self._stopping.set()
        with self._lock:
            open_now = dict(self._open)
        for sock in (self._listener, *open_now):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        for thread in open_now.values():
            if thread is not threading.current_thread():
                thread.join(1.0)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def script(self, *answers: Answer) -> None:
        """Queue answers for the next requests of the main endpoint, one each, instead of what it would do."""
        self._script.extend(answers)

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request: what a service is."""
        raise NotImplementedError

    def scripted(self) -> Answer | None:
        """Return the answer that is to be given instead of the service's own, if there is one."""
        try:
            return self._script.popleft()
        except IndexError:
            return self.always

    def pause(self) -> None:
        """Take as long as `latency` says, or until the stand-in is stopped."""
        if self.latency:
            self._stopping.wait(self.latency)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            with self._lock:
                self.connections += 1
                # Started before a stop can see it, for that waits for its end; its own end waits for the lock.
                thread.start()
                self._open[sock] = thread
            if self._stopping.is_set():
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as stream, suppress(OSError):
            while request := read_request(stream):
                self.calls.append(f"{request.method} {request.target}")
                answer = self._safe_answer(request)
                if answer.drop or (answer.hang and self._stopping.wait(answer.hang)):
                    break
                self._send(sock, answer)
                if request.headers.get("connection", "").lower() == "close":
                    break
        with self._lock:
            self._open.pop(sock, None)

    def _safe_answer(self, request: Request) -> Answer:
        try:
            return self.answer(request)
        except Exception:
            log.exception("the stand-in failed on %s %s", request.method, request.target)
            return Answer(500, {"detail": "Internal Server Error"})

    def _send(self, sock: socket.socket, answer: Answer) -> None:
        data = answer.encode()
        if not answer.drip:
            sock.sendall(data)
            return
        for byte in data:
            sock.sendall(bytes((byte,)))
            if self._stopping.wait(answer.drip):
                return


def read_request(stream: BinaryIO) -> Request | None:
    """Read one request with a Content-Length or no body; returns None at the end of the stream or on anything else."""
    start = stream.readline(65536).decode("latin-1").split()
    if len(start) != 3:
        return None
    headers = {}
    while (line := stream.readline(65536).decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit():
        return None
    body = stream.read(int(length))
    method, target, _ = start
    path, _, query = target.partition("?")
    return Request(method, target, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers, body)
