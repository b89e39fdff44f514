"""Phone numbers: one number in its many spellings, compared as E.164 and never otherwise.

`phonenumbers` is imported when it is first needed: it costs 17 ms and some memory, and most commands never need it.
"""

from __future__ import annotations

import re

# E.164 (ITU-T): a plus sign, a country code, at most fifteen digits in all.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
# No letters: a parser would take them for the keys of a phone (1-800-FLOWERS) or for an extension.
_DIALLED = re.compile(r"\+?[0-9 ().\-/\u00a0]{3,40}")
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def is_e164(number: str) -> bool:
    """Say whether a number is written in E.164 (`+61491570156`), which does not mean that it exists."""
    return _E164.fullmatch(number) is not None


def to_e164(number: str, owner: str) -> str | None:
    """Return a number as the network delivered it (national or international) in E.164, or None when it is not one.

    A national number is read as one of the country of `owner`, which is in E.164. A number need only be possible, not
    in use: fictional and sandbox numbers (`+15551234567`) must work. Short codes and names are None.
    """
    import phonenumbers

    plain = _DIRECTION_MARKS.sub("", number).strip()
    if not _DIALLED.fullmatch(plain):
        return None
    try:
        home = phonenumbers.parse(owner, None)
        region = phonenumbers.region_code_for_number(home) or phonenumbers.region_code_for_country_code(
            home.country_code or 0
        )
        parsed = phonenumbers.parse(plain, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(parsed):
        return None
    written = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return written if is_e164(written) else None


def is_owner(number: str, owner: str) -> bool:
    """Say whether a number is the owner's: the same number in E.164, digit for digit.

    The library's own looser comparison would take a number without its area code for the owner's. A number that the
    library holds to be impossible is the owner's when it is written as the owner's is, and so is one that came without
    the plus sign, which the library may take for a national number.
    """
    if is_e164(owner) and number in (owner, owner.removeprefix("+")):
        return True
    written = to_e164(number, owner)
    return written is not None and written == to_e164(owner, owner)


def mask(number: str) -> str:
    """Return a number fit for a log: its last two digits, and nothing of what is not a number."""
    digits = re.sub(r"[^0-9]", "", number)
    return "***" + (digits[-2:] if len(digits) > 4 else "")
