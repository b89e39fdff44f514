"""Runs the command line with a tripwire in it: at a point that a test names, the process dies as if by `kill -9`.

    python crashing.py [--seen FILE] [--at POINT] run

Points are the commits of every transaction, named after the function that opened it, and the calls to the outside. A
commit has a third kind of trouble: it happened, and the connection was lost before that was heard (`unheard`). With
`--seen` every point that is met is written to a file. The pauses between attempts are shortened, nothing else is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from email_orchestrator import workers
from email_orchestrator.clients.ai_reply_generator import AiReplyGenerator
from email_orchestrator.clients.email_monitor import EmailMonitor
from email_orchestrator.clients.sent_mail import SentMail
from email_orchestrator.clients.sms_gateway import SmsGateway
from email_orchestrator.clients.smtp import SmtpMailer
from email_orchestrator.clients.smtp_wire import Wire
from email_orchestrator.core import retry
from email_orchestrator.errors import DatabaseUnavailable
from email_orchestrator.store.connection import Database
from email_orchestrator.store.transaction import Transaction
from email_orchestrator.workflow import replying

DEAD = 137
CALLS: tuple[tuple[type, str], ...] = (
    (EmailMonitor, "pending_ids"),
    (AiReplyGenerator, "generate"),
    (AiReplyGenerator, "record_action"),
    (SmsGateway, "send"),
    (SmsGateway, "incoming"),
    (SmsGateway, "outgoing"),
    (SmtpMailer, "send"),
    (SentMail, "was_sent"),
)


class Tripwire:
    """Knows the one point at which the process shall die."""

    def __init__(self, at: str | None, seen: Path | None) -> None:
        self._at = at
        self._seen = seen
        self._met: set[str] = set()

    def meet(self, point: str) -> None:
        """Pass a point, or die there."""
        if self._seen is not None and point not in self._met:
            self._met.add(point)
            with self._seen.open("a", encoding="utf-8") as file:
                file.write(f"{point}\n")
        if point == self._at:
            os._exit(DEAD)

    def lose(self, point: str) -> bool:
        """Say whether to lose the answer at a point: once."""
        self.meet_quietly(point)
        lost = point == self._at
        if lost:
            self._at = None
        return lost

    def meet_quietly(self, point: str) -> None:
        """Pass a point at which the process does not die."""
        at, self._at = self._at, None
        self.meet(point)
        self._at = at


class Guarded(AbstractContextManager[Transaction]):
    """A transaction with a tripwire on either side of its commit."""

    def __init__(self, real: AbstractContextManager[Transaction], name: str, wire: Tripwire) -> None:
        self._real = real
        self._name = name
        self._wire = wire

    def __enter__(self) -> Transaction:
        return self._real.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is None:
            self._wire.meet(f"{self._name}: before commit")
        done = self._real.__exit__(kind, error, trace)
        if kind is None:
            self._wire.meet(f"{self._name}: after commit")
            if self._wire.lose(f"{self._name}: commit unheard"):
                raise DatabaseUnavailable("The connection was lost before the commit was heard of.")
        return done


def stretch(wire: Tripwire) -> None:
    """Put the tripwire into everything that commits or speaks to the outside."""
    real_transaction = Database.transaction

    def transaction(self: Database) -> Guarded:
        frame = sys._getframe(1)
        module = str(frame.f_globals["__name__"]).rpartition(".")[2]
        place = f"{module}.{frame.f_code.co_qualname}+{frame.f_lineno - frame.f_code.co_firstlineno}"
        return Guarded(real_transaction(self), place, wire)

    Database.transaction = transaction  # type: ignore[method-assign, assignment]
    for client, name in CALLS:
        setattr(client, name, _watch(getattr(client, name), f"{client.__name__}.{name}", wire))
    _watch_the_dot(wire)


def _watch(call: Callable[..., Any], name: str, wire: Tripwire) -> Callable[..., Any]:
    def watched(*given: Any, **named: Any) -> Any:
        wire.meet(f"{name}: before")
        answer = call(*given, **named)
        wire.meet(f"{name}: after")
        return answer

    return watched


def _watch_the_dot(wire: Tripwire) -> None:
    """Between the message and its final dot, and between the dot and its answer, nobody else looks."""
    write, read_answer = Wire.write, Wire._read_answer

    def watched_write(self: Wire, data: bytes, deadline: float, name: str) -> None:
        dot = data == b".\r\n"
        if dot:
            wire.meet("the final dot: before")
        write(self, data, deadline, name)
        if dot:
            wire.meet("the final dot: after")

    def watched_read(self: Wire, deadline: float, name: str) -> Any:
        answer = read_answer(self, deadline, name)
        if name == "the message":
            wire.meet("the final dot: answered")
        return answer

    Wire.write = watched_write  # type: ignore[method-assign]
    Wire._read_answer = watched_read  # type: ignore[method-assign]


def hurry() -> None:
    """Shorten what is waited for between two attempts."""
    retry.FIRST_DELAY = 0.2
    workers.REST_AFTER_TROUBLE = 0.3
    replying.LOOK_AGAIN_AFTER = (0.2, 0.3)  # type: ignore[assignment]


def main() -> None:
    """Read our own arguments, stretch the tripwire and run the command line with the rest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seen", type=Path)
    parser.add_argument("--at")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    hurry()
    stretch(Tripwire(options.at, options.seen))
    from email_orchestrator.cli import main as command_line

    command_line(options.command, prog_name="email-orchestrator")


if __name__ == "__main__":
    main()
