"""The owner's own emails as a stand-in inbox: `.eml` files read into the rows the Email Monitor would have stored."""

from __future__ import annotations

import email
import email.policy
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime
from pathlib import Path

logger = logging.getLogger(__name__)

_WIDTH = 255  # of the VARCHAR columns of processed_emails
_MESSAGE_ID = re.compile(r"<[^<>\s]+>")
_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"]+@[^\s<>()\[\],;:\"]+")
_MIME_HEADER = re.compile(rb"(?im)^(?=(?:content|mime)-)")
_EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
# What the standard library's header parser is known to raise on broken headers, over the supported versions.
_HEADER_ERRORS = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError, MessageError)


@dataclass(frozen=True, slots=True)
class MonitorRow:
    """One row of `processed_emails`, with the Email Monitor's columns and habits."""

    message_id: str
    from_address: str
    subject: str | None
    received_at: datetime
    body_text: str | None
    body_html: str | None
    thread_id: str | None
    in_reply_to: str | None


def read_mailbox(folder: Path, *, tell_repeats_apart: bool = False) -> list[MonitorRow]:
    """Read every `.eml` file of a folder as the Email Monitor would.

    Returns rows in the order of the file names. The table has UNIQUE(message_id), so of emails with the same
    Message-ID, or with none (stored as ''), only the first is kept and the others are reported in the log; to
    `tell_repeats_apart` gives later ones an id of their own instead (`<a@b>` becomes `<a.2@b>`). Malformed headers,
    unknown charsets and broken attachments are read as far as they can be; only a file that cannot be opened
    raises (OSError).
    """
    rows: dict[str, MonitorRow] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".eml" or not path.is_file():
            continue
        row = read_email(path.read_bytes(), datetime.fromtimestamp(path.stat().st_mtime, UTC))
        if tell_repeats_apart and row.message_id in rows:
            own_id = _distinct(row.message_id, rows)
            begins_thread = row.thread_id == row.message_id
            row = replace(row, message_id=own_id, thread_id=own_id if begins_thread else row.thread_id)
        if row.message_id in rows:
            logger.warning("left out %s: another email has the Message-ID %r", path.name, row.message_id)
        else:
            rows[row.message_id] = row
    return list(rows.values())


def _distinct(message_id: str, taken: Mapping[str, object]) -> str:
    """Return a Message-ID like this one that is not taken; one that has no `@`, or is empty, stays as it is."""
    local, at, domain = message_id.partition("@")
    numbered = (f"{local}.{number}@{domain}" for number in range(2, len(taken) + 3))
    return next(new for new in numbered if new not in taken) if at else message_id


def read_email(source: bytes, arrived_at: datetime) -> MonitorRow:
    """Read one email; returns its row, received at `arrived_at` when the Date header is missing or absurd."""
    message = _parse(source)
    message_id = _cut(_raw_header(message, "Message-ID").strip()) or ""
    references = _MESSAGE_ID.findall(_raw_header(message, "References"))
    bodies = _bodies(message)
    return MonitorRow(
        message_id=message_id,
        from_address=_cut((_senders(message) or ("",))[0]) or "",
        subject=_header(message, "Subject") if "Subject" in message else None,
        received_at=_received_at(_raw_header(message, "Date"), arrived_at),
        body_text=bodies.get("plain"),
        body_html=bodies.get("html"),
        thread_id=_cut(references[0] if references else message_id),
        in_reply_to=_cut(_raw_header(message, "In-Reply-To")),
    )


def _parse(source: bytes) -> EmailMessage:
    """Parse an email; where its MIME structure breaks the parser, take it as one that has none."""
    try:
        return email.message_from_bytes(source, policy=email.policy.default)
    except _HEADER_ERRORS:
        return email.message_from_bytes(_MIME_HEADER.sub(b"X-Broken-", source), policy=email.policy.default)


def _header(message: MIMEPart, name: str) -> str:
    """Return a header decoded (an encoded-word may bring newlines into it), or as it stands if it cannot be parsed."""
    try:
        return _storable(str(message[name]))
    except _HEADER_ERRORS:
        return _raw_header(message, name)


def _raw_header(message: MIMEPart, name: str) -> str:
    """Return the first header of that name as it travelled, folds and all; "" when there is none."""
    for key, value in message.raw_items():
        if key.lower() == name.lower():
            return _storable(str(value).strip())
    return ""


def _senders(message: MIMEPart) -> tuple[str, ...]:
    """Return the bare addresses of the header From: as the parser reads them, else whatever looks like one."""
    try:
        found = tuple(_storable(address.addr_spec) for address in message["From"].addresses if "@" in address.addr_spec)
    except _HEADER_ERRORS:
        found = ()
    return found or tuple(_ADDRESS.findall(_raw_header(message, "From")))


def _bodies(message: MIMEPart) -> dict[str, str]:
    """Return the first text that is not empty of each kind, `plain` and `html`, attachments left out."""
    bodies: dict[str, str] = {}
    for part in _leaves(message):
        # A multipart whose boundary is never found has no parts, only text.
        kind = "plain" if part.get_content_maintype() == "multipart" else part.get_content_type().removeprefix("text/")
        if kind in ("plain", "html") and kind not in bodies and not _is_attachment(part):
            text = _text(part)
            if text.strip():
                bodies[kind] = text
    return bodies


def _leaves(message: MIMEPart) -> Iterator[MIMEPart]:
    """Yield the parts that hold content, in order, but not those of messages attached to this one."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            waiting.extend(reversed(list(part.iter_parts())))
        else:
            yield part


def _is_attachment(part: MIMEPart) -> bool:
    try:
        return part.get_content_disposition() == "attachment"
    except _HEADER_ERRORS:
        return False


def _text(part: MIMEPart) -> str:
    """Return a part's text: decoded as its charset says, else as UTF-8, with U+FFFD for what cannot be decoded."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return _storable(payload.decode(part.get_content_charset() or "utf-8", "replace"))
    except _HEADER_ERRORS:  # an unknown charset, or one that is not a text encoding
        return _storable(payload.decode("utf-8", "replace"))


def _received_at(date: str, arrived_at: datetime) -> datetime:
    """Return the Date header's time in UTC, or `arrived_at` when it is missing, unreadable, or of another age."""
    try:
        sent_at = parsedate_to_datetime(date)
        sent_at = (sent_at if sent_at.tzinfo else sent_at.replace(tzinfo=UTC)).astimezone(UTC)
    except (*_HEADER_ERRORS, OverflowError):
        return arrived_at
    return sent_at if _EARLIEST <= sent_at <= arrived_at + timedelta(days=1) else arrived_at


def _storable(text: str) -> str:
    """Return the text without what PostgreSQL refuses; everything else stays as hostile as it came."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _cut(text: str) -> str | None:
    """Return the text as a VARCHAR(255) column takes it, None for an empty one."""
    return text[:_WIDTH] or None
