"""Tables, pages and JSON for the reading commands."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ..core.clean import clean_line, strip_invisible
from ..core.states import State

if TYPE_CHECKING:
    from ..core.models import Draft, Workflow
    from ..store.workflows import Event

# Control characters that JSON leaves as they are, line separators, and what reorders the text around it.
_OBEYED = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# The variation selector that makes a narrow symbol an emoji, twice as wide (Unicode UTS #51).
EMOJI_STYLE = "\ufe0f"
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


def workflow_json(workflow: Workflow) -> dict[str, Any]:
    """Return what a script may know of a workflow."""
    return {
        "id": workflow.id,
        "message_id": workflow.message_id,
        "from": workflow.sender,
        "subject": workflow.subject,
        "state": workflow.state,
        "revision": workflow.revision,
        "error": workflow.error,
        "created_at": workflow.created_at,
        "updated_at": workflow.updated_at,
        "next_attempt_at": workflow.next_attempt_at,
        "reply_sent_at": workflow.reply_sent_at,
    }


def event_json(event: Event) -> dict[str, Any]:
    """Return one transition for a script."""
    return {
        "from_state": event.from_state,
        "to_state": event.to_state,
        "at": event.at,
        "reason": event.reason,
        "actor": event.actor,
    }


def draft_json(draft: Draft) -> dict[str, Any]:
    """Return one draft for a script."""
    return {
        "revision": draft.revision,
        "text": draft.text,
        "instructions": draft.instructions,
        "created_at": draft.created_at,
    }


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, elastic: Sequence[int]) -> None:
    """Print a table that fits `width` columns: the widest of the `elastic` columns gives way first."""
    table = [list(headings), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(cells_of(row[column]) for row in table) for column in range(len(headings))]
    for _ in range(sum(widths) + 2 * (len(widths) - 1) - width):
        widest = max(elastic, key=widths.__getitem__)
        widths[widest] = max(4, widths[widest] - 1)
    for number, row in enumerate(table):
        line = "  ".join(fit(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=number == 0)


def cells_of(text: str) -> int:
    """Count the terminal cells of a text: none for combining marks, two for wide characters (Unicode UAX #11)."""
    return sum(cells for _, cells in _measured(text))


def fit(text: str, cells: int) -> str:
    """Cut or pad a text to a number of terminal cells."""
    if cells_of(text) > cells:
        kept, used = "", 0
        for character, wide in _measured(text):
            used += wide
            if used > cells - 1:
                break
            kept += character
        text = kept + "…"
    return text + " " * (cells - cells_of(text))


def coloured(state: State) -> str:
    """Return a state's name in its colour; click leaves the colour out where there is no terminal."""
    return click.style(str(state), fg=COLOURS.get(state))


def flatten(value: Any, name: str = "") -> list[tuple[str, str]]:
    """List the leaves of a nested value with their dotted names."""
    if not isinstance(value, dict):
        return [(name, "-" if value is None else _plain(value))]
    return [leaf for key, inner in value.items() for leaf in flatten(inner, f"{name}.{key}" if name else str(key))]


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


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
