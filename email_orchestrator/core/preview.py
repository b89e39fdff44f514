"""An email as a person would read it on a small screen: its new text alone, without markup, history or signature.

The words with which mail programs introduce an earlier email, and with which people close a letter, come from
mail-parser-reply, which keeps them for a dozen languages. Which of its finds to believe is decided here, and in doubt
text stays: a line too many is a nuisance, a line too few is an email half read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from .clean import clean_text, strip_invisible
from .html_text import html_to_text

# Patterns that allow a line break search a long line over and over, so each sees only as much as it could ever need.
_LONGEST_TEXT, _LONGEST_HEADER = 20_000, 200
_DELIMITER = "-- "  # RFC 3676 §4.3: what follows this line is the signature
_DATE = re.compile(r"(?<!\d)(?:(?:19|20)\d\d|\d\d?[./-]\d\d?[./-]\d\d)(?!\d)")
_FIELD = re.compile(r"^[* ]*[^\W\d][^:\n]{0,25}:", re.MULTILINE)
_HTML_AFTER_ALL = re.compile(r"\s*<(?:!doctype html|html|head|body|div|p|span|table)\b[^<>]*>", re.IGNORECASE)
_POSTSCRIPT = re.compile(r"(?:P\.? ?)+S\b", re.IGNORECASE)
_RULE = re.compile(r"[-_=]{3}.*|")


def make_preview(body_text: str | None, body_html: str | None, limit: int = 600) -> str:
    """Make the preview of an email that a text message shows.

    Returns `readable_text` without empty lines; when that has more than `limit` characters, cut between words where
    that is possible and with an ellipsis at its end, `limit` characters in all. It may hold line breaks.
    """
    text = readable_text(body_text, body_html).replace("\n\n", "\n")
    if len(text) <= limit:
        return text
    cut = text[: max(limit - 1, 0)]
    word_end = max(cut.rfind(" "), cut.rfind("\n"))
    return (cut[:word_end] if word_end > max(0, limit - 40) else cut).rstrip() + "…"


def readable_text(body_text: str | None, body_html: str | None) -> str:
    """Reduce an email to the text its sender wrote this time.

    Prefers the plain body and takes the HTML when there is none. Returns at most 20,000 characters with `\\n` line
    ends, single spaces and no two empty lines in a row. An email that is nothing but history or signature (a bare
    forward, say) comes back whole rather than empty; "" means that there is nothing to read at all.
    """
    texts = (_join(lines) for lines in _readings(body_text or "", body_html or ""))
    return next((text for text in texts if text), "")


def _readings(body_text: str, body_html: str) -> Iterator[list[str]]:
    """Yield an email's lines, as little of them as is right first, then ever more."""
    lines = _lines(body_text)
    is_html = _HTML_AFTER_ALL.match(body_text) is not None
    if is_html or not any(lines):
        html = body_text if is_html else body_html
        yield _new_lines(_lines(html_to_text(html)))
        lines = _lines(html_to_text(html, everything=True))
    yield _new_lines(lines)
    yield lines


def _lines(text: str) -> list[str]:
    """Return the lines of a text, cleaned, with single spaces inside and none around, the signature delimiter as is."""
    lines = [""]
    for line in strip_invisible(clean_text(text.lstrip()[:_LONGEST_TEXT])).replace("\xa0", " ").split("\n"):
        line = line if line == _DELIMITER else " ".join(line.split())
        if line or lines[-1]:
            lines.append(line)
    return lines


def _join(lines: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _new_lines(lines: list[str]) -> list[str]:
    return _without_signature(_without_history(_without_quotes(lines)))


def _without_quotes(lines: list[str]) -> list[str]:
    """Return the lines with an empty one in place of each quotation and of the line that says whom it quotes."""
    kept: list[str] = []
    for line in lines:
        if not line.startswith(">"):
            kept.append(line)
            continue
        while kept and not kept[-1]:
            kept.pop()
        if kept and kept[-1] != ">":
            _drop_attribution(kept)
            kept.append(">")  # one for the whole quotation
    return ["" if line == ">" else line for line in kept]


def _drop_attribution(lines: list[str]) -> None:
    """Take a line such as `On 3 May 2024, Bob <bob@example.com> wrote:` off the end of `lines`, also when wrapped.

    Asks for a colon and a date or an address rather than for words, and so works in every language.
    """
    last = lines[-1][-_LONGEST_HEADER:]
    before = "".join(lines[-2:-1])[-_LONGEST_HEADER:]
    if not last.endswith((":", "\uff1a")):
        return
    if "@" in last or _DATE.search(last):
        wrapped = not _DATE.search(last) and _DATE.search(before)
        del lines[-2 if wrapped else -1 :]
        return
    # With nothing but its last words in the last line it is known by these.
    end = lines[-3:]
    for number, found in _headers(end):
        if number + found.count("\n") + 1 == len(end):
            del lines[len(lines) - len(end) + number :]
            return


def _without_history(lines: list[str]) -> list[str]:
    """Return the lines up to the first one that introduces an earlier email."""
    for end, _ in _headers(lines):
        while end and _RULE.fullmatch(lines[end - 1]):
            end -= 1
        return lines[:end]
    return lines


def _headers(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Find what introduces an earlier email: in which line it begins, and its text."""
    searched = "\n".join(line[:_LONGEST_HEADER] for line in lines)
    for found in _phrases().history.finditer(searched):
        header = found.group().lstrip("\n")
        if _is_header(header):
            yield searched.count("\n", 0, found.end() - len(header)), header.rstrip("\n")


def _is_header(found: str) -> bool:
    """Decide whether what the library found introduces an email, and is not a list like `From: Rome` / `To: Oslo`."""
    if found.startswith("-----"):
        return True
    if found.rstrip().endswith(":"):
        return "@" in found or _DATE.search(found) is not None
    fields = len(_FIELD.findall(found))
    return fields >= 4 or (fields >= 2 and "@" in found)


def _without_signature(lines: list[str]) -> list[str]:
    """Return the lines up to the signature: one set off by `-- `, a phone's advertisement, a closing with a name."""
    known = _phrases()
    lines = _until(lines, lambda line, after: line == _DELIMITER or (line == "--" and _is_small(after)))
    lines = _until(lines, lambda line, after: known.sent_from.fullmatch(line) is not None and len(after) <= 2)
    return _until(lines, lambda line, after: known.closing.fullmatch(line) is not None and _is_name(after))


def _until(lines: list[str], ends: Callable[[str, list[str]], bool]) -> list[str]:
    """Return the lines before the first for which `ends` holds, given it and the next few that are not empty."""
    filled = [number for number, line in enumerate(lines) if line]
    for position, number in enumerate(filled):
        if ends(lines[number], [lines[after] for after in filled[position + 1 : position + 12]]):
            return lines[:number]
    return lines


def _is_name(lines: list[str]) -> bool:
    """Decide whether the lines after a closing are a name, perhaps with what people put below theirs.

    Where a script has no capital letters a name cannot be told from anything else, and stays.
    """
    if not lines:
        return True
    words = lines[0].split()
    is_name = len(words) <= 4 and words[0][0].isupper() and not any(word[0].islower() for word in words)
    return is_name and _is_small(lines) and not any(map(_goes_on, lines[1:]))


def _goes_on(line: str) -> bool:
    """Say whether a line below a name goes on with the email: a postscript, or a sentence."""
    words = line.split()
    return _POSTSCRIPT.match(line) is not None or (len(words) >= 5 and sum(word[0].islower() for word in words) >= 3)


def _is_small(lines: list[str]) -> bool:
    """Decide whether the lines can be a signature: few, short, and asking nothing."""
    return len(lines) <= 10 and not any("?" in line or len(line) > 100 for line in lines)


class _Phrases(NamedTuple):
    history: re.Pattern[str]
    sent_from: re.Pattern[str]
    closing: re.Pattern[str]


@cache
def _phrases() -> _Phrases:
    """Build the patterns from mail-parser-reply's tables: once, and only when there is an email to read."""
    from mailparser_reply import EmailMessage
    from mailparser_reply.constants import MAIL_LANGUAGES

    languages = sorted(MAIL_LANGUAGES.keys() - {"david"})
    sent_from = "|".join(filter(None, (MAIL_LANGUAGES[language]["sent_from"] for language in languages)))
    closings = "|".join(closing for language in languages for closing in MAIL_LANGUAGES[language]["signatures"])
    return _Phrases(
        history=EmailMessage(text="", languages=languages).HEADER_REGEX,
        sent_from=re.compile(rf"(?:{sent_from})\b.{{0,120}}", re.IGNORECASE),
        closing=re.compile(rf"(?:{closings})[\s,.!]*", re.IGNORECASE),
    )
