"""What others wrote, made fit to stand in a text of ours: readable, bounded, and never mistaken for our own words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .clean import EMOJI, INVISIBLE, JOINING
from .gsm7 import is_gsm7, to_gsm7
from .mail_address import LONGEST_ADDRESS
from .segments import may_cut_at, utf16_units

MARK = "| "  # in front of a quoted line that could be taken for one of ours

_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_BLANKS = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\u3000"
# Controls, surrogates, private use and noncharacters as well.
_UNSEEN = f"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f{INVISIBLE}\ufffe\uffff\ud800-\udfff\ue000-\uf8ff\U000e1000-\U0010ffff"
_STRAY_JOINER = (
    f"(?!(?<=[{EMOJI}\ufe0f])\u200d(?=[{EMOJI}])|(?<=[{JOINING}])[\u200c\u200d](?=[{JOINING}]))[\u200c\u200d]"
)
_STRAY_SELECTOR = f"(?!(?<=[{EMOJI}])[\ufe0e\ufe0f]|(?<=[0-9#*])\ufe0f(?=\u20e3))[\ufe0e\ufe0f]"
_MARKS = "[\u0300-\u034e\u0350-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_HEAPED_MARK = f"(?<={_MARKS}{{4}}){_MARKS}"  # no language puts five on one letter; more would paint over other lines
_RUN = re.compile(
    # A single blank between two characters that stay is left out, so that ordinary text is one match at most.
    f"(?![ \n][^{_BLANKS}{_UNSEEN}\u200c\u200d\ufe0e\ufe0f])"
    f"(?:[{_BLANKS}{_UNSEEN}]|{_STRAY_JOINER}|{_STRAY_SELECTOR}|{_HEAPED_MARK})+"
)


@dataclass(frozen=True, slots=True)
class Readable:
    """A text as it is shown, and for each shown character how many stored ones are behind us once it was shown."""

    text: str
    stored: list[int]

    def missing(self, shown: int) -> int:
        """Return how many stored characters are still to come once so many shown characters were shown."""
        if shown >= len(self.stored):
            return 0
        return self.stored[-1] - (self.stored[shown - 1] if shown else 0)


def make_readable(text: str) -> Readable:
    """Take out of a text what a reader cannot see.

    Returns the text with every line break as a newline, at most one empty line in a row, every run of blanks as one
    space, and without control, zero-width, bidi, tag and private-use characters; joiners and variation selectors stay
    where emoji or a script's spelling need them. Nothing is lost from the count: the stored characters of what
    was taken out belong to the shown character before them (at the start: after them).
    """
    pieces: list[str] = []
    stored: list[int] = []
    at = 0
    for run in _RUN.finditer(text):
        pieces.append(text[at : run.start()])
        stored.extend(range(at + 1, run.start() + 1))
        at = run.end()
        breaks = len(_BREAK.findall(run[0]))
        blank = "\n" * min(breaks, 2) or (" " if re.search(f"[{_BLANKS}]", run[0]) else "")
        if not stored or at == len(text):
            blank = ""
        pieces.append(blank)
        if stored:
            stored[-1] = stored[-1] if blank else at
        stored.extend([at] * len(blank))
    pieces.append(text[at:])
    stored.extend(range(at + 1, len(text) + 1))
    return Readable("".join(pieces), stored)


# Signs that look like our quotation marks and angle brackets, however wide or bent.
_DOUBLE_QUOTES = '"“”„‟«»″‶〃〝〞＂ʺ˝״❝❞'
_ANGLES = str.maketrans("<>＜＞‹›〈〉⟨⟩❮❯≪≫", "()" * 7)
_SINGLE_QUOTES = str.maketrans(dict.fromkeys(_DOUBLE_QUOTES, "'"))


def quote_line(text: str, limit: int = 120) -> str:
    """Make one line of a subject, or of anything else that others wrote, to stand between double quotes of ours.

    Returns the readable text on one line, its double quotes as single ones, and `...` at its end when it was longer
    than `limit` UTF-16 units.
    """
    return cut_short(" ".join(make_readable(text).text.split()).translate(_SINGLE_QUOTES), limit)


def quote_name(name: str, limit: int = 40) -> str:
    """Make one line of a display name that will stand before an address in angle brackets.

    Returns nothing for a name with an @ in it: it would pass itself off as the address.
    """
    line = quote_line(name, limit).translate(_ANGLES)
    return "" if "@" in unicodedata.normalize("NFKC", line) else line


def cut_short(text: str, limit: int) -> str:
    """Return the text, or its first `limit` UTF-16 units at most and `...`, no character of it cut in two."""
    if utf16_units(text) <= limit:
        return text
    most = units_to_index(text, limit)
    return text[: may_cut_at(text, most) or most].rstrip() + "..."


def units_to_index(text: str, units: int) -> int:
    """Return how many characters of a text fit into so many UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")[: 2 * units].decode("utf-16-le", "ignore"))


def isolate(text: str) -> str:
    """Keep a right-to-left field from reordering what stands around it (UAX #9: first-strong isolate and its end)."""
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in text):
        return f"\u2068{text}\u2069"
    return text


def display_address(address: str) -> str:
    """Write an address so that it cannot be taken for another one.

    Returns printable ASCII of the GSM alphabet: each label of the domain outside ASCII as punycode (`xn--`, RFC 3492),
    other foreign characters as `\\u043e`, control characters left out. What is longer than any mail server takes
    loses its middle, never the end of its domain.
    """
    local_part, at, domain = address.rpartition("@")
    labels = ".".join(label if label.isascii() else _punycode(label) for label in domain.split("."))
    written = re.sub(r"[^ -_a-~]", _escape, f"{local_part}{at}{labels}").strip()
    if len(written) > LONGEST_ADDRESS:
        return f"{written[:100]}...{written[-150:]}"
    return written


def _punycode(label: str) -> str:
    """Return a domain label's form in the DNS; unlike IDNA 2003 it maps no character onto another (`ß` stays `ß`)."""
    lowered = unicodedata.normalize("NFC", label).lower()
    return "xn--" + lowered.encode("punycode", "replace").decode("ascii")


def _escape(found: re.Match[str]) -> str:
    """Return what stands for a character that an address shows only in its escaped form."""
    char = found[0]
    if unicodedata.category(char) == "Cc":
        return ""
    return f"\\u{ord(char):04x}" if char <= "\uffff" else f"\\U{ord(char):08x}"


# A line is ours when it says so in any spelling that looks or folds the same: a command, a part's number, a workflow's
# number, a label. Ordinary lines that are caught too only get a mark in front.
_STARTS_LIKE_OURS = re.compile(
    r"""
    \W* (?:
        [123] \W{0,4} (?:send|edit|ignore|approve|skip) \b
      | (?: [123] \s* )? \# \s* \d
      | \[ \s* \d+ \s* (?:[^\w\s]|of) \s* \d+ \s* \]
      | (?:sent\ to|taken\ back|left\ unanswered|which\ one|(?:no|\d+)\ drafts?\ waits?) \b
      | (?:draft|e-?mail|subject) (?:\W+\w+)? \W* [:;꞉∶ː˸"]
    )
    """,
    re.VERBOSE,
)
_READS_LIKE_OURS = re.compile(
    r"(?<!\w)[123il|]\s*=\s*\w|(?:\[\s*|\b(?:more|again|retry|undo|replaces)\W+)\#\s*\d|\d\s+more\s+char"
)
_ALIKE = {
    "a": "аɑα", "c": "сϲ", "d": "ԁ", "e": "еє", "f": "ƒ", "g": "ɡ", "h": "һ", "i": "іıɩι", "j": "ј", "l": "ӏ", "m": "м",
    "n": "ոп", "o": "оο", "p": "рρ", "r": "г", "s": "ѕ", "t": "тτ", "u": "υս", "v": "ν", "x": "хχ", "y": "у",
    "=": "═⹀゠꓿᐀≡", "#": "♯⧣", "|": "❘∣ǀ", '"': _DOUBLE_QUOTES,
    "[": "({⁅⟦⟨⟪⟬⟮❨❪❬❮❰❲❴〈《「『【〔〖〘〚⦃⦅⦇⦋", "]": ")}⁆⟧⟩⟫⟭⟯❩❫❭❯❱❳❵〉》」』】〕〗〙〛⦄⦆⦈⦌",
}  # fmt: skip
_LOOKALIKES = str.maketrans({char: plain for plain, group in _ALIKE.items() for char in group})
_OVERLAYS = re.compile(f"{_MARKS}|[\u200c\u200d\ufe0e\ufe0f]")
_TWO_SINGLE_QUOTES = re.compile("['‘’‛`´′ʹ]{2}$")


def _folded(line: str) -> str:
    """Return a line as a hasty reader sees it: no width, case, accents or look-alike letters, all brackets square."""
    if not line.isascii():
        line = _OVERLAYS.sub("", unicodedata.normalize("NFKD", line))
    return line.casefold().translate(_LOOKALIKES)


def _looks_ours(line: str) -> bool:
    """Say whether a quoted line, as it is or written in the GSM alphabet, could be taken for one of our own."""
    folds = map(_folded, _spellings(line))
    return any(_STARTS_LIKE_OURS.match(folded) or _READS_LIKE_OURS.search(folded) for folded in folds)


def _spellings(line: str) -> list[str]:
    return [line] if is_gsm7(line) else [line, to_gsm7(line)]


def closes_quote(line: str) -> bool:
    """Say whether a line ends as our own closing quotation mark does, as it is or written in the GSM alphabet."""
    return any(map(_ends_in_a_quote, _spellings(line)))


def _ends_in_a_quote(line: str) -> bool:
    end = len(line)
    while end and unicodedata.category(line[end - 1])[0] in "MZ":
        end -= 1
    return line[:end].endswith(tuple(_DOUBLE_QUOTES)) or _TWO_SINGLE_QUOTES.search(line[:end]) is not None


def defuse(text: str, closed: bool = False) -> str:
    """Mark the lines of a quoted text that could be taken for ours.

    Given readable text of several lines, and whether a line before it already looked like the end of the quotation,
    return it with `| ` in front of each line that reads like a command, a part's number, a head or a label of ours, and
    of every line after one that ends in a double quotation mark. Only marks are added; the words stay as they are.
    """
    lines = []
    for line in text.split("\n"):
        lines.append(MARK + line if line and (closed or _looks_ours(line)) else line)
        closed = closed or closes_quote(line)
    return "\n".join(lines)
