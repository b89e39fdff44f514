"""Retention: the texts of what finished long ago are cleared; its figures stay."""

from __future__ import annotations

import logging

from .desk import Desk

log = logging.getLogger(__name__)

# A batch is over within a moment, and a round within seconds, however much has gathered: it goes on a day later.
BATCH = 200
BATCHES = 25
# What a refusal says before it quotes the service, in the words of our clients.
REFUSAL = r"^(.*?(it answered( the [A-Za-z]+ with)? [0-9]{3}|the text was not sent)).*$"
STATEMENTS = {
    "workflows": "clear_workflow_texts",
    "outbox": "drop_old_outbox",
    "inbox": "drop_old_inbox",
    "memories": "drop_old_memories",
}


def clear_old_texts(desk: Desk, days: int | None) -> dict[str, int]:
    """Clear the texts of workflows that finished more than `days` ago, and drop texts to and from the owner as old.

    Returns how many rows of each sort were cleared, at most BATCH times BATCHES. With None nothing is ever cleared.
    """
    if days is None:
        return {}
    cleared = {sort: _in_batches(desk, statement, days) for sort, statement in STATEMENTS.items()}
    if any(cleared.values()):
        log.info(
            "texts older than %d days cleared: %s",
            days,
            ", ".join(f"{count} {sort}" for sort, count in cleared.items()),
            extra={"fields": {"action": "texts_cleared", **cleared}},
        )
    return cleared


def _in_batches(desk: Desk, statement: str, days: int) -> int:
    total = 0
    for _ in range(BATCHES):
        with desk.database.transaction() as tx:
            count = tx.run(statement, days=days, limit=BATCH, refusal=REFUSAL)
        total += count
        if count < BATCH or desk.wait(0):
            break
    return total
