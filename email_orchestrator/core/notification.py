"""The texts that offer a draft, cut into parts that a phone sends and an owner can read."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from .gsm7 import reads_in_gsm7, to_gsm7
from .models import Composed, TextStyle
from .quoting import (
    Readable,
    closes_quote,
    cut_short,
    defuse,
    display_address,
    isolate,
    make_readable,
    quote_line,
    quote_name,
    units_to_index,
)
from .segments import fits, may_cut_at

COMMANDS = "1=Send 2=Edit 3=Ignore"
_CLOSING = f'"\n{COMMANDS}'
_OUR_SIGN = re.compile("^(?:✅|✏️|⌛|⏰) ")  # their names would be longer than what they say
_CONDENSED_SEGMENTS = 3
_PREVIEW_UNITS = 300
_LONGEST_PART = 1600  # characters the SMS Gateway takes; eight segments hold fewer, so only the segments are counted
_LONGEST_WORD = 60  # a cut goes back to the start of a word, unless that would leave so much of a part empty


@dataclass(frozen=True, slots=True)
class Offer:
    """A draft to be offered, and the email it answers.

    `sender` is the bare address, `sender_name` empty when no display name is known, `preview` the email as readable
    text, `note` a line of ours for the head (`Replaces #7`).
    """

    workflow_id: int
    sender: str
    sender_name: str
    subject: str
    preview: str
    draft: str
    note: str = ""


def compose_offer(offer: Offer, style: TextStyle) -> Composed:
    """Compose the text that shows the owner an email and the draft that would answer it.

    Returns its parts in order, each of at most eight segments, and how many characters of the draft they do not show: 0
    unless the draft is too long for `style.max_parts`. Only a text that shows the whole draft invites `1`.
    """
    style = _style_for(offer.draft, style)
    draft = make_readable(offer.draft)
    if style.format != "multipart":
        for head in _condensed_heads(offer, style):
            whole = _in_charset(f'{head}\nDraft: "{defuse(draft.text.strip())}{_CLOSING}', style)
            if fits(whole, _CONDENSED_SEGMENTS):
                return Composed((whole,))
    if style.format == "condensed":
        return _lay_out(offer.workflow_id, [], f'{_condensed_heads(offer, style)[-1]}\nDraft: "', draft, 0, style)
    lead = [_head(offer, style), *_preview(offer, style)][: max(style.max_parts, 1) - 1]
    opening = 'Draft: "' if lead else f'{_head(offer, style, brief=True)}\nDraft: "'
    return _lay_out(offer.workflow_id, lead, opening, draft, 0, style)


def compose_more(workflow_id: int, draft: str, hidden: int, style: TextStyle) -> Composed:
    """Compose the text that shows the last `hidden` characters of a draft.

    Returns its parts and how many characters are still not shown; with none left, it ends with the command line.
    """
    style = _style_for(draft, style)
    shown = make_readable(draft)
    start = bisect_right(shown.stored, max(len(draft) - hidden, 0))
    return _lay_out(workflow_id, [], f'#{workflow_id} Draft (continued): "', shown, start, style)


def compose_text(text: str, style: TextStyle) -> tuple[str, ...]:
    """Cut any other text of ours into parts of at most eight segments, marked `[1/2]` when there are several.

    Returns no part for a text in which there is nothing to read.
    """
    words = make_readable(text).text.strip()
    if style.charset == "gsm7":
        words = to_gsm7(_OUR_SIGN.sub("", words))
    if fits(words):
        return (words,) if words else ()
    for digits in (1, 2, 3):
        parts = _cut(words, digits)
        if len(parts) < 10**digits:
            break
    return _marked(parts)


def _cut(words: str, digits: int) -> list[str]:
    """Cut a text into pieces that fit a part whose mark has numbers of so many digits."""

    def piece(start: int, end: int) -> str:
        return words[start:end].strip()

    pieces = []
    at = 0
    while at < len(words):
        end = _furthest(words, at, len(words), piece, partial(_fits_part, digits=digits))
        pieces.append(piece(at, end))
        at = end
    return pieces


def _style_for(draft: str, style: TextStyle) -> TextStyle:
    """Return the style, in Unicode where GSM-7 would show the owner a draft that nobody can read."""
    return style if style.charset != "gsm7" or reads_in_gsm7(draft) else replace(style, charset="unicode")


def _number(workflow_id: int, style: TextStyle) -> str:
    """Return the sign a head begins with."""
    return f"#{workflow_id}" if style.charset == "gsm7" else f"📧 #{workflow_id}"


def _in_charset(text: str, style: TextStyle) -> str:
    """Return the text in the characters that may go out."""
    return to_gsm7(text) if style.charset == "gsm7" else text


def _condensed_heads(offer: Offer, style: TextStyle) -> list[str]:
    """Return the head of a condensed text, the one we would rather send first; every one shows the real address."""
    address = display_address(offer.sender)
    name = quote_name(_in_charset(offer.sender_name, style))
    email = quote_line(_in_charset(offer.subject, style), 60) or quote_line(_in_charset(offer.preview, style), 60)
    quoted = f'"{isolate(email)}"' if email else "(no subject)"
    senders = [f"{isolate(name)} <{address}>", address] if name else [address]
    note = f"\n{_note(offer)}" if offer.note else ""
    return [f"{_number(offer.workflow_id, style)} {sender}: {quoted}{note}" for sender in senders]


def _note(offer: Offer) -> str:
    """Return the note on one line of bounded length."""
    return cut_short(" ".join(offer.note.split()), 60)


def _head(offer: Offer, style: TextStyle, brief: bool = False) -> str:
    """Return the first part of several: who wrote, about what."""
    address = display_address(offer.sender)
    name = "" if brief else quote_name(_in_charset(offer.sender_name, style))
    subject = quote_line(_in_charset(offer.subject, style), 20 if brief else 120)
    lines = [
        f"{_number(offer.workflow_id, style)} Email from: " + (f"{isolate(name)} <{address}>" if name else address),
        f"Subject: {isolate(subject) or '(none)'}",
    ]
    if not make_readable(offer.preview).text.strip():
        lines.append("Email: (no text)")
    if offer.note:
        lines.append(_note(offer))
    head = _in_charset("\n".join(lines), style)
    return head if brief or _fits_part(head) else _head(offer, style, brief=True)


def _preview(offer: Offer, style: TextStyle) -> list[str]:
    """Return the part that quotes the email, or none when there is nothing to quote."""
    text = make_readable(offer.preview).text.strip()
    if not text:
        return []

    def quote(start: int, end: int) -> str:
        return _in_charset(f'Email: "{defuse(text[start:end].strip())}', style) + ('"' if end == len(text) else '..."')

    most = units_to_index(text, _PREVIEW_UNITS)
    return [quote(0, _furthest(text, 0, most, quote, _fits_part))]


def _lay_out(
    workflow_id: int, lead: Sequence[str], opening: str, draft: Readable, start: int, style: TextStyle
) -> Composed:
    """Set a draft, from a shown character on, into as many parts as it needs and may have, after those of the lead."""
    text, whole = draft.text, len(draft.text)

    def quote(begin: int, end: int, closing: str = "") -> str:
        closed = any(map(closes_quote, text[:begin].split("\n")[:-1]))
        words = defuse(text[begin:end].strip(), closed)
        return _in_charset((opening if begin == start else "") + words + closing, style)

    if not lead and fits(alone := quote(start, whole, _CLOSING)):
        return Composed((alone,))
    fit = partial(_fits_part, digits=len(str(style.max_parts)))
    bodies = list(lead)
    at = start
    while not fit(quote(at, whole, _CLOSING)):
        if len(bodies) + 1 >= style.max_parts:
            longest_ending = _more_to_come(draft.missing(at), workflow_id)
            end = _furthest(text, at, whole - 1, quote, partial(fit, ending=longest_ending))
            hidden = draft.missing(end)
            return Composed(_marked([*bodies, quote(at, end, _more_to_come(hidden, workflow_id))]), hidden)
        end = _furthest(text, at, whole - 1, quote, fit)
        bodies.append(quote(at, end))
        at = end
    return Composed(_marked([*bodies, quote(at, whole, _CLOSING)]))


def _more_to_come(hidden: int, workflow_id: int) -> str:
    """Return the end of a text that does not show the whole draft: it must not invite `1`."""
    characters = "character" if hidden == 1 else "characters"
    return f'\n{hidden} more {characters}: text "more #{workflow_id}"\n2=Edit 3=Ignore'


def _fits_part(body: str, ending: str = "", digits: int = 3) -> bool:
    """Say whether a body, its ending and a mark with numbers of so many digits make a part that phones send."""
    nines = "9" * digits
    return fits(f"[{nines}/{nines}] {body}{ending}")


def _furthest(text: str, start: int, most: int, quote: Callable[[int, int], str], fit: Callable[[str], bool]) -> int:
    """Find where a part that begins at `start` ends, so that it fits as it is quoted: at most at `most`.

    Returns the place after the last word that is whole, or within a word longer than most, between two characters.
    """
    high = min(most, start + _LONGEST_PART)
    low = high if fit(quote(start, high)) else start
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fit(quote(start, middle)) else (low, middle - 1)
    if low == len(text):
        return low
    blank = max(text.rfind(" ", start + 1, low + 1), text.rfind("\n", start + 1, low + 1))
    if blank > max(start, low - _LONGEST_WORD):
        low = blank + 1
    whole = may_cut_at(text, low)
    return whole if whole > start else low


def _marked(bodies: Sequence[str]) -> tuple[str, ...]:
    """Return the parts, each with its number and theirs when there are several."""
    if len(bodies) == 1:
        return tuple(bodies)
    return tuple(f"[{number}/{len(bodies)}] {body}" for number, body in enumerate(bodies, 1))
