"""Pausing: all mail rests while the account is in trouble, and no workflow is to blame."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from ..core import notices
from ..core.retry import pause_length
from ..errors import AccountError
from ..store import memory
from ..store.texts import Sort
from ..store.transaction import Transaction
from .desk import Desk, Room, tell

log = logging.getLogger(__name__)


def pause_mail(tx: Transaction, desk: Desk, error: AccountError, *, urgent: bool = False) -> None:
    """Let all mail rest for as long as the trouble asks for, and tell the owner when it begins."""
    before = memory.recall(tx, memory.MAIL_PAUSE) or {"pauses": 0}
    length = pause_length(error.trouble, before["pauses"])
    until = None if length is None else tx.now + timedelta(seconds=length)
    value = {
        "until": until or memory.UNTIL_A_PERSON_ACTS,
        "trouble": str(error.trouble),
        "pauses": before["pauses"] + 1,
        "message": error.message,
    }
    memory.remember(tx, memory.MAIL_PAUSE, value)
    tx.defer("text_instead")
    for room in (Room.TEXTING, Room.ANSWERING_BY_TEXT):
        tx.after_commit(partial(desk.wake, room))
    log.warning("%s; mail rests until %s", error, until or "the next start or a retry")
    if before.get("trouble") != error.trouble:
        text = notices.mail_paused(error.trouble, error.message, until, desk.policy)
        tell(tx, desk, Sort.NOTICE, text, urgent=urgent)


def resume_mail(tx: Transaction, desk: Desk) -> bool:
    """End a pause of all replies; False when there was none in force."""
    paused = memory.mail_is_paused(tx)
    memory.forget(tx, memory.MAIL_PAUSE)
    tx.after_commit(lambda: desk.wake(Room.REPLYING))
    return paused
