"""Loads the named statements of `queries.sql`, and writes them as PostgreSQL wants to have them prepared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_VALUE = re.compile(r"%\((\w+)\)s")
_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """Return every statement of `queries.sql` by its name; raises ValueError when a name stands there twice."""
    pieces = _HEADING.split(Path(__file__).with_name("queries.sql").read_text(encoding="utf-8"))
    names = pieces[1::2]
    if len(set(names)) != len(names):
        raise ValueError("queries.sql names a statement twice")
    return {name: statement.strip() for name, statement in zip(names, pieces[2::2], strict=True)}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as PREPARE and EXECUTE take it; `values` names what EXECUTE is to be given, in order."""

    prepare: str
    execute: str
    values: tuple[str, ...]


@cache
def prepared(name: str) -> Prepared:
    """Return the named statement with its values numbered (PostgreSQL manual, PREPARE)."""
    statement = queries()[name]
    values = tuple(dict.fromkeys(_VALUE.findall(statement)))
    numbered = _VALUE.sub(lambda match: f"${values.index(match[1]) + 1}", statement)
    given = f" ({', '.join(['%s'] * len(values))})" if values else ""
    return Prepared(f"PREPARE {name} AS {numbered}", f"EXECUTE {name}{given}", values)
