"""Tables, pages and JSON for the reading commands."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from ..core.clean import clean_line
from ..core.states import State

if TYPE_CHECKING:
    from ..core.models import Draft, Workflow
    from ..store.workflows import Event

COLOURS = {
    State.AWAITING_USER: "yellow",
    State.FAILED: "red",
    State.REPLY_SENT: "green",
    State.TIMEOUT: "magenta",
}


def print_json(value: Any) -> None:
    """Print a value as JSON, moments as ISO 8601."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


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


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, elastic: int) -> None:
    """Print a table in `width` columns; the column number `elastic` takes what the others leave."""
    table = [list(headings), *([clean_line(cell) for cell in row] for row in rows)]
    widths = [max(cells_of(row[column]) for row in table) for column in range(len(headings))]
    widths[elastic] = max(4, min(widths[elastic], width - sum(widths) + widths[elastic] - 2 * (len(widths) - 1)))
    for number, row in enumerate(table):
        line = "  ".join(fit(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=number == 0)


def cells_of(text: str) -> int:
    """Count the terminal cells of a text: none for combining marks, two for wide characters (Unicode UAX #11)."""
    return sum(_cells(character) for character in text)


def fit(text: str, cells: int) -> str:
    """Cut or pad a text to a number of terminal cells."""
    if cells_of(text) > cells:
        kept = ""
        for character in text:
            if cells_of(kept + character) > cells - 1:
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


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
