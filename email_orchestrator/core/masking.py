"""What may not be seen in a log is taken out of it: secrets, and of numbers and addresses all that tells too much."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A secret this short is taken out only where it stands as a word: `root` as a password must not blank `rooted`.
SHORT = 5
# By so many digits at its end the owner's number is recognised, with or without country and area code.
TAIL = 7
# An international number, in one piece or in groups; the longest has fifteen digits (E.164). In an address of the web
# its plus sign is `%2B`, as the `@` of a mail address is `%40`.
_PHONE = re.compile(r"(\+|%2B)[1-9](?:[ ().-]{0,2}\d){3,14}(?!\d)", re.IGNORECASE)
_ADDRESS = re.compile(
    r"""(?:(?<![^\s@<>()\[\],;:"'])([^\s@<>()\[\],;:"'])[^\s@<>()\[\],;:"]{0,999}|"[^"\n]{1,64}")(@|%40)([\w-]+\.[\w.-]+|\[[\w.:]+\])"""
)
# What a terminal obeys, what ends a line, what turns the direction of the text around, and what is no character.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]",
)


class Mask:
    """Takes the given secrets out of texts, and all of numbers and addresses but what helps to recognise one's own.

    `phone_number` is the owner's, in E.164: it is masked also as people and networks of its country write it.
    """

    def __init__(self, secrets: Iterable[str] = (), phone_number: str = "") -> None:
        self._secrets = _any_of(secrets)
        self._own = _in_any_form(phone_number)

    def __call__(self, text: str) -> str:
        """Return the text with everything masked."""
        if self._secrets is not None:
            text = self._secrets.sub("***", text)
        text = _PHONE.sub(lambda match: f"{match[1]}…{match[0][-2:]}", text)
        if self._own is not None:
            text = self._own.sub(lambda match: f"…{match[0][-2:]}", text)
        return _ADDRESS.sub(lambda match: f"{match[1] or ''}***{match[2]}{match[3]}", text)


def escape_controls(text: str) -> str:
    """Write control characters, all but tab and line feed, as Python writes them."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _any_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds any of the secrets, the longest first, or None when there are none."""
    ordered = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
    words = [rf"(?<!\w){re.escape(word)}(?!\w)" if len(word) <= SHORT else re.escape(word) for word in ordered]
    return re.compile("|".join(words)) if words else None


def _in_any_form(phone_number: str) -> re.Pattern[str] | None:
    """Return a pattern that finds a number (E.164) however it is grouped, and whatever stands for its beginning."""
    digits = phone_number.removeprefix("+")
    if len(digits) < TAIL:
        return None
    gap = r"[ \u00a0().\-/]{0,2}"
    return re.compile(rf"(?:\d{gap}){{0,8}}{gap.join(digits[-TAIL:])}(?!\d)")
