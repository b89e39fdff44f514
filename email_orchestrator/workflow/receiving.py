"""Receiving: what the owner texts gets into the inbox, by the webhook or else from the gateway's history."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from ..core.clean import clean_line, clean_text
from ..core.models import InboundText
from ..core.phone import is_owner, mask
from ..store import inbox, memory
from ..store.transaction import Transaction
from .desk import Desk, Room
from .ports import Gateway

log = logging.getLogger(__name__)

# Of an id no more is kept: a longer one is no reason to lose a text.
LONGEST_ID = 200
# Texts are read again from before the last round: the gateway may list one late, and repeats are recognised.
OVERLAP = timedelta(minutes=10)


class Receipt(StrEnum):
    """What became of a text that came in."""

    KEPT = "kept"
    REPEATED = "repeated"
    STRANGER = "stranger"


def receive(desk: Desk, text: InboundText) -> Receipt:
    """Keep a text before it is acknowledged; one that is not the owner's is only noted in the log."""
    if not is_owner(text.phone_number, desk.policy.phone_number):
        log.warning("a text from %s is not the owner's and is ignored", mask(text.phone_number))
        return Receipt.STRANGER
    with desk.database.transaction() as tx:
        return Receipt.KEPT if _keep(tx, desk, text) else Receipt.REPEATED


def fetch_missed_texts(desk: Desk, gateway: Gateway) -> int:
    """Read the gateway's history for texts that the webhook missed; returns how many there were.

    The first round on a new database only marks where to begin: what came before is none of ours, then and later.
    Raises ServiceError when the gateway is away; the next round then reads further back.
    """
    with desk.database.transaction() as tx:
        now = tx.now
        last = memory.recall(tx, memory.LAST_RECONCILE) or dict.fromkeys(("at", "begun"), now.isoformat())
    since = datetime.fromisoformat(last["at"]) - OVERLAP
    begun = last.get("begun")
    if begun is not None:
        since = max(since, datetime.fromisoformat(begun))
    seen = [text for text in gateway.incoming(since) if is_owner(text.phone_number, desk.policy.phone_number)]
    with desk.database.transaction() as tx:
        missed = sum(_keep(tx, desk, text) for text in seen)
        memory.remember(tx, memory.LAST_RECONCILE, {"at": now, "begun": begun})
    if missed:
        log.warning("texts of the owner that had been missed and were fetched from the gateway: %d", missed)
    return missed


def _keep(tx: Transaction, desk: Desk, text: InboundText) -> bool:
    # The owner's number is kept in one spelling, so that one text is recognised however it is delivered.
    cleaned = replace(
        text,
        message_id=clean_line(text.message_id)[:LONGEST_ID],
        phone_number=desk.policy.phone_number,
        text=clean_text(text.text),
    )
    kept = inbox.store_text(tx, cleaned)
    if kept:
        tx.after_commit(lambda: desk.wake(Room.ANSWERING))
    return kept
