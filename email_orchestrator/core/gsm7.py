"""The alphabet that every phone and carrier shares, and how to say the rest of Unicode in it."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# 3GPP TS 23.038 §6.2.1, in the order of the table; position 0x1B, the escape, is no character of its own.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# 3GPP TS 23.038 §6.2.1.1: each of these is sent as the escape and one more septet.
EXTENSION = "\f^{}\\[~]|€"

_PURE = re.compile(f"[{re.escape(BASIC + EXTENSION)}]*")
_FOREIGN = re.compile(f"[^{re.escape(BASIC + EXTENSION)}]")


def _pairs(table: str) -> dict[str, str]:
    """Read a table written as blank-separated pairs, the character first and what stands for it after it."""
    return {pair[0]: pair[1:] for pair in table.split()}


_SIGNS = _pairs(
    """ “" ”" „" ‟" «" »" ″" ‶" 〝" 〞" 「" 」" 『" 』" ‘' ’' ‚' ‛' ′' ‵' `' ´' ʹ' ʼ' ‹< ›>
        ‐- ‑- ‒- –- —- ―- −- ⁃- ー- •* ‣* ◦* ▪* ●* ·. ‧. ・. 。. 、, ¦| ‖|| ⁄/ ∕/ ×x ÷/ ±+/- ≤<= ≥>= ≠!= ≈~
        ←<- →-> ↔<-> ⇒=> °deg ©(c) ®(r) ¢c ₹Rs ₽RUB ₿BTC ⚠(!) ❤<3 ♥<3 ☺:) 🙂:) 😊:) 😀:D 😃:D 😄:D 😉;) 🙁:( ☹:(
        đd ĐD ðd ÐD þth ÞTh łl ŁL ħh ĦH ıi ĸk ŋng ŊNg œoe ŒOE ŧt ŦT ƒf ẞSS əe ƏE """
)
_GREEK = _pairs("αa βv γg δd εe ζz ηi θth ιi κk λl μm νn ξx οo πp ρr σs ςs τt υy φf χch ψps ωo")
_CYRILLIC = _pairs(
    "аa бb вv гg дd еe ёyo жzh зz иi йy кk лl мm нn оo пp рr сs тt уu фf хkh цts чch шsh щshch ъ ыy ь эe юyu яya "
    "іi їyi єye ґg ўw јj љlj њnj ћc ђdj џdz ѓg ќk ѕdz"
)
_HEBREW = _pairs("א' בb גg דd הh וv זz חh טt יy ךk כk לl םm מm ןn נn סs ע' ףp פp ץts צts קk רr שsh תt")
_ARABIC = _pairs(
    "ء' آa أa إi ؤu ئi اa بb ةh تt ثth جj حh خkh دd ذdh رr زz سs شsh صs ضd طt ظz ع' غgh فf قq كk لl مm نn هh وw ىa يy "
    "پp چch ژzh گg کk یy ـ ،, ؛; ؟? ٪%"
)
_SMALL = _GREEK | _CYRILLIC
_TABLE = _SIGNS | _SMALL | {key.upper(): value.capitalize() for key, value in _SMALL.items()} | _HEBREW | _ARABIC

_BY_CATEGORY = {"Ps": "(", "Pe": ")", "Pi": '"', "Pf": '"', "Pd": "-", "Pc": "_"}


def is_gsm7(text: str) -> bool:
    """Say whether every character is in the default alphabet or its extension (3GPP TS 23.038)."""
    return _PURE.fullmatch(text) is not None


def to_gsm7(text: str) -> str:
    """Write a text message in the default alphabet of GSM.

    Returns the text with typographic signs, accents and the letters of other scripts replaced by what reads most alike,
    emoji by their names in round brackets, invisible characters by nothing, and by `?` only what has no name that
    could be read aloud (Chinese characters). Numbers keep their value: `1½` becomes `1 1/2`, `10²` becomes `10^2`.
    This is for showing only: neither an email nor an address that somebody must recognise may pass through it.
    """
    if is_gsm7(text):
        return text
    return _FOREIGN.sub(lambda found: _counterpart(found[0]), unicodedata.normalize("NFC", text))


def reads_in_gsm7(text: str) -> bool:
    """Say whether `to_gsm7` has something to read for every character of a text."""
    return not any(map(_is_lost, set(_FOREIGN.findall(unicodedata.normalize("NFC", text)))))


def _is_lost(char: str) -> bool:
    asks = "?" in unicodedata.normalize("NFKD", char) or char in _TABLE  # it is a question mark, of another script too
    return "?" in _counterpart(char) and not asks


@lru_cache(maxsize=4096)
def _counterpart(char: str) -> str:
    """Return what stands for one character, in the default alphabet."""
    if is_gsm7(char):
        return char
    if char in _TABLE:
        return _TABLE[char]
    category = unicodedata.category(char)
    if category.startswith("Z") or char in "\t\v\x85\u2800":
        return " "
    if "\U0001f1e6" <= char <= "\U0001f1ff":  # two of these letters make a flag
        return chr(ord(char) - 0x1F1E6 + ord("A"))
    if category == "Cn":  # of a newer Unicode than ours, and seen by who has that
        return "?"
    if category in ("Cc", "Cf", "Cs", "Co") or "\U0001f3fb" <= char <= "\U0001f3ff":
        return ""
    return _decomposed(char) or _spoken(char, category)


def _decomposed(char: str) -> str:
    """Return the counterpart of the simpler characters that Unicode says this one is made of, or nothing."""
    if "\uac00" <= char <= "\ud7a3":  # Korean syllables have a name that reads better than their three parts
        return ""
    simpler = unicodedata.normalize("NFKD", char)
    if simpler == char:
        return ""
    plain = "".join(_counterpart(part) for part in simpler)
    if unicodedata.name(char, "").startswith("VULGAR FRACTION"):
        return f" {plain}"
    kind = unicodedata.decomposition(char).partition(" ")[0]
    if kind == "<super>" and unicodedata.category(char) == "No":
        return f"^{plain}"
    return f"({plain})" if kind == "<circle>" else plain


def _spoken(char: str, category: str) -> str:
    """Return a character's digit, the sound in its name, or its name in brackets."""
    digit = unicodedata.digit(char, None)
    if digit is not None:
        return str(digit)
    name = unicodedata.name(char, "")
    sound = re.search(r"(?:LETTER|SYLLABLE|VOWEL SIGN) (?:SMALL )?([A-Z]+)(?: WITH .*)?$", name)
    if sound:
        return sound[1].lower()
    if category.startswith("M"):
        return ""
    if category in _BY_CATEGORY:
        return _BY_CATEGORY[category]
    if category in ("So", "Sm", "Sc", "Sk", "Po"):
        return f"({name.removesuffix(' SYMBOL').removesuffix(' SIGN').lower()})"
    return "?"
