"""Looks into the account's Sent Mail over IMAP, to find out whether a reply of unknown outcome went out. Only reads."""

from __future__ import annotations

import base64
import imaplib
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ..core.reply_headers import message_ids
from ..errors import Kind, ServiceError
from .network import bad_certificate, is_loopback, reason
from .watching import Observer, nobody, watched

SERVICE = "Sent Mail"

# What the mailbox is usually called where the server does not mark it.
_USUAL_NAMES = ("[Gmail]/Sent Mail", "[Google Mail]/Sent Mail", "Sent", "INBOX.Sent", "Sent Items", "Sent Messages")
_LISTED = re.compile(rb'\(([^)]*)\) (?:NIL|"\\?.") (.+)', re.DOTALL)
_MOST_FOUND = 20
_GOODBYE_SECONDS = 0.5


class SentMail:
    """The Sent mailbox of one account.

    `timeout` is how many seconds each answer of the server may take. The connection uses TLS with `context`, by default
    with the system's certificates; only on this machine, off port 993 and without a context, is it plain.
    """

    service = SERVICE

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        password: str,
        context: ssl.SSLContext | None = None,
        timeout: float = 10.0,
        observe: Observer = nobody,
    ) -> None:
        self.observe = observe
        self._host = host
        self._port = port
        self._username = username
        self._password = password
        self._context = context
        self._timeout = timeout
        self._plain = context is None and port != 993 and is_loopback(host)

    @watched
    def was_sent(self, message_id: str) -> bool:
        """Say whether a message of exactly this Message-ID is in the Sent mailbox.

        Raises ServiceError, transient, when that cannot be told: the server fails, or the id is no id (a search for
        nothing finds everything).
        """
        if message_ids(message_id) != (message_id,):
            raise _cannot_tell("the message to look for has no proper Message-ID")
        with self._sent_mailbox() as (connection, _):
            numbers = _found(connection.uid("SEARCH", "HEADER", "Message-ID", _quoted(message_id)))
            if not numbers:
                return False
            # A search finds parts of ids too, and Gmail's goes by words, so the ids themselves are compared.
            wanted = ",".join(numbers[-_MOST_FOUND:])
            headers = _data(connection.uid("FETCH", wanted, "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"), "FETCH")
            texts = [header[1].decode("ascii", "replace") for header in headers if isinstance(header, tuple)]
            return any(message_id in message_ids(text) for text in texts)

    def check(self) -> str:
        """Log in, open the Sent mailbox for reading and return its name; raises ServiceError when that fails."""
        with self._sent_mailbox() as (_, name):
            return _readable_name(name)

    @contextmanager
    def _sent_mailbox(self) -> Iterator[tuple[imaplib.IMAP4, str]]:
        """Open the Sent mailbox without the right to change it; every failure inside becomes "cannot tell"."""
        try:
            connection = self._connect()
            try:
                connection.login(_quoted(self._username), self._password)
                name = _find_sent(_data(connection.list(), "LIST"))
                _data(connection.select(_quoted(name), readonly=True), "EXAMINE")
                yield connection, name
            finally:
                _hang_up(connection)
        except ssl.SSLCertVerificationError as error:
            raise _cannot_tell(bad_certificate(self._host, error)) from error
        except (imaplib.IMAP4.error, OSError, ValueError) as error:
            raise _cannot_tell(f"{self._host}:{self._port} could not be asked ({_why(error)})") from error

    def _connect(self) -> imaplib.IMAP4:
        if self._plain:
            return imaplib.IMAP4(self._host, self._port, timeout=self._timeout)
        self._context = self._context or ssl.create_default_context()
        return imaplib.IMAP4_SSL(self._host, self._port, ssl_context=self._context, timeout=self._timeout)


def _hang_up(connection: imaplib.IMAP4) -> None:
    with suppress(imaplib.IMAP4.error, OSError):
        connection.sock.settimeout(_GOODBYE_SECONDS)
        connection.logout()
    with suppress(OSError):
        connection.shutdown()


def _data(answer: tuple[str, list[Any]], request: str) -> list[Any]:
    """Return what the server answered a request with; raises ServiceError unless it said OK."""
    status, data = answer
    if status != "OK":
        said = data[-1].decode("ascii", "replace") if data and isinstance(data[-1], bytes) else "nothing"
        raise _cannot_tell(f"{request} was answered with {status} {_printable(said)}")
    return data


def _found(answer: tuple[str, list[Any]]) -> list[str]:
    """Return the numbers a search found; raises ServiceError when the server named neither any nor none."""
    numbers = [part for line in _data(answer, "SEARCH") for part in (line.split() if line is not None else [b"?"])]
    if not all(number.isdigit() for number in numbers):
        raise _cannot_tell("the answer to SEARCH makes no sense")
    return [number.decode("ascii") for number in numbers]


def _find_sent(lines: list[Any]) -> str:
    """Find the Sent mailbox in a LIST answer: the one marked \\Sent (RFC 6154), else the first of a usual name.

    Names are localised ("[Gmail]/Gesendet"), the mark is not. Returns the name as the server writes it, unquoted.
    """
    names = []
    for line in lines:
        # imaplib gives a name sent as a literal as a pair, and None where there was nothing.
        flat = line[0].rpartition(b"{")[0] + _quoted_bytes(line[1]) if isinstance(line, tuple) else line or b""
        match = _LISTED.fullmatch(flat.strip())
        name = _unquoted(match[2]) if match else ""
        if match is None or not re.fullmatch(r"[ -~]+", name) or rb"\noselect" in match[1].lower():
            continue
        if rb"\sent" in match[1].lower().split():
            return name
        names.append(name)
    for usual in _USUAL_NAMES:
        if usual in names:
            return usual
    raise _cannot_tell("the account has no mailbox marked or named as Sent")


def _quoted_bytes(text: bytes) -> bytes:
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _quoted(text: str) -> str:
    """Write printable ASCII as an IMAP quoted string (RFC 3501 §4.3), which nothing in it can end."""
    return _quoted_bytes(text.encode("ascii")).decode("ascii")


def _unquoted(text: bytes) -> str:
    name = text.decode("latin-1")
    return re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') and name.endswith('"') else name


def _readable_name(name: str) -> str:
    """Decode a mailbox name from IMAP's modified UTF-7 (RFC 3501 §5.1.3): `Envoy&AOk-s` is `Envoyés`."""

    def decode(match: re.Match[str]) -> str:
        coded = match[1].replace(",", "/")
        return base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-16-be", "replace") if coded else "&"

    return re.sub(r"&([A-Za-z0-9+,]*)-", decode, name)


def _printable(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)[:160]


def _why(error: Exception) -> str:
    """Say why the server could not be asked; errors of the protocol hold what it said, as text or as bytes."""
    if isinstance(error, OSError):
        return reason(error)
    said = error.args[0] if error.args else ""
    text = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
    return _printable(text) or type(error).__name__


def _cannot_tell(problem: str) -> ServiceError:
    return ServiceError(SERVICE, problem, Kind.TRANSIENT)
