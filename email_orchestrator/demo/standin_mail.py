"""A stand-in for Gmail's SMTP server: a real one on loopback that asks for a password and keeps what it accepts."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from ..errors import OrchestratorError
from .standin_record import Record

CUT = ""  # as an answer: the connection is closed without a word
STAGES = ("auth", "mail", "rcpt", "data", "quit")


@dataclass(frozen=True, slots=True)
class AcceptedMail:
    """A message the server took, with its envelope; `content` is as transmitted, with CRLF line ends."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class _Ending:
    """What becomes of a message whose final dot arrived: taken or not, and then silence for `hang` seconds or a cut."""

    accepted: bool
    hang: float


class MailStandIn:
    """An SMTP server on a loopback port, which it keeps when it is stopped and started again.

    It wants the login `user` and `password`. `mails` holds what it accepted, `logins` and `refused_logins` count the
    attempts to log in, `connections` the connections.
    """

    def __init__(
        self,
        user: str = "owner@example.com",
        password: str = "app-password",  # noqa: S107
    ) -> None:
        self.user = user
        self.password = password
        self.port = 0
        self.mails: Record[AcceptedMail] = Record()
        self.logins = 0
        self.refused_logins = 0
        self.connections = 0
        self._refusals: dict[str, deque[str]] = defaultdict(deque)
        self._endings: deque[_Ending] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._open: WeakSet[Any] = WeakSet()

    @property
    def host(self) -> str:
        """Return the address it listens on."""
        return "127.0.0.1"

    def start(self) -> Self:
        """Listen and answer from now on; returns the stand-in itself. Raises OrchestratorError without `aiosmtpd`."""
        smtp_class = _smtp_class()
        listener = socket.create_server((self.host, self.port), backlog=256)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
        self.port = listener.getsockname()[1]
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(smtp_class, listener, ready), daemon=True)
        self._thread.start()
        ready.wait(5.0)
        return self

    def stop(self) -> None:
        """Stop listening and drop every connection, in the middle of a message or not."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def refuse(self, stage: str, answer: str, times: int = 1) -> None:
        """Give this answer (`550 5.1.1 No such user`) the next times a stage is reached; `CUT` closes the connection.

        The stages are auth, mail, rcpt, data (the final dot) and quit.
        """
        if stage not in STAGES:
            raise ValueError(f"there is no stage {stage}; the stages are {', '.join(STAGES)}")
        self._refusals[stage].extend([answer] * times)

    def cut_after_dot(self, accepted: bool) -> None:
        """Close the connection when the next message's final dot arrived, without an answer, having taken it or not."""
        self._endings.append(_Ending(accepted, hang=0.0))

    def hang_after_dot(self, seconds: float, accepted: bool) -> None:
        """Say nothing for so long when the next message's final dot arrived, then close; having taken it or not."""
        self._endings.append(_Ending(accepted, hang=seconds))

    def wait_for_mail(self, timeout: float = 5.0, after: int = 0) -> AcceptedMail:
        """Wait for a message and return it; the first `after` messages don't count. Raises TimeoutError."""
        return self.mails.wait_for(timeout=timeout, after=after)

    def _run(self, smtp_class: Any, listener: socket.socket, ready: threading.Event) -> None:
        self._loop = loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(lambda _loop, _context: None)  # connections cut on purpose are no news

        def new_connection() -> Any:
            self.connections += 1
            connection = smtp_class(
                _Handler(self),
                hostname="stand-in",
                enable_SMTPUTF8=True,
                auth_require_tls=False,
                authenticator=self._authenticate,
                loop=loop,
            )
            self._open.add(connection)
            return connection

        server = loop.run_until_complete(loop.create_server(new_connection, sock=listener))
        loop.call_soon(ready.set)
        try:
            loop.run_forever()
        finally:
            server.close()
            loop.run_until_complete(self._drop_all())
            loop.close()

    async def _drop_all(self) -> None:
        for connection in list(self._open):
            if connection.transport is not None:
                connection.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def next_refusal(self, stage: str) -> str | None:
        """Take the answer that is queued for a stage, None when it is to go its usual way."""
        return self._refusals[stage].popleft() if self._refusals[stage] else None

    def next_ending(self) -> _Ending | None:
        """Take what is queued for a message whose final dot arrived."""
        return self._endings.popleft() if self._endings else None

    def _authenticate(self, server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> Any:
        from aiosmtpd.smtp import AuthResult

        refusal = self.next_refusal("auth")
        if refusal == CUT:
            server.transport.abort()
        right = (login.login, login.password) == (self.user.encode(), self.password.encode())
        if right and refusal is None:
            self.logins += 1
            return AuthResult(success=True)
        self.refused_logins += 1
        return AuthResult(success=False, handled=False, message=refusal or None)


class _Handler:
    """What the server does at each stage; a hook that returns `MISSING` lets the stage go its usual way."""

    def __init__(self, mail: MailStandIn) -> None:
        self._mail = mail

    async def handle_MAIL(self, server: Any, session: Any, _envelope: Any, _address: str, _options: Any) -> Any:  # noqa: N802
        if not session.authenticated:
            return "530 5.7.0 Authentication Required"
        return await self._stage(server, "mail")

    async def handle_RCPT(self, server: Any, _session: Any, _envelope: Any, _address: str, _options: Any) -> Any:  # noqa: N802
        return await self._stage(server, "rcpt")

    async def handle_QUIT(self, server: Any, _session: Any, _envelope: Any) -> Any:  # noqa: N802
        return await self._stage(server, "quit")

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        refusal = await self._stage(server, "data")
        if isinstance(refusal, str):
            return refusal
        ending = self._mail.next_ending()
        if ending is None or ending.accepted:
            recipients = tuple(envelope.rcpt_tos)
            self._mail.mails.add(AcceptedMail(envelope.mail_from, recipients, envelope.content, datetime.now(UTC)))
        if ending is not None:
            await asyncio.sleep(ending.hang)
            await _cut(server)
        return "250 2.0.0 OK"

    async def _stage(self, server: Any, stage: str) -> Any:
        from aiosmtpd.smtp import MISSING

        refusal = self._mail.next_refusal(stage)
        if refusal == CUT:
            await _cut(server)
        return MISSING if refusal is None else refusal


async def _cut(server: Any) -> None:
    """Close the connection without an answer; never returns, for the loss of the connection ends the task."""
    server.transport.abort()
    await asyncio.Event().wait()


def _smtp_class() -> Any:
    try:
        from aiosmtpd.smtp import SMTP
    except ImportError as error:
        raise OrchestratorError("The demo needs a mail server: pip install 'email-orchestrator[demo]'.") from error
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    return SMTP
