"""Upkeep: reminders, timeouts, drafts whose text got lost, counts, and what a start puts right."""

from __future__ import annotations

import logging

from ..core import notices, wording
from ..core.states import Actor
from ..store import counting, mail_pause, standing
from ..store.texts import Sort
from . import actions
from .desk import Desk, is_quiet_now, offer, offer_anew, tell

log = logging.getLogger(__name__)


def start_anew(desk: Desk) -> None:
    """End a pause of all mail that only a person could end, who may have mended its cause before this start."""
    with desk.database.transaction() as tx:
        pause = mail_pause.recall(tx)
        if pause and pause.waits_for_a_person:
            mail_pause.forget(tx)


def check_timeouts(desk: Desk) -> None:
    """Close drafts that waited too long, and remind of those that wait."""
    with desk.database.transaction() as tx:
        for workflow in standing.overdue_timeouts(tx):
            actions.time_out(tx, desk, workflow, Actor.TIMER)
        # In quiet hours reminders gather, to be one text in the morning.
        due = [] if is_quiet_now(tx, desk) else standing.overdue_reminders(tx)
        if len(due) == 1:
            offer(tx, desk, due[0], wording.REMINDER, sort=Sort.REMINDER)
        elif due:
            tell(tx, desk, Sort.NOTICE, notices.reminder(due))
        if due:
            standing.reminded(tx, due)


def offer_stranded(desk: Desk) -> bool:
    """Text drafts anew whose text is no longer in the outbox; True when there were any."""
    with desk.database.transaction() as tx:
        stranded = standing.stranded(tx)
        for workflow in stranded:
            log.warning("workflow %d: its draft had no text on the way", workflow.id)
            offer_anew(tx, desk, workflow, wording.offer_note(workflow))
    return bool(stranded)


def count_closed(desk: Desk) -> None:
    """Count the closed workflows, so that nobody who asks for their number has to."""
    with desk.database.transaction() as tx:
        counting.count_closed(tx)
