"""Tables and JSON for the reading commands."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from ..core.clean import clean_line, strip_invisible
from ..core.states import State
from . import terminal

Table = Sequence[Sequence[str]]

# Control characters that JSON leaves as they are, line separators, and what reorders the text around it.
_OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# A column narrower than this says nothing; then each row gets lines of its own.
NARROWEST = 12
USUAL_WIDTH = 80
GAP = "  "
COLOURS = {
    State.AWAITING_USER: "yellow",
    State.FAILED: "red",
    State.REPLY_SENT: "green",
    State.TIMEOUT: "magenta",
}


def print_json(value: Any) -> None:
    """Print a value as JSON, moments as ISO 8601, escaped what a terminal would obey."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
    click.echo(_OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def one_line(text: str) -> str:
    """Return a text from outside as one line that shows all there is in it, and in its order."""
    return strip_invisible(clean_line(text))


def print_table(headings: Sequence[str], rows: Table, elastic: Sequence[int]) -> None:
    """Print a table: on a terminal one that fits, the widest of the `elastic` columns giving way first.

    In a pipe nothing is cut, since whoever reads it may look for what would be missing. On a terminal too narrow for a
    table every row takes a few lines. Cells that are a State get its colour.
    """
    width = terminal.columns()
    table = [list(headings), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(terminal.cells_of(row[column]) for row in table) for column in range(len(headings))]
    for _ in range(_total(widths) - (width or USUAL_WIDTH)):
        widest = max(elastic, key=widths.__getitem__)
        widths[widest] -= widths[widest] > NARROWEST
    if width is not None and _total(widths) > width:
        _print_stacked(table[1:], rows, widths, elastic, width)
        return
    shape = terminal.pad if width is None else terminal.fit
    click.secho(GAP.join(map(shape, table[0], widths)).rstrip(), bold=True)
    for cells, row in zip(table[1:], rows, strict=True):
        shown = (_coloured(shape(cell, size), given) for cell, size, given in zip(cells, widths, row, strict=True))
        click.echo(GAP.join(shown).rstrip())


def coloured(state: State) -> str:
    """Return a state's name in its colour; click leaves the colour out where there is no terminal."""
    return _coloured(str(state), state)


def _print_stacked(table: Table, rows: Table, widths: Sequence[int], elastic: Sequence[int], width: int) -> None:
    """Print each row as a line of its rigid cells, and one for each of its elastic cells."""
    rigid = [column for column in range(len(widths)) if column not in elastic]
    for cells, row in zip(table, rows, strict=True):
        head = (_coloured(terminal.pad(cells[column], widths[column]), row[column]) for column in rigid)
        click.echo(GAP.join(head).rstrip())
        for column in elastic:
            click.echo((GAP + terminal.fit(cells[column], width - len(GAP))).rstrip())


def _coloured(text: str, cell: str) -> str:
    return click.style(text, fg=COLOURS.get(cell)) if isinstance(cell, State) else text


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
