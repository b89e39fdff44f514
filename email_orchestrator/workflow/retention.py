"""Retention: the texts of what finished long ago are cleared; its figures stay."""

from __future__ import annotations

import logging

from ..store import old_texts
from ..store.old_texts import Old
from .desk import Desk

log = logging.getLogger(__name__)

# A batch is over within a moment, and a round within seconds, however much has gathered: it goes on a day later.
BATCH = 200
BATCHES = 25


def clear_old_texts(desk: Desk, days: int | None) -> dict[str, int]:
    """Clear the texts of workflows that finished more than `days` ago, and drop texts to and from the owner as old.

    Returns how many rows of each sort were cleared, at most BATCH times BATCHES. With None nothing is ever cleared.
    """
    if days is None:
        return {}
    cleared = {old.name.lower(): _in_batches(desk, old, days) for old in Old}
    if any(cleared.values()):
        log.info(
            "texts older than %d days cleared: %s",
            days,
            ", ".join(f"{count} {sort}" for sort, count in cleared.items()),
            extra={"fields": {"action": "texts_cleared", **cleared}},
        )
    return cleared


def _in_batches(desk: Desk, old: Old, days: int) -> int:
    total = 0
    for _ in range(BATCHES):
        with desk.database.transaction() as tx:
            count = old_texts.clear(tx, old, days, BATCH)
        total += count
        if count < BATCH or desk.wait(0):
            break
    return total
