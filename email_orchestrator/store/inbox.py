"""The inbox: what the owner said, kept until it is acted on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..core.models import InboundText
from .transaction import Transaction


@dataclass(frozen=True, slots=True)
class Received:
    """A text of the inbox: when it was stored by the database's clock, and whether there are `more`."""

    id: int
    text: InboundText
    stored_at: datetime
    more: bool

    @property
    def said_at(self) -> datetime:
        """When it was written: a phone's clock may be fast, but nothing is here before that."""
        return min(self.text.received_at, self.stored_at)


def store_text(tx: Transaction, text: InboundText) -> bool:
    """Keep a text the owner sent; False when it is a repeat of one that is kept already."""
    stored = tx.row(
        "store_text",
        message_id=text.message_id,
        phone_number=text.phone_number,
        text=text.text,
        received_at=text.received_at,
    )
    return stored is not None


def next_text(tx: Transaction) -> Received | None:
    """Take the oldest text that can be acted on, and hold it until the transaction ends."""
    row = tx.row("next_text")
    if row is None:
        return None
    text = InboundText(row["message_id"], row["phone_number"], row["message"], row["received_at"])
    return Received(row["id"], text, row["stored_at"], row["more"])


def done(tx: Transaction, received: Received, outcome: str) -> None:
    """Record what came of a text, in a few words."""
    tx.defer("text_done", id=received.id, outcome=outcome)


def wait_for(tx: Transaction, received: Received, workflow_id: int) -> None:
    """Have a text wait until the sending of a workflow's draft is recorded."""
    tx.defer("text_waits_for", id=received.id, workflow_id=workflow_id)


def earlier_waits(tx: Transaction, received: Received) -> int | None:
    """Return the workflow that a text waits for which came before this one, or None."""
    row = tx.row("earlier_waits", id=received.id)
    return row["waits_for"] if row else None


def stumbled(tx: Transaction, received: Received) -> bool:
    """Count a failure to act on a text; True when it was the last one and the text is put aside."""
    row = tx.row("text_stumbled", id=received.id, error="could not be acted on")
    return row is not None and row["is_put_aside"]
