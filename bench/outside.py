"""The outside world, in a process of its own so that it does not share the daemon's interpreter lock.

The three services are the demo's stand-ins, without their database where they have one: its commits would be counted
as ours. The mail server is a plain one, because the demo's costs more than everything that is measured here.
"""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from email_orchestrator.demo.standin_generator import DraftRequest
from email_orchestrator.demo.standins import GatewayStandIn, GeneratorStandIn, MonitorStandIn, SentMessage

PHONE = "+15551234567"
ADDRESS = "owner@example.com"
PASSWORD = "bench-password"
# The owner needs this long, in seconds, to read a text; it counts as nobody's time.
READING = 0.05
OFFER = re.compile(r"#([0-9]+) .*?=Send", re.DOTALL)

Moment = tuple[float, str]


class Monitor(MonitorStandIn):
    """Notes when each list of emails went out."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.moments: list[Moment] = []

    def _send(self, sock: socket.socket, answer: Any) -> None:
        if answer.body.get("total"):
            self.moments.append((time.monotonic(), "listed"))
        super()._send(sock, answer)


class Owner(GatewayStandIn):
    """A gateway whose owner approves every draft a moment after it came."""

    def __init__(self) -> None:
        super().__init__(owner=PHONE)
        self.approves = True
        self.moments: list[Moment] = []
        self._due: list[tuple[float, int, str]] = []
        self._new = threading.Condition()
        self._numbers = itertools.count()
        self.sent.on_add = self._read
        for number in range(4):
            threading.Thread(target=self._answer_texts, name=f"owner-{number}", daemon=True).start()

    def _read(self, text: SentMessage) -> None:
        now = time.monotonic()
        found = OFFER.search(text.message)
        self.moments.append((now, f"offer {found[1]}" if found else "text"))
        if found and self.approves:
            with self._new:
                heapq.heappush(self._due, (now + READING, next(self._numbers), found[1]))
                self._new.notify()

    def _answer_texts(self) -> None:
        while True:
            with self._new:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._new.wait(max(0.0, self._due[0][0] - time.monotonic()) if self._due else None)
                workflow = heapq.heappop(self._due)[2]
            self.moments.append((time.monotonic(), f"approve {workflow}"))
            status = self.text_from_owner(f"1 #{workflow}")
            self.moments.append((time.monotonic(), f"acknowledged {workflow} {status}"))


class MailSink:
    """An SMTP server that logs everybody in and takes every mail."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines, suppress(OSError):
            sock.sendall(b"220 sink ESMTP\r\n")
            for line in lines:
                match line[:4].upper().strip():
                    case b"EHLO":
                        sock.sendall(b"250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN\r\n")
                    case b"AUTH":
                        sock.sendall(b"235 2.7.0 Accepted\r\n")
                    case b"DATA":
                        sock.sendall(b"354 Go on\r\n")
                        while (text := lines.readline()) != b".\r\n" and text:
                            pass
                        self.moments.append((time.monotonic(), "mail"))
                        sock.sendall(b"250 2.0.0 OK\r\n")
                    case b"QUIT":
                        sock.sendall(b"221 2.0.0 Bye\r\n")
                        return
                    case _:
                        sock.sendall(b"250 2.1.0 OK\r\n")


class World:
    """What the other process is told to do, and tells."""

    def __init__(self, dsn: str) -> None:
        self.monitor = Monitor(dsn).start()
        self.generator = GeneratorStandIn().start()
        self.generator.write = _draft
        self.owner = Owner()
        self.owner.start()
        self.mail = MailSink()

    def places(self) -> dict[str, str]:
        """Tell the settings that lead a daemon here."""
        return {
            "EMAIL_MONITOR_URL": self.monitor.url,
            "AI_REPLY_GENERATOR_URL": self.generator.url,
            "SMS_GATEWAY_URL": self.owner.url,
            "GMAIL_SMTP_SERVER": "127.0.0.1",
            "GMAIL_SMTP_PORT": str(self.mail.port),
        }

    def face(self, orchestrator_url: str, latency: float, approves: bool = True) -> None:
        """Serve this daemon from now on, with drafts that take `latency` seconds; forget what was."""
        self.owner.orchestrator_url, self.owner.approves = orchestrator_url, approves
        self.generator.latency = latency
        self.owner.forget()
        monitor, generator, owner = self.monitor, self.generator, self.owner
        records: list[list[Any]] = [monitor.moments, owner.moments, self.mail.moments, owner.sent, owner.calls]
        records += [generator.requests, generator.actions, generator.calls, monitor.calls]
        for record in records:
            record.clear()

    def count(self) -> dict[str, int]:
        """Count what came in since `face`."""
        return {
            "mails": len(self.mail.moments),
            "texts": len(self.owner.sent),
            "drafts": len(self.generator.requests),
            "actions": len(self.generator.actions),
            "polls": len(self.monitor.calls),
        }

    def story(self) -> list[Moment]:
        """Tell all moments since `face`, in order."""
        return sorted([*self.monitor.moments, *self.owner.moments, *self.mail.moments])

    def slow_down(self, latency: float) -> None:
        """Have drafts take so many seconds from now on."""
        self.generator.latency = latency

    def text(self, message: str) -> float:
        """Have the owner text something; returns how long, in seconds, it took until it was acknowledged."""
        began = time.monotonic()
        self.owner.moments.append((began, "texted"))
        status = self.owner.text_from_owner(message)
        if status != 200:
            raise RuntimeError(f"the webhook answered {status}")
        return time.monotonic() - began


def _draft(asked: DraftRequest) -> str:
    return f"Hello, yes, that suits me. I will be there. ({asked.email_message_id[1:9]})"


def _serve(dsn: str, pipe: Connection) -> None:
    world = World(dsn)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            name, values = pipe.recv()
            pipe.send(getattr(world, name)(*values))


class Remote:
    """The world as seen from here; safe to use from several threads."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def __call__(self, name: str, *values: object) -> Any:
        """Call one of World's methods."""
        with self._lock:
            self._pipe.send((name, values))
            return self._pipe.recv()


@contextmanager
def world(dsn: str) -> Iterator[Remote]:
    """Run the outside world while in the block."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_serve, args=(dsn, theirs), daemon=True)
    process.start()
    try:
        yield Remote(ours)
    finally:
        process.terminate()
        process.join()
