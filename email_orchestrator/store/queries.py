"""Loads the named statements of `queries.sql`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """Return every statement of `queries.sql` by its name; raises ValueError when a name stands there twice."""
    pieces = _HEADING.split(files(__package__).joinpath("queries.sql").read_text(encoding="utf-8"))
    names = pieces[1::2]
    if len(set(names)) != len(names):
        raise ValueError("queries.sql names a statement twice")
    return {name: statement.strip() for name, statement in zip(names, pieces[2::2], strict=True)}
