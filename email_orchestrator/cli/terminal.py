"""What a terminal shows: how wide it is, how wide a text is on it, whether it wants colours, and progress on it."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import click

# The variation selector that makes a narrow symbol an emoji, twice as wide (Unicode UTS #51).
EMOJI_STYLE = "\ufe0f"
START_OF_LINE, CLEAR_LINE = "\r", "\x1b[K"


def columns() -> int | None:
    """Return how many columns there are to write to: `COLUMNS` where that is set, the terminal's, or None in a pipe."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told) > 0:
        return int(told)
    return (os.get_terminal_size(sys.stdout.fileno()).columns or 80) if _is_terminal(sys.stdout) else None


def wants_plain_text() -> bool:
    """Say whether colours are unwelcome even on a terminal (no-color.org)."""
    return bool(os.environ.get("NO_COLOR")) or _is_dumb()


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show a line on a terminal for as long as something takes; nothing is left of it, and a pipe never sees it."""
    if not _is_terminal(sys.stderr) or _is_dumb():
        yield
        return
    width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
    click.echo(START_OF_LINE + CLEAR_LINE + fit(text, width - 1).rstrip(), nl=False, err=True)
    try:
        yield
    finally:
        click.echo(START_OF_LINE + CLEAR_LINE, nl=False, err=True)


def cells_of(text: str) -> int:
    """Count the terminal cells of a text: none for combining marks, two for wide characters (Unicode UAX #11)."""
    return sum(cells for _, cells in _measured(text))


def pad(text: str, cells: int) -> str:
    """Fill a text up to a number of terminal cells."""
    return text + " " * (cells - cells_of(text))


def fit(text: str, cells: int) -> str:
    """Cut or fill a text to a number of terminal cells."""
    if cells_of(text) > cells:
        text = _beginning(text, cells - 1) + "…"
    return pad(text, cells)


def wrap(text: str, cells: int | None, start: str = "", beneath: str = "") -> list[str]:
    """Break a text between its words into lines of at most so many cells; a word that is longer is broken, too.

    The first line begins with `start`, the others with `beneath`. Without `cells` it stays one line.
    """
    if cells is None or cells_of(start + text) <= cells:
        return [(start + text).rstrip()]
    lines, fresh = [start], True
    for word in re.findall(r" +|[^ ]+", text.rstrip()):
        rest = word
        if cells_of(lines[-1] + rest) > cells and not fresh:
            lines.append(beneath)
            fresh = True
        if fresh and len(lines) > 1 and rest.isspace():
            continue
        while rest and cells_of(lines[-1] + rest) > cells:
            # Whatever the room, a character goes on: no terminal is narrower than one.
            head = _beginning(rest, cells - cells_of(lines[-1])) or rest[0]
            lines[-1] += head
            rest = rest[len(head) :]
            if rest:
                lines.append(beneath)
        lines[-1] += rest
        fresh = False
    return [line.rstrip() for line in lines]


def _beginning(text: str, cells: int) -> str:
    """Return as much of the beginning of a text as fits, and never half a character with its marks."""
    used = 0
    for position, (_, wide) in enumerate(_measured(text)):
        used += wide
        if used > cells:
            return text[:position]
    return text


def _is_dumb() -> bool:
    return os.environ.get("TERM") == "dumb"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return os.isatty(stream.fileno())
    except (AttributeError, OSError, ValueError):
        # Closed, or none at all: a process may be started without its standard streams.
        return False


def _measured(text: str) -> Iterator[tuple[str, int]]:
    """Yield each character of a text with the terminal cells it adds."""
    before = 0
    for character in text:
        cells = _cells(character)
        if character == EMOJI_STYLE:
            cells = 1 if before == 1 else 0
        yield character, cells
        before = cells


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    # Emoji newer than this Python's tables are wide too.
    wide = unicodedata.east_asian_width(character) in ("W", "F") or "\U0001f300" <= character <= "\U0001faff"
    return 2 if wide else 1
