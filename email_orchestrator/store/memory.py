"""What the service remembers between two rounds: small values under fixed names."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from .transaction import Transaction

LAST_POLL = "last_poll"
MAIL_PAUSE = "mail_pause"
DIALOGUE = "dialogue"
HELP_GIVEN = "help_given"
TEXTING_BLOCKED = "texting_blocked"
LAST_RECONCILE = "last_reconcile"
CLOSED_COUNTS = "closed_counts"


def remember(tx: Transaction, key: str, value: dict[str, Any]) -> None:
    """Keep a value under a name, in place of what was there."""
    tx.defer("remember", key=key, value=json.dumps(value, default=datetime.isoformat))


def recall(tx: Transaction, key: str) -> dict[str, Any] | None:
    """Return the value under a name, or None."""
    row = tx.row("recall", key=key)
    return row["value"] if row else None


def forget(tx: Transaction, key: str) -> None:
    """Drop the value under a name, if there is one."""
    tx.defer("forget", key=key)
