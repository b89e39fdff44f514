"""Pausing: all mail rests while the account is in trouble, and no workflow is to blame."""

from __future__ import annotations

import logging
from datetime import timedelta

from ..core import notices
from ..core.retry import pause_length
from ..errors import AccountError
from ..store import mail_pause, texts
from ..store.mail_pause import UNTIL_A_PERSON_ACTS, Pause
from ..store.texts import Sort
from ..store.transaction import Transaction
from .desk import Desk, Room, call_for_texts, tell

log = logging.getLogger(__name__)


def pause_mail(tx: Transaction, desk: Desk, error: AccountError, *, urgent: bool = False) -> None:
    """Let all mail rest for as long as the trouble asks for, and tell the owner when it begins."""
    before = mail_pause.recall(tx)
    pauses = before.pauses if before else 0
    length = pause_length(error.trouble, pauses)
    until = None if length is None else tx.now + timedelta(seconds=length)
    pause = Pause(until or UNTIL_A_PERSON_ACTS, str(error.trouble), error.message, pauses + 1)
    mail_pause.remember(tx, pause)
    texts.text_instead(tx)
    call_for_texts(tx, desk)
    log.warning("%s; mail rests until %s", error, until or "the next start or a retry")
    if before is None or before.trouble != error.trouble:
        text = notices.mail_paused(error.trouble, error.message, until, desk.policy)
        tell(tx, desk, Sort.NOTICE, text, urgent=urgent)


def resume_mail(tx: Transaction, desk: Desk) -> bool:
    """End a pause of all replies; False when there was none in force."""
    paused = mail_pause.lasts(tx)
    mail_pause.forget(tx)
    tx.after_commit(lambda: desk.wake(Room.REPLYING))
    return paused
