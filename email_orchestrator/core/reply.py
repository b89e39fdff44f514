"""Email plus approved text become the bytes of a reply, checked by reading them back."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.contentmanager import raw_data_manager
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parsedate_to_datetime

from ..errors import OrchestratorError
from .mail_address import ascii_address
from .reply_headers import HeaderValue, clean_header_text, header_lines, message_ids

_MOST_QUOTED_LINES = 200
_MOST_QUOTED_CHARACTERS = 20_000
_LONGEST_LINE = 998  # RFC 5322 §2.1.1, without the CRLF
# The older policy leaves headers as they stand; the newer one takes them apart, at several times the cost.
_PLAIN = policy.compat32.clone(linesep="\r\n", cte_type="7bit")


class UnsafeReply(OrchestratorError):
    """The reply cannot be written so that exactly what was approved goes to exactly one address; nothing is sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """All that goes into a reply; the same values always give the same bytes.

    `to` is the one bare address it goes to, `in_reply_to` the Message-ID of the answered email as it is stored (ids of
    an unusual shape are left out, as they are from `references`), `date` carries its time zone.
    """

    from_name: str
    from_address: str
    to: str
    subject: str
    body: str
    message_id: str
    date: datetime
    in_reply_to: str
    references: tuple[str, ...]


def reply_body(draft: str, signature: str, quote: str) -> str:
    """Return the draft with the signature and the quote below it, a blank line between; empty ones are left out."""
    return "\n\n".join([draft, *(part for part in (signature, quote) if part)])


def quote_original(sender: str, received_at: datetime, text: str) -> str:
    """Return the original as mail programs quote it: a line that names sender and time, then lines that begin with `>`.

    Controls and lone surrogates are removed; after 200 lines or 20,000 characters the rest is left out and marked.
    """
    cleaned = "".join(
        character
        for character in text[:_MOST_QUOTED_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
        if character in "\n\t" or unicodedata.category(character) not in {"Cc", "Cs"}
    ).strip("\n")
    lines = cleaned.split("\n")
    shown = [f">{line}" if line.startswith(">") or not line else f"> {line}" for line in lines[:_MOST_QUOTED_LINES]]
    if len(lines) > _MOST_QUOTED_LINES or len(text) > _MOST_QUOTED_CHARACTERS:
        shown.append("> […]")
    return "\n".join([f"On {format_datetime(received_at)}, {clean_header_text(sender)} wrote:", *shown])


def fingerprint(recipient: str, subject: str, body: str) -> str:
    """Return the SHA-256 of what was approved, 64 hex digits; no other three texts share it.

    The texts are joined as a JSON list of ASCII, so that moving a character from one to the next changes the result and
    no text, not even a lone surrogate, is refused.
    """
    return hashlib.sha256(json.dumps([recipient, subject, body]).encode("ascii")).hexdigest()


def build_reply(reply: Reply) -> bytes:
    """Write the reply as an RFC 5322 message of seven-bit lines with CRLF ends, and read it back before it is returned.

    The subject is cleaned of whatever could become more than a subject; the body is sent exactly as given, with its
    line ends as CRLF and one at its end. Raises UnsafeReply when the recipient is not exactly one address that can be
    written in ASCII, or when the message read back differs from what was meant in any header or in the body.
    """
    sender = _address("The sender's address", reply.from_address)
    recipient = _address("The recipient's address", reply.to)
    headers: dict[str, HeaderValue] = {
        "From": Address(clean_header_text(reply.from_name), addr_spec=sender),
        "To": Address(addr_spec=recipient),
        "Subject": clean_header_text(reply.subject),
        "Date": reply.date.replace(microsecond=0),
        "Message-ID": reply.message_id,
        "In-Reply-To": " ".join(message_ids(reply.in_reply_to)),
        "References": " ".join(message_ids(" ".join(reply.references))),
    }
    headers = {name: value for name, value in headers.items() if value or name == "Subject"}
    if message_ids(reply.message_id) != (reply.message_id,):
        raise UnsafeReply("The reply has no proper Message-ID; nothing was sent.")
    if "\0" in reply.body or any(unicodedata.category(character) == "Cs" for character in reply.body):
        raise UnsafeReply("The reply's text holds characters that no email can carry; edit it. Nothing was sent.")

    content = EmailMessage(policy=_PLAIN)
    content.set_content(reply.body, charset="utf-8", content_manager=raw_data_manager)
    written = b"".join(header_lines(name, value) for name, value in headers.items()) + content.as_bytes()

    difference = _difference(written, headers, reply.body)
    if difference:
        raise UnsafeReply(f"The reply read back differs from what was approved ({difference}); nothing was sent.")
    return written


def _address(whose: str, address: str) -> str:
    try:
        return ascii_address(address)
    except ValueError as error:
        raise UnsafeReply(f"{whose} cannot be used: {error}. Nothing was sent.") from None


def _difference(written: bytes, headers: Mapping[str, HeaderValue], body: str) -> str:
    """Read the message as a mail program would and name the first thing that is not as meant, or return ''."""
    lines = written.split(b"\r\n")
    if not written.isascii() or any(len(line) > _LONGEST_LINE or b"\n" in line or b"\r" in line for line in lines):
        return "line format"
    parsed = message_from_bytes(written, policy=_PLAIN)
    expected_names = [*headers, "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    if sorted(parsed.keys()) != sorted(expected_names) or parsed.defects:
        return "header names"
    for name, meant in headers.items():
        if not _says(parsed[name], meant):
            return f"header {name}"
    if parsed.get_content_type() != "text/plain" or parsed.get_content_charset() != "utf-8":
        return "content type"
    content = parsed.get_payload(decode=True)
    return "" if isinstance(content, bytes) and _lines(content.decode("utf-8", "replace")) == _lines(body) else "body"


def _says(value: str, meant: HeaderValue) -> bool:
    """Tell whether a header, unfolded and decoded (RFC 5322 §2.2.3, RFC 2047), says what it was made from."""
    line = value.replace("\r\n", "")
    # A bare address stands there as it is; newer versions of Python do not read every kind of it (`a@[192.0.2.1]`).
    if isinstance(meant, Address) and meant.display_name:
        found = [(_decoded(name), address) for name, address in getaddresses([line])]
        return found == [(meant.display_name, meant.addr_spec)]
    if isinstance(meant, datetime):
        return parsedate_to_datetime(line) == meant
    return _decoded(line) == str(meant)


def _decoded(text: str) -> str:
    return str(make_header(decode_header(text)))


def _lines(text: str) -> list[str]:
    """Split a body at its line ends of any kind; one line end at the very end counts as none."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
