"""What the database server says of itself, read only: version, rights, what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .transaction import Transaction

# What we do with each table and sequence. The Email Monitor's table is read, and its status and bodies written.
RIGHTS: dict[str, tuple[str, ...]] = {
    "processed_emails": ("SELECT", "UPDATE"),
    **dict.fromkeys(("workflow_state", "workflow_event", "draft"), ("SELECT", "INSERT", "UPDATE")),
    **dict.fromkeys(("sms_inbox", "sms_outbox", "service_state"), ("SELECT", "INSERT", "UPDATE", "DELETE")),
    "schema_version": ("SELECT",),
    **dict.fromkeys(
        ("workflow_state_id_seq", "workflow_event_id_seq", "sms_inbox_id_seq", "sms_outbox_id_seq"), ("USAGE",)
    ),
}
EMAIL_COLUMNS = (
    *("id", "message_id", "subject", "from_address", "received_at", "status", "thread_id", "in_reply_to"),
    *("body_text", "body_html", "reply_draft"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A database server: `number` is its version as PostgreSQL counts (150006 for 15.6), `now` its clock.

    `may_create` says whether our user may make tables where it would make them.
    """

    number: int
    version: str
    user: str
    database: str
    read_only: bool
    may_create: bool
    now: datetime


def describe(tx: Transaction) -> Server:
    """Return what the server says of itself."""
    row = tx.row("server") or {}
    return Server(**row)


def missing_rights(tx: Transaction) -> list[str]:
    """List what our user may not do with the tables and sequences that there are: `INSERT on draft`."""
    pairs = [(relation, right) for relation, rights in RIGHTS.items() for right in rights]
    rows = tx.rows("missing_rights", relations=[one for one, _ in pairs], rights=[right for _, right in pairs])
    return [f"{row['right']} on {row['relation']}" for row in rows]


def missing_email_columns(tx: Transaction) -> Sequence[str]:
    """List the columns that the Email Monitor's table lacks."""
    return [row["name"] for row in tx.rows("missing_email_columns", columns=list(EMAIL_COLUMNS))]
