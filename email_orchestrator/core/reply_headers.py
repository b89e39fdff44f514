"""The words in a reply's headers: subject, threading ids, Message-ID, and how they are written on the wire."""

from __future__ import annotations

import binascii
import re
import textwrap
import unicodedata
from datetime import datetime
from email.headerregistry import Address
from email.utils import format_datetime

from .mail_address import ascii_address

_LONGEST_SUBJECT = 250
_LONGEST_RAW_SUBJECT = 10_000  # more is cut before it is decoded, so that a subject of megabytes costs nothing
_MOST_REFERENCES = 21  # the first id and the last twenty; the RFC sets no limit, and mail readers need no more
_LONGEST_ID = 900  # a header line has at most 998 octets, and an id cannot be folded

_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9_.:-]+)(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([!->@-~]*)\?=")
_BETWEEN_ENCODED_WORDS = re.compile(r"(?<=\?=)\s+(?==\?)")
# Python also "decodes" text tricks of its own (unicode_escape, idna); only real mail charsets are read.
_MAIL_CHARSETS = ("utf", "us-ascii", "iso-", "windows-", "cp", "koi8", "gb", "big5", "euc-", "shift_jis", "ks_c", "mac")

# Reply prefixes that mail programs write, by language: English and most others, German, Dutch, Scandinavian, Finnish
# and Estonian, French, Italian, Portuguese, Spanish, Polish, Czech and Slovak, Hungarian, Turkish, Welsh and Latvian,
# Romanian, Indonesian, Vietnamese, Greek, Russian, Ukrainian, Arabic, Hebrew, Thai, Chinese, Japanese, Korean, Persian,
# Serbo-Croatian and Slovenian.
_REPLY_WORDS = (
    "re|aw|antw|antwort|sv|vs|ref|réf|rép|réponse|r|rif|res|rv|odp|vá|ynt|atb|răsp|bls|tl|trả lời|απ|σχετ|отв|ответ|"
    "відп|رد|השב|תגובה|ตอบ|ตอบกลับ|回复|回覆|回復|答复|答覆|返信|답장|회신|odg|odgovor|svar|vast|válasz|απάντηση|"
    "відповідь|yanıt|hồi đáp|תשובה|پاسخ"
)
_REPLY_PREFIX = re.compile(rf"(?:{_REPLY_WORDS})\.?(?:\s?(?:\[\d+\]|\(\d+\)|\^\d+))?\s*:", re.IGNORECASE)

_MESSAGE_ID = re.compile(r"<[!-;=?-~]+@[!-;=?-~]+>")
_DOT_ATOM = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")

HeaderValue = Address | datetime | str  # what a header is made from


def clean_header_text(text: str) -> str:
    """Turn a text from outside into one harmless line of a header; cleaning it again changes nothing.

    Encoded-words (RFC 2047) are decoded until none is left, because Python and mail readers would decode them again and
    so bring hidden line ends to life; line ends, controls, direction marks and lone surrogates become blanks.
    Returns at most 250 characters.
    """
    text = text[:_LONGEST_RAW_SUBJECT]
    for _ in range(5):
        decoded = _ENCODED_WORD.sub(_decode_word, _BETWEEN_ENCODED_WORDS.sub("", text))
        if decoded == text:
            break
        text = decoded
    text = "".join(" " if _is_unsafe(character) else character for character in text)
    text = text.replace("=?", "= ?")
    return re.sub(" {2,}", " ", text).strip(" ")[:_LONGEST_SUBJECT].rstrip(" ")


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, payload = match.groups()
    if not charset.lower().startswith(_MAIL_CHARSETS):
        return match[0]
    try:
        data = binascii.a2b_base64(payload + "==") if encoding in "Bb" else binascii.a2b_qp(payload, header=True)
        return data.decode(charset, "replace")
    except (LookupError, ValueError):
        return match[0]


def _is_unsafe(character: str) -> bool:
    # The two joiners hold emoji families and Persian words together; without them the subject would no longer match.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in "\u200c\u200d"


def reply_subject(subject: str | None) -> str:
    """Write a reply's subject: `Re: ` in front, unless it begins with a reply prefix in any language (RFC 5322 §3.6.5).

    A subject with such a prefix stays as it is, so that mail programs that thread by subject still match it. Returns
    one clean line of at most 250 characters; an empty or missing subject becomes `Re: (no subject)`.
    """
    cleaned = clean_header_text(subject or "")
    if _REPLY_PREFIX.match(unicodedata.normalize("NFKC", cleaned)):
        return cleaned
    return f"Re: {cleaned or '(no subject)'}"[:_LONGEST_SUBJECT].rstrip(" ")


def message_ids(text: str | None) -> tuple[str, ...]:
    """Find the Message-IDs of the shape `<x@y>` in a raw header value, in order; whatever else it holds is left out.

    Ids that a line cannot hold, or that could be read as encoded-words, are left out too: a reply without them is
    threaded a little worse, a reply with them could be altered on its way.
    """
    found = _MESSAGE_ID.findall(text or "")
    return tuple(message_id for message_id in found if len(message_id) <= _LONGEST_ID and "=?" not in message_id)


def reply_references(thread_id: str | None, in_reply_to: str | None, message_id: str) -> tuple[str, ...]:
    """List the ids of a reply's `References`, oldest first and the answered email last, each once (RFC 5322 §3.6.4).

    `thread_id` is the thread's first id, `in_reply_to` the answered email's raw header. A long chain keeps its first id
    and its last twenty. Returns an empty tuple when no usable id is known.
    """
    answered = message_ids(message_id)
    # An email without References is stored with its own id as the thread's; the answered email still goes last.
    ancestors = [found for found in (*message_ids(thread_id), *message_ids(in_reply_to)) if found not in answered]
    chain = tuple(dict.fromkeys((*ancestors, *answered)))
    return chain if len(chain) <= _MOST_REFERENCES else chain[:1] + chain[1 - _MOST_REFERENCES :]


def new_message_id(unique: str, address: str) -> str:
    """Return the Message-ID `<eo.{unique}@{domain of the address}>`, a dot-atom on both sides, as Gmail requires.

    Raises ValueError when `unique` holds anything but letters, digits, hyphens and inner dots (replacing it could make
    two ids the same), or when the address has no domain name.
    """
    domain = ascii_address(address).rpartition("@")[2]
    if not (_DOT_ATOM.fullmatch(unique) and _DOT_ATOM.fullmatch(domain)):
        raise ValueError("a Message-ID is made of letters, digits, hyphens and single dots only")
    return f"<eo.{unique}@{domain}>"


def header_lines(name: str, value: HeaderValue) -> bytes:
    """Write a header as its finished lines, with CRLF ends and all in ASCII.

    The standard library's folding would do harm: it hides long ids in encoded-words, which breaks threading in Outlook,
    and it loses or adds blanks between the encoded-words of longer subjects and names, differently in each version of
    Python. Text has to be clean, as `clean_header_text` makes it.
    """
    if isinstance(value, Address):
        lines = _mailbox_lines(value)
    elif isinstance(value, datetime):
        lines = [format_datetime(value)]
    elif name == "Subject":
        lines = _text_lines(value)
    else:
        lines = value.split()
    return (f"{name}: " + "\r\n ".join(lines) + "\r\n").encode("ascii")


def _text_lines(text: str) -> list[str]:
    """Split a header's text into lines: ASCII at its blanks, all else into encoded-words (RFC 2047 §2 and §5).

    An encoded-word has at most 75 characters, so at most 45 octets of UTF-8, and never splits a character.
    """
    if text.isascii():
        return textwrap.wrap(text, 66, break_long_words=False, break_on_hyphens=False)
    lines, chunk = [], b""
    for character in text:
        octets = character.encode()
        if len(chunk) + len(octets) > 45:
            lines.append(_encoded_word(chunk))
            chunk = b""
        chunk += octets
    return [*lines, _encoded_word(chunk)]


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?b?{binascii.b2a_base64(octets, newline=False).decode()}?="


def _mailbox_lines(address: Address) -> list[str]:
    name = address.display_name
    if not name:
        return [address.addr_spec]
    if name.isascii():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return [f'"{quoted}"', f"<{address.addr_spec}>"]
    return [*_text_lines(name), f"<{address.addr_spec}>"]
