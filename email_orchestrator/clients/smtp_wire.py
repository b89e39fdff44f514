"""SMTP on the wire: lines out, answers in, each by a deadline.

Python's smtplib bounds neither how long an answer may drip nor how long it may grow, tries a wrong password once for
every mechanism the server offers, and does not say whether a connection was lost before or after the final dot. This
module does, and leaves it to its caller what a loss means.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from dataclasses import dataclass

from .. import clock
from .network import reason

_ANSWER_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\r\n]*))?\r?\n")
_LONGEST_LINE = 2048  # RFC 5321 §4.5.3.1.5 says 512 octets; some servers write more
_MOST_LINES = 100
_LONGEST_MESSAGE_LINE = 998  # RFC 5322 §2.1.1, without the CRLF
_CHUNK = 65536


class Lost(Exception):
    """The conversation broke off: closed, silent for too long, or no SMTP; the text says which."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer: its three digits and its lines without them, cleaned of control characters."""

    code: int
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.code} {' '.join(self.lines)}"[:200].rstrip()

    def without(self, secret: str) -> Answer:
        """Return the answer with a secret taken out, which servers repeat when they did not understand it."""
        return Answer(self.code, tuple(line.replace(secret, "***") for line in self.lines))


class Wire:
    """A connection to an SMTP server. Deadlines are moments of `clock.now()`; every method may raise Lost."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = b""

    @classmethod
    def connect(cls, host: str, port: int, deadline: float) -> Wire:
        """Open a TCP connection."""
        # A name usually has an IPv6 and an IPv4 address, and the time is for both.
        timeout = _seconds_left(deadline, "connection") / 2
        try:
            sock = socket.create_connection((host, port), timeout)
        except (OSError, UnicodeError) as error:
            raise Lost(f"no connection to {host}:{port} ({reason(error)})") from error
        # The final dot follows the message without an answer between: it must not wait for a delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock)

    def start_tls(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        """Encrypt the connection from here on; raises ssl.SSLCertVerificationError when the server is not `host`."""
        try:
            self._sock.settimeout(_seconds_left(deadline, "TLS"))
            # Python's wrapper takes a connection that is already gone for one yet to be made, and does not close it.
            self._sock.getpeername()
            self._sock = context.wrap_socket(self._sock, server_hostname=host)
        except ssl.SSLCertVerificationError:
            self.close()
            raise
        except (OSError, ValueError) as error:
            self.close()
            raise Lost(f"no TLS connection ({reason(error)})") from error

    def greet(self, deadline: float) -> Answer:
        """Read the server's greeting."""
        return self._read_answer(deadline, "the connection")

    def hello(self, deadline: float) -> tuple[Answer, dict[str, str]]:
        """Send EHLO with our address as RFC 5321 §4.1.3 writes it; return the answer and the extensions it lists."""
        address = self._sock.getsockname()[0].partition("%")[0]
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        answer = self.command(f"EHLO {literal}", deadline)
        # Old servers write "AUTH=LOGIN".
        listed = (line.upper().replace("=", " ").partition(" ") for line in answer.lines[1:])
        return answer, {keyword: parameters for keyword, _, parameters in listed}

    def log_in(self, username: str, password: str, mechanisms: str, deadline: float) -> Answer:
        """Log in with the first mechanism of ours that the server offers, and with no other after it (RFC 4954).

        Two wrong tries for one wrong password bring an account nearer to being locked.
        """
        if "PLAIN" in mechanisms.split():
            secrets = _base64("\0".join(("", username, password)))
            return self.command(f"AUTH PLAIN {secrets}", deadline).without(secrets)
        answer = self.command("AUTH LOGIN", deadline)
        for secret in map(_base64, (username, password)):
            if answer.code == 334:
                answer = self.command(secret, deadline, "AUTH LOGIN").without(secret)
        return answer

    def command(self, line: str, deadline: float, name: str | None = None) -> Answer:
        """Send a command and return its answer; `name` stands for it in messages, by default its first word does."""
        name = name or line.partition(" ")[0]
        # An answer that came before its question, or in the clear before encryption (CVE-2011-0411), answers nothing.
        if self._received:
            raise Lost(f"the server spoke before it was sent {name}")
        self.write(line.encode("ascii") + b"\r\n", deadline, name)
        return self._read_answer(deadline, name)

    def write(self, data: bytes, deadline: float, name: str) -> None:
        """Send all the data as it is."""
        rest = memoryview(data)
        try:
            while rest:
                self._sock.settimeout(_seconds_left(deadline, name))
                rest = rest[self._sock.send(rest[:_CHUNK]) :]
        except OSError as error:
            raise Lost(f"the connection was lost at {name} ({reason(error)})") from error

    def is_quiet(self) -> bool:
        """Say whether the connection stands and the server has said nothing it was not asked for."""
        if self._received:
            return False
        try:
            self._sock.settimeout(0)
            self._received = self._sock.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the connection without a word."""
        self._sock.close()

    def _read_answer(self, deadline: float, name: str) -> Answer:
        """Read an answer of one or more lines with one code (RFC 5321 §4.2.1)."""
        lines: list[str] = []
        code = b""
        while len(lines) < _MOST_LINES:
            match = _ANSWER_LINE.fullmatch(self._read_line(deadline, name))
            if match is None or (code and match[1] != code):
                break
            code = match[1]
            lines.append(_printable(match[3] or b""))
            if match[2] != b"-":
                return Answer(int(code), tuple(lines))
        raise Lost(f"what came after {name} is not an SMTP answer")

    def _read_line(self, deadline: float, name: str) -> bytes:
        while b"\n" not in self._received and len(self._received) <= _LONGEST_LINE:
            try:
                self._sock.settimeout(_seconds_left(deadline, name))
                chunk = self._sock.recv(_CHUNK)
            except OSError as error:
                raise Lost(f"no answer to {name} ({reason(error)})") from error
            if not chunk:
                raise Lost(f"the server closed the connection after {name}")
            self._received += chunk
        line, newline, self._received = self._received.partition(b"\n")
        return line + newline


def as_transmitted(message: bytes) -> bytes:
    """Return a message's lines with CRLF ends and leading dots doubled, for what follows DATA (RFC 5321 §4.5.2).

    A line end of any other kind becomes CRLF too: servers disagree about what a bare one means, and one of them could
    take a part of the body for the end of the message. Raises ValueError for what plain SMTP does not carry: octets
    above 127, NUL, lines of more than 998 octets.
    """
    lines = re.split(rb"\r\n|\r|\n", message)
    if lines[-1] == b"":
        lines.pop()
    if not message.isascii() or b"\0" in message or any(len(line) > _LONGEST_MESSAGE_LINE for line in lines):
        raise ValueError("the message has octets or line lengths that plain SMTP does not carry")
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in lines)


def _seconds_left(deadline: float, name: str) -> float:
    left = deadline - clock.now()
    if left <= 0:
        raise Lost(f"no time was left for {name}")
    return left


def _printable(text: bytes) -> str:
    return re.sub(r"[^ -~]", "?", text.decode("utf-8", "replace"))


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
