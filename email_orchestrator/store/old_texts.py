"""Old texts: what was written about workflows that finished long ago, and what was texted then."""

from __future__ import annotations

from enum import StrEnum

from .transaction import Transaction

# What a refusal says before it quotes the service, in the words of our clients.
REFUSAL = r"^(.*?(it answered( the [A-Za-z]+ with)? [0-9]{3}|the text was not sent)).*$"


class Old(StrEnum):
    """What can be cleared; the values name the statements."""

    WORKFLOWS = "clear_workflow_texts"
    OUTBOX = "drop_old_outbox"
    INBOX = "drop_old_inbox"
    MEMORIES = "drop_old_memories"


def clear(tx: Transaction, what: Old, days: int, limit: int) -> int:
    """Clear what is more than `days` old, at most `limit` rows of it; returns how many there were."""
    return tx.run(what, days=days, limit=limit, refusal=REFUSAL)
