"""Hands mail to an SMTP server, phase by phase, and says of every failure whether the mail may have gone out.

Until the final dot is written the server cannot have accepted anything: a failure is certainly "not sent". From then
on only the server's own answer is certain (RFC 1047).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum

from .. import clock
from ..core.mail_address import ascii_address
from ..errors import AccountError, Kind, ServiceError, Trouble
from .network import bad_certificate, is_loopback
from .smtp_wire import Answer, Lost, Wire, as_transmitted
from .watching import Observer, nobody, watched

SERVICE = "SMTP server"
_PROBE_SECONDS = 5.0  # a kept connection that does not answer for so long is replaced
_GOODBYE_SECONDS = 0.5
_LOGGING_IN = ("greeting", "EHLO", "STARTTLS", "AUTH")


class Security(StrEnum):
    """How the connection is protected."""

    TLS = "TLS from the first byte"
    STARTTLS = "TLS after STARTTLS"
    PLAIN = "none, on loopback only"


def security_for(host: str, port: int) -> Security:
    """Decide how to speak to a server: TLS on 465, STARTTLS on 587 (RFC 8314) and off this machine, else plain."""
    if port == 465:
        return Security.TLS
    return Security.PLAIN if port != 587 and is_loopback(host) else Security.STARTTLS


class SmtpMailer:
    """One mail account on one SMTP server; its connection is kept open for a burst of mails.

    `command_timeout` bounds the wait for each answer before the message is handed over, `answer_timeout` the wait for
    the one that says what became of it (RFC 5321 §4.5.3.2.6 advises ten minutes; what is lost here is looked up in
    Sent Mail instead), `idle_seconds` how long a connection is kept; all in seconds. `context` and `security` replace
    the system's certificates and the choice by port. It may be shared between threads, which then take turns.
    """

    service = SERVICE

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        password: str,
        *,
        context: ssl.SSLContext | None = None,
        security: Security | None = None,
        command_timeout: float = 30.0,
        answer_timeout: float = 60.0,
        idle_seconds: float = 30.0,
        observe: Observer = nobody,
    ) -> None:
        self.observe = observe
        self._host = host
        self._port = port
        self._username = username
        self._password = password
        self._context = context
        self._security = security or security_for(host, port)
        if self._security is Security.PLAIN and not is_loopback(host):
            raise ValueError(f"a password is never sent to {host} without encryption")
        self._command_timeout = command_timeout
        self._answer_timeout = answer_timeout
        self._idle_seconds = idle_seconds
        self._kept: Wire | None = None
        self._kept_until = 0.0
        self._turn = threading.Lock()

    @watched
    def send(self, sender: str, recipient: str, message: bytes, until: float) -> str:
        """Hand one message for one recipient to the server and return its final answer, such as `250 2.0.0 OK`.

        All is over at the moment `until` of `clock.now()`: the message is handed over only while `answer_timeout` is
        left before it. Raises ServiceError: transient or permanent when it was certainly not sent, unknown when it may
        have been; AccountError when the account is in trouble and the message is not to blame (not sent either).
        """
        give_up_at = until - self._answer_timeout
        try:
            sender, recipient, lines = ascii_address(sender), ascii_address(recipient), as_transmitted(message)
        except ValueError as error:
            raise ServiceError(SERVICE, f"{error}; nothing was sent", Kind.PERMANENT) from None
        with self._turn:
            wire = self._begin(sender, give_up_at)
            try:
                answer = self._hand_over(wire, recipient, lines, give_up_at)
            except BaseException:
                wire.close()
                raise
            self._kept, self._kept_until = wire, clock.now() + self._idle_seconds
        return str(answer)

    def check(self) -> None:
        """Log in and quit without sending anything; raises ServiceError or AccountError as `send` does."""
        _quit(self._connect(clock.now() + 2 * self._command_timeout))

    def close_idle(self) -> None:
        """Close the kept connection when it has not been used for `idle_seconds`; does nothing while a mail is sent."""
        if clock.now() >= self._kept_until and self._turn.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._turn.release()

    def close(self) -> None:
        """Close the kept connection; the next `send` opens another."""
        with self._turn:
            self._let_go()

    def _let_go(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            _quit(kept)

    def _begin(self, sender: str, give_up_at: float) -> Wire:
        """Return a connection that has accepted the sender: the kept one if it still serves, else a new one."""
        kept, self._kept = self._kept, None
        if kept is not None:
            if clock.now() < self._kept_until and self._still_serves(kept, sender, give_up_at):
                return kept
            kept.close()
        wire = self._connect(give_up_at)
        try:
            with _nothing_sent():
                self._ask(wire, f"MAIL FROM:<{sender}>", give_up_at)
        except BaseException:
            wire.close()
            raise
        return wire

    def _still_serves(self, kept: Wire, sender: str, give_up_at: float) -> bool:
        """Begin a mail on a kept connection; whatever goes wrong is no failure, because nothing was sent."""
        probe_until = min(self._wait_until(give_up_at), clock.now() + _PROBE_SECONDS)
        try:
            return kept.command(f"MAIL FROM:<{sender}>", probe_until).code == 250
        except Lost:
            return False

    def _connect(self, give_up_at: float) -> Wire:
        """Open a connection and log in; returns it ready for MAIL."""
        with _nothing_sent():
            wire = Wire.connect(self._host, self._port, self._wait_until(give_up_at))
            try:
                self._log_in(wire, give_up_at)
            except BaseException:
                wire.close()
                raise
        return wire

    def _log_in(self, wire: Wire, give_up_at: float) -> None:
        """Encrypt a fresh connection, if need be, and log in."""
        if self._security is Security.TLS:
            self._encrypt(wire, give_up_at)
        _accept("greeting", wire.greet(self._wait_until(give_up_at)))
        extensions = self._hello(wire, give_up_at)
        if self._security is Security.STARTTLS:
            if "STARTTLS" not in extensions:
                raise AccountError(SERVICE, f"{self._host} offers no encryption", Trouble.CREDENTIALS)
            self._ask(wire, "STARTTLS", give_up_at)
            self._encrypt(wire, give_up_at)
            extensions = self._hello(wire, give_up_at)
        self._authenticate(wire, extensions.get("AUTH", ""), give_up_at)

    def _encrypt(self, wire: Wire, give_up_at: float) -> None:
        # Loading the system's certificates takes a while: not before they are needed, and once.
        self._context = self._context or ssl.create_default_context()
        try:
            wire.start_tls(self._context, self._host, self._wait_until(give_up_at))
        except ssl.SSLCertVerificationError as error:
            raise AccountError(SERVICE, bad_certificate(self._host, error), Trouble.CREDENTIALS) from error

    def _hello(self, wire: Wire, give_up_at: float) -> dict[str, str]:
        answer, extensions = wire.hello(self._wait_until(give_up_at))
        _accept("EHLO", answer)
        return extensions

    def _authenticate(self, wire: Wire, mechanisms: str, give_up_at: float) -> None:
        if not {"PLAIN", "LOGIN"} & set(mechanisms.split()):
            if self._security is Security.PLAIN:
                return  # a relay on this machine that asks nobody for a password
            raise AccountError(SERVICE, f"{self._host} offers no login with a password", Trouble.CREDENTIALS)
        _accept("AUTH", wire.log_in(self._username, self._password, mechanisms, self._wait_until(give_up_at)))

    def _hand_over(self, wire: Wire, recipient: str, lines: bytes, give_up_at: float) -> Answer:
        with _nothing_sent():
            self._ask(wire, f"RCPT TO:<{recipient}>", give_up_at)
            self._ask(wire, "DATA", give_up_at, wanted=3)
            wire.write(lines, give_up_at, "the message")
            if not wire.is_quiet():
                raise Lost("the server broke off while it was sent the message")
            if clock.now() >= give_up_at:
                raise Lost("no time was left to wait for the server's answer")
        try:
            answer = wire.command(".", clock.now() + self._answer_timeout, "the message")
            if answer.code // 100 == 3:
                raise Lost(f"it answered the message with {answer}")
        except Lost as lost:
            raise ServiceError(SERVICE, f"{lost}; it may have been sent", Kind.UNKNOWN) from lost
        return _accept("message", answer)

    def _ask(self, wire: Wire, line: str, give_up_at: float, wanted: int = 2) -> None:
        _accept(line.partition(" ")[0], wire.command(line, self._wait_until(give_up_at)), wanted)

    def _wait_until(self, give_up_at: float) -> float:
        return min(give_up_at, clock.now() + self._command_timeout)


def _accept(phase: str, answer: Answer, wanted: int = 2) -> Answer:
    """Return an answer of the wanted kind; raises what any other means in this phase, for nothing was sent."""
    if answer.code // 100 == wanted:
        return answer
    said = f"it answered the {phase} with {answer}"
    if answer.code >= 500 and any(line.startswith("5.4.5") for line in answer.lines):
        raise AccountError(SERVICE, said, Trouble.DAILY_LIMIT)
    if phase in _LOGGING_IN and answer.code in (421, 454):
        raise AccountError(SERVICE, said, Trouble.BUSY)
    if answer.code >= 500 and (phase == "AUTH" or (phase == "MAIL" and answer.code in (530, 534, 535))):
        raise AccountError(SERVICE, said, Trouble.CREDENTIALS)
    permanent = answer.code >= 500 and phase not in _LOGGING_IN
    raise ServiceError(SERVICE, said, Kind.PERMANENT if permanent else Kind.TRANSIENT)


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Make a connection that is lost in the block a transient error: certainly nothing was sent."""
    try:
        yield
    except Lost as lost:
        raise ServiceError(SERVICE, f"{lost}; nothing was sent", Kind.TRANSIENT) from lost


def _quit(wire: Wire) -> None:
    with suppress(Lost):
        wire.command("QUIT", clock.now() + _GOODBYE_SECONDS)
    wire.close()
