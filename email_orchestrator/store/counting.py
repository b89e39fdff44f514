"""How many workflows are in each state, at a cost that does not grow with the number of those that are closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

from ..core.states import State
from . import memory
from .transaction import Transaction

# Nobody looks at these again and again but to count them.
CLOSED = frozenset({State.REPLY_SENT, State.USER_IGNORED, State.TIMEOUT})
# No transaction lasts longer: by then every event of a moment is there to be counted for good.
SETTLED_AFTER = timedelta(minutes=1)
# A daemon counts anew every hour. Where none runs any more, and after a clock was set back, a count is of no use.
KEPT_FOR = timedelta(hours=2)


def counts_by_state(tx: Transaction, states: Collection[State] = tuple(State)) -> dict[State, int]:
    """Count the workflows in each of the given states, zeros included.

    Closed ones are those of the last `count_closed` and what their events say since: one that the Email Monitor removed
    with its email counts until the next.
    """
    kept = memory.recall(tx, memory.CLOSED_COUNTS) if CLOSED & set(states) else None
    since = datetime.fromisoformat(kept["until"]) if kept else None
    if kept is None or since is None or not timedelta() <= tx.now - since <= KEPT_FOR:
        counts, _ = _look(tx, states, None)
    else:
        counts, changes = _look(tx, set(states) - CLOSED, since)
        counts |= {state: kept["counts"][state] + changes[state] for state in CLOSED}
    return {state: max(0, counts[state]) for state in states}


def count_closed(tx: Transaction) -> None:
    """Count the closed workflows one by one, and keep how many there were a moment ago."""
    until = tx.now - SETTLED_AFTER
    counts, changes = _look(tx, CLOSED, until)
    kept = {state: counts[state] - changes[state] for state in CLOSED}
    memory.remember(tx, memory.CLOSED_COUNTS, {"until": until, "counts": kept})


def _look(tx: Transaction, states: Collection[State], since: datetime | None) -> tuple[Counter[State], Counter[State]]:
    """Count the workflows in each of the states, and how many more are in each closed one since a moment."""
    counts: Counter[State] = Counter()
    changes: Counter[State] = Counter()
    for row in tx.rows("states_and_changes", states=list(map(str, states)), closed=list(map(str, CLOSED)), since=since):
        counts[State(row["state"])] += int(row["count"])
        changes[State(row["state"])] += int(row["change"])
    return counts, changes
