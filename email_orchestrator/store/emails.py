"""Emails in the Email Monitor's table: finding new ones and taking them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from ..core.models import Email
from ..core.states import State
from .transaction import Row, Transaction

# A preview and a quotation need no more than this of an email; ten-megabyte mails exist. HTML may hold styles and
# pictures before its first word.
LIMITS = {"subject_limit": 10_000, "text_limit": 20_000, "html_limit": 1_000_000}


@dataclass(frozen=True, slots=True)
class Taking:
    """What becomes of an email when it is taken: `state` is pending, or user_ignored or failed with the reason."""

    message_id: str
    subject: str
    sender: str
    sender_name: str
    preview: str
    thread_id: str | None
    state: State
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """An email that became a workflow."""

    id: int
    message_id: str
    state: State


def new_ids(tx: Transaction, *, ids: Sequence[str] | None, since: datetime | None, limit: int) -> list[str]:
    """List the Message-IDs of pending emails that were not taken yet, oldest first.

    `ids` are the Message-IDs the Email Monitor listed (None: all), `since` the earliest time of receipt (None: any).
    """
    rows = tx.rows(
        "new_ids",
        ids=list(ids) if ids is not None else None,
        since=since,
        limit=limit,
    )
    return [row["message_id"] for row in rows]


def newest(tx: Transaction) -> int:
    """Return the number of the newest email of all, 0 when there is none."""
    row = tx.row("newest_email")
    return (row and row["id"]) or 0


def new_emails(tx: Transaction, ids: Sequence[str]) -> list[Email]:
    """Read those of some emails that are still pending and not taken, oldest first."""
    rows = tx.rows("new_emails", ids=list(ids), **LIMITS)
    return [to_email(row) for row in rows]


def take(tx: Transaction, takings: Sequence[Taking]) -> list[Taken]:
    """Take emails in the given order; those that somebody else took or changed meanwhile are not in the answer."""
    given = [{**asdict(taking), "position": n} for n, taking in enumerate(takings)]
    rows = tx.rows("take_emails", emails=json.dumps(given))
    return [Taken(row["id"], row["message_id"], State(row["state"])) for row in rows]


def read(tx: Transaction, message_id: str) -> Email | None:
    """Read an email as it is now, or None when the Email Monitor has removed it."""
    row = tx.row("email", message_id=message_id, **LIMITS)
    return to_email(row) if row else None


def count_older(tx: Transaction, since: datetime) -> int:
    """Count the pending emails received before `since`, which the poll leaves alone."""
    row = tx.row("older_emails_left_alone", since=since)
    return int(row["count"]) if row else 0


def count_replies(tx: Transaction, senders: Sequence[str], since: datetime) -> dict[str, int]:
    """Count the replies that went to some senders since a moment, by sender in lower case, leaving out who got none."""
    rows = tx.rows("replies_to_senders", senders=[sender.lower() for sender in senders], since=since)
    return {row["sender"]: int(row["count"]) for row in rows}


def to_email(row: Row) -> Email:
    """Make an Email of a row that has its columns, cut to LIMITS."""
    return Email(
        message_id=row["message_id"],
        sender=row["from_address"],
        subject=row["subject"] or "",
        received_at=row["received_at"],
        body_text=row["body_text"],
        body_html=row["body_html"],
        thread_id=row["thread_id"],
        in_reply_to=row["in_reply_to"],
    )
