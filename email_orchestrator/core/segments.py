"""How many text messages a text costs, and where it may be cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .gsm7 import EXTENSION, is_gsm7

MOST_SEGMENTS = 8  # phones refuse a text of nine

# A segment holds 140 octets; in a text of several, six of them are the concatenation header.
_SEPTETS = (160, 153)
_UTF16_UNITS = (70, 67)
_LONGEST_CLUSTER = 32  # code points; what people write is far shorter, so a longer one is cut like ordinary text

_ESCAPE, _HIGH_SURROGATE = "\x1b", "\ud800"
_TWO_SEPTETS = re.compile(f"[{re.escape(EXTENSION)}]")
_TWO_UNITS = re.compile("[\U00010000-\U0010ffff]")
_NEVER_JOINED = re.compile("[\n -\u02ff\u2010-\u20cf\u2100-\u2bff]*")  # Latin and signs: every character stands alone


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text costs: its encoding, its length in that encoding's units, and the messages it is sent as."""

    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    segments: int


def measure(text: str) -> Segments:
    """Count the segments that a text is sent as.

    Returns units in septets (`GSM-7`) or UTF-16 code units (`UCS-2`). One segment holds 160 septets or 70 units, each
    of several 153 or 67; a character of two units is never split over two segments, so there can be more of them
    than the division says. The empty text has no segment.

    Sources: 3GPP TS 23.038 §4 and §6.2.1 (alphabets, 140 octets), 3GPP TS 23.040 §9.2.3.24.1 (six octets of header).
    """
    if is_gsm7(text):
        wire = _TWO_SEPTETS.sub(rf"{_ESCAPE}\g<0>", text)
        return Segments("GSM-7", len(wire), _count(wire, _ESCAPE, *_SEPTETS))
    wire = _TWO_UNITS.sub(rf"{_HIGH_SURROGATE}\g<0>", text)
    return Segments("UCS-2", len(wire), _count(wire, _HIGH_SURROGATE, *_UTF16_UNITS))


def _count(wire: str, first_half: str, alone: int, joined: int) -> int:
    """Count the segments of a text in which each character of two units has the mark of its first half before it."""
    if len(wire) <= alone:
        return min(len(wire), 1)
    segments = at = 0
    while at < len(wire):
        at += joined
        if at < len(wire) and wire[at - 1] == first_half:
            at -= 1
        segments += 1
    return segments


def fits(text: str, most: int = MOST_SEGMENTS) -> bool:
    """Say whether a text is sent as at most so many segments, by the standard and by the phone's own way of cutting.

    Android ends a UCS-2 segment before a cluster such as a family emoji that it would split, which can cost one more
    segment than the standard asks for (`SmsMessageBase.findNextUnicodePosition`).
    """
    cost = measure(text)
    if cost.segments > most or cost.segments <= 1 or cost.encoding == "GSM-7" or _NEVER_JOINED.fullmatch(text):
        return cost.segments <= most
    segments, room = 1, _UTF16_UNITS[1]
    for cluster in _clusters(text):
        width = utf16_units(cluster)
        if width > room:
            segments, room = segments + 1, _UTF16_UNITS[1]
        room -= width
    return segments <= most


def utf16_units(text: str) -> int:
    """Return the length of a text in UTF-16 code units."""
    return len(text) + len(_TWO_UNITS.findall(text))


def _clusters(text: str) -> Iterator[str]:
    """Yield the pieces of a text that a reader sees as one character each."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or end - start >= _LONGEST_CLUSTER or not _joined(text, end):
            yield text[start:end]
            start = end


def may_cut_at(text: str, index: int) -> int:
    """Return the last place at or before `index` where a cut splits nothing that a reader sees as one character."""
    for place in range(index, max(index - _LONGEST_CLUSTER, -1), -1):
        if not _joined(text, place):
            return place
    return index


def _joined(text: str, index: int) -> bool:
    """Say whether the characters around `index` belong together (the rules of UAX #29 that matter in messages)."""
    if not 0 < index < len(text):
        return False
    before, after = text[index - 1], text[index]
    if after < "\u0300":
        return before == "\r" and after == "\n"
    if before == "\u200d" or after in "\u200c\u200d" or unicodedata.category(after)[0] == "M":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\u1160" <= after <= "\u11ff":  # skin tones; Korean vowels and finals
        return True
    if _is_flag_letter(before) and _is_flag_letter(after):
        first = index - 1
        while first > 0 and _is_flag_letter(text[first - 1]):
            first -= 1
        return (index - first) % 2 == 1
    return False


def _is_flag_letter(char: str) -> bool:
    """Say whether two of these make a flag."""
    return "\U0001f1e6" <= char <= "\U0001f1ff"
