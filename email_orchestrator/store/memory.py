"""What the service remembers between two rounds: small values under fixed names."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from .transaction import Transaction

LAST_POLL = "last_poll"
MAIL_PAUSE = "mail_pause"
DIALOGUE = "dialogue"
HELP_GIVEN = "help_given"
TEXTING_BLOCKED = "texting_blocked"
LAST_RECONCILE = "last_reconcile"
CLOSED_COUNTS = "closed_counts"
# The end of a pause of all mail that only a person can end: a date far off, for it is compared with the time.
UNTIL_A_PERSON_ACTS = datetime(9000, 1, 1, tzinfo=UTC)


def remember(tx: Transaction, key: str, value: dict[str, Any]) -> None:
    """Keep a value under a name, in place of what was there."""
    tx.defer("remember", key=key, value=json.dumps(value, default=datetime.isoformat))


def recall(tx: Transaction, key: str) -> dict[str, Any] | None:
    """Return the value under a name, or None."""
    row = tx.row("recall", key=key)
    return row["value"] if row else None


def mail_is_paused(tx: Transaction) -> bool:
    """Say whether all mail rests for now."""
    return in_force(tx, recall(tx, MAIL_PAUSE))


def in_force(tx: Transaction, pause: dict[str, Any] | None) -> bool:
    """Say whether a pause of all mail lasts still."""
    return pause is not None and datetime.fromisoformat(pause["until"]) > tx.now


def waits_for_a_person(pause: dict[str, Any] | None) -> bool:
    """Say whether there is a pause of all mail that only a person can end."""
    return pause is not None and datetime.fromisoformat(pause["until"]) == UNTIL_A_PERSON_ACTS


def forget(tx: Transaction, key: str) -> None:
    """Drop the value under a name, if there is one."""
    tx.defer("forget", key=key)
