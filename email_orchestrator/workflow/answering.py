"""Answering: what the owner texted is acted on, one text after the other, and none blocks those behind it."""

from __future__ import annotations

import logging

from ..core import wording
from ..core.hours import is_answer
from ..errors import DatabaseUnavailable
from ..store import inbox
from ..store.inbox import Received
from ..store.texts import Sort
from .conversation import Conversation
from .desk import Desk, Room, tell
from .meaning import StillSending

log = logging.getLogger(__name__)


def answer_one(desk: Desk) -> bool:
    """Act on the oldest text of the inbox; False when there is none."""
    return _answer(desk)[0]


def answer_all(desk: Desk) -> None:
    """Act on all texts of the inbox: what the owner said in time counts before the clock and newer emails do."""
    while answer_one(desk):
        pass


def answer_in_turn(desk: Desk) -> bool:
    """Act on the oldest text of the inbox; True when there are more: look again."""
    return _answer(desk)[1]


def _answer(desk: Desk) -> tuple[bool, bool]:
    """Act on the oldest text of the inbox; returns whether there was one, and whether there may be more."""
    received: Received | None = None
    more = True
    try:
        with desk.database.transaction() as tx:
            received = inbox.next_text(tx)
            if received is None:
                return False, False
            outcome = Conversation(tx, desk, received).act()
            inbox.done(tx, received, outcome)
            # Replies rest while a text waits to be acted on.
            tx.after_commit(lambda: desk.wake(Room.REPLYING))
        # Not before: what the commit refused is tried again at once.
        more = received.more
        log.info("inbox %d: %s", received.id, outcome, extra={"fields": {"action": "answered", "outcome": outcome}})
    except StillSending as waiting:
        # In a transaction of its own: whatever the text was about to do or to end is undone.
        with desk.database.transaction() as tx:
            inbox.wait_for(tx, waiting.received, waiting.workflow_id)
    except DatabaseUnavailable:
        raise
    except Exception:
        if received is None:
            raise
        log.exception("inbox %d: it could not be acted on", received.id)
        _put_aside(desk, received)
    return True, more


def _put_aside(desk: Desk, received: Received) -> None:
    """Keep one bad text from blocking those behind it; the owner hears of it when it is given up."""
    with desk.database.transaction() as tx:
        if inbox.stumbled(tx, received):
            fresh = is_answer(tx.now, received.said_at)
            tell(tx, desk, Sort.ANSWER, wording.not_acted_on(received.text.text), urgent=fresh)
