"""How many workflows are in each state, at a cost that does not grow with the number of those that are closed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from ..core.states import State
from . import memory
from .connection import Transaction

# Nobody looks at these again and again but to count them.
CLOSED = frozenset({State.REPLY_SENT, State.USER_IGNORED, State.TIMEOUT})
# No transaction lasts longer: by then every event of a moment is there to be counted for good.
SETTLED_AFTER = timedelta(minutes=1)


def counts_by_state(tx: Transaction, states: Collection[State] = tuple(State)) -> dict[State, int]:
    """Count the workflows in each of the given states, zeros included.

    Closed ones are those of the last `count_closed` and what their events say since: one that the Email Monitor removed
    with its email counts until the next.
    """
    kept = memory.recall(tx, memory.CLOSED_COUNTS) if CLOSED & set(states) else None
    found = _count(tx, [state for state in states if kept is None or state not in CLOSED])
    if kept is not None:
        changes = _changes(tx, datetime.fromisoformat(kept["until"]))
        found |= {state: kept["counts"][state] + changes.get(state, 0) for state in CLOSED}
    return {state: max(0, found.get(state, 0)) for state in states}


def count_closed(tx: Transaction) -> None:
    """Count the closed workflows one by one, and keep how many there were a moment ago."""
    until = tx.now - SETTLED_AFTER
    counts, changes = _count(tx, CLOSED), _changes(tx, until)
    kept = {state: counts.get(state, 0) - changes.get(state, 0) for state in CLOSED}
    memory.remember(tx, memory.CLOSED_COUNTS, {"until": until, "counts": kept})


def _count(tx: Transaction, states: Collection[State]) -> dict[State, int]:
    rows = tx.rows("counts_by_state", states=[str(state) for state in states])
    return {State(row["state"]): int(row["count"]) for row in rows}


def _changes(tx: Transaction, since: datetime) -> dict[State, int]:
    """Add up how many more workflows are in each closed state than before a moment."""
    rows = tx.rows("changes_by_state", states=[str(state) for state in CLOSED], since=since)
    return {State(row["state"]): int(row["count"]) for row in rows}
