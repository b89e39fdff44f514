"""Text from outside, cleaned of what a database, a log line, a phone or an email cannot carry."""

from __future__ import annotations

import re

# Exactly the places where str.splitlines() breaks, so that headers, logs and texts agree on what a line is.
_LINE_BREAK = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]+")

# Characters that show nothing, or change the order in which others are shown: bidi controls, zero-width characters,
# fillers, tags. Nearly all have the property Default_Ignorable_Code_Point of the Unicode Character Database.
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{INVISIBLE}]+")
# Between and behind these, joiners and presentation selectors show something.
EMOJI = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001faff"
)
# Hebrew, Arabic, the Indic scripts, Tibetan to Mongolian: scripts whose spelling uses the joiner and the non-joiner.
JOINING = "\u0590-\u0dff\u0f00-\u109f\u1780-\u18af\ua800-\uabff"
# A presentation selector follows an emoji or a keycap's digit, and a joiner stands between two emoji or two letters of
# those scripts (RFC 5892, appendix A, has the same idea for host names). Anywhere else they only hide something.
_STRAY_SELECTOR = re.compile(f"(?<![{EMOJI}0-9#*])[\ufe0e\ufe0f]+")
_STRAY_JOINER = re.compile(
    f"(?<![{EMOJI}{JOINING}\ufe0f])[\u200c\u200d]+|[\u200c\u200d]+(?![{EMOJI}{JOINING}\u200c\u200d])"
)


def members(ranges: str) -> set[int]:
    """List the code points of what stands between the brackets of a pattern, such as `\u200b\u202a-\u202e`."""
    pairs = re.findall("(.)(?:-(.))?", ranges)
    return {code for first, last in pairs for code in range(ord(first), ord(last or first) + 1)}


def clean_text(text: str | None) -> str:
    """Clean a text for PostgreSQL, logs and messages.

    Returns it with every line break (CRLF, CR, form feed, U+2028 …) as `\\n`, without other control characters except
    the tab, and with U+FFFD in place of lone surrogates; an empty string for None. Takes time linear in the length.
    """
    if not text:
        return ""
    return _SURROGATE.sub("\ufffd", _CONTROLS.sub("", _LINE_BREAK.sub("\n", text)))


def clean_line(text: str | None) -> str:
    """Clean a text as `clean_text` does and put it on one line; returns it trimmed, each run of blanks one space."""
    return " ".join(clean_text(text).split())


def strip_invisible(text: str) -> str:
    """Take out what shows nothing or reorders what is shown: bidi controls, zero-width characters, tags, fillers.

    Returns the text with the joiners and selectors that emoji and the spelling of some scripts need still in place.
    """
    text = _INVISIBLE.sub("", text)
    return _STRAY_JOINER.sub("", _STRAY_SELECTOR.sub("", text))


def clean_draft(text: str | None) -> str:
    """Clean an AI's draft, so that the owner is shown every character that would be sent.

    Returns it with `\\n` line ends, tabs as spaces, no control, invisible, bidi or private-use characters, and no blank
    lines or spaces around it.
    """
    return strip_invisible(_PRIVATE_USE.sub("", clean_text(text))).expandtabs(4).strip()
