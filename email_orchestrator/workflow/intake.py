"""Intake: new emails become workflows, or a recorded reason why not."""

from __future__ import annotations

import logging
import math
from datetime import datetime, timedelta

from ..core import wording
from ..core.clean import clean_line
from ..core.lookback import window_start
from ..core.models import Email
from ..core.preview import make_preview
from ..core.senders import parse_sender, why_skipped
from ..core.states import Actor, State
from ..store import emails, memory, workflows
from ..store.connection import DataRefused, Transaction
from ..store.emails import Taken, Taking
from ..store.texts import Sort
from .desk import Desk, Room, advance, tell
from .ports import Monitor

log = logging.getLogger(__name__)

LOOP_SPAN = timedelta(hours=3)


def poll(desk: Desk, monitor: Monitor | None, lookback_hours: float | None = None) -> int:
    """Take new emails, oldest first; returns how many workflows there are more.

    Without a `monitor` the pending rows are read directly. `lookback_hours` reaches further back than the policy
    does. Raises ServiceError when the Email Monitor is away; the window then grows until it is back.
    """
    with desk.database.transaction() as tx:
        last = memory.recall(tx, memory.LAST_POLL)
        now = tx.now
    since = window_start(last, now, lookback_hours or desk.policy.poll_lookback_hours)
    ids = None
    if monitor is not None:
        ids = monitor.pending_ids(math.ceil((now - since) / timedelta(hours=1)))
    limit = desk.policy.max_emails_per_poll
    with desk.database.transaction() as tx:
        fresh = emails.new_emails(tx, ids=ids, since=None if monitor else since, limit=limit)
    taken = _take(desk, fresh)
    with desk.database.transaction() as tx:
        # What the limit left for the next round must not fall out of the window meanwhile.
        memory.remember(tx, memory.LAST_POLL, {"at": now, "unfinished_since": since if len(fresh) == limit else None})
    return taken


def _take(desk: Desk, fresh: list[Email]) -> int:
    """Take all emails at once, or one by one when something about one of them is refused."""
    if not fresh:
        return 0
    try:
        return _take_together(desk, fresh)
    except DataRefused:
        if len(fresh) == 1:
            return _take_as_failed(desk, fresh[0])
    return sum(_take(desk, [email]) for email in fresh)


def _take_together(desk: Desk, fresh: list[Email]) -> int:
    with desk.database.transaction() as tx:
        takings = [_decide(tx, desk, email) for email in fresh]
        taken = emails.take(tx, takings)
        by_id = {taking.message_id: taking for taking in takings}
        for one in taken:
            _after_taking(tx, desk, one, by_id[one.message_id])
        tx.after_commit(lambda: desk.wake(Room.DRAFTING))
    return len(taken)


def _take_as_failed(desk: Desk, email: Email) -> int:
    log.warning("an email received at %s could not be taken in", email.received_at.isoformat())
    taking = Taking(email.message_id, "", "", "", "", None, State.FAILED, "the email cannot be read")
    with desk.database.transaction() as tx:
        taken = emails.take(tx, [taking])
        for one in taken:
            _after_taking(tx, desk, one, taking)
    return len(taken)


def _decide(tx: Transaction, desk: Desk, email: Email) -> Taking:
    """Decide what becomes of an email; one that cannot be handled fails alone, with its reason."""
    name, address = parse_sender(email.sender) or ("", clean_line(email.sender))
    state, reason, subject, preview = State.PENDING, _why_left(tx, desk, email, address), "", ""
    try:
        subject = clean_line(email.subject)
        if reason is None:
            preview = make_preview(email.body_text, email.body_html)
        else:
            state = State.USER_IGNORED
    except Exception as error:
        log.exception("an email received at %s could not be read", email.received_at.isoformat())
        state, reason = State.FAILED, f"the email cannot be read ({type(error).__name__})"
    return Taking(email.message_id, subject, address, name, preview, email.thread_id, state, reason)


def _why_left(tx: Transaction, desk: Desk, email: Email, address: str) -> str | None:
    policy = desk.policy
    reason = why_skipped(
        email.sender, email.message_id, policy.email_address, policy.skip_senders, policy.allow_senders
    )
    if reason is not None:
        return reason
    replies = emails.count_replies(tx, address, tx.now - LOOP_SPAN)
    if replies < policy.max_replies_per_sender:
        return None
    key = f"loop {address.lower()}"
    told = memory.recall(tx, key)
    if told is None or tx.now - datetime.fromisoformat(told["at"]) > LOOP_SPAN:
        memory.remember(tx, key, {"at": tx.now})
        tell(tx, desk, Sort.NOTICE, wording.looks_like_a_loop(address, replies))
    return f"{replies} replies to this sender in 3 hours look like a loop"


def _after_taking(tx: Transaction, desk: Desk, taken: Taken, taking: Taking) -> None:
    """Log what was taken, and close what it overtakes."""
    fields = {"action": "taken", "workflow": taken.id, "state": str(taken.state)}
    tx.after_commit(
        lambda: log.info(
            "workflow %d: taken as %s%s",
            taken.id,
            taken.state,
            f": {taking.reason}" if taking.reason else "",
            extra={"fields": fields},
        )
    )
    if taken.state is State.FAILED:
        workflow = workflows.get(tx, taken.id)
        if workflow is not None:
            tell(tx, desk, Sort.NOTICE, wording.failed(workflow, taking.reason or ""))
    if taken.state is not State.PENDING or not taking.thread_id:
        return
    older = workflows.select(tx, "overtaken", sender=taking.sender, thread_id=taking.thread_id, id=taken.id)
    for workflow in older:
        reason = f"superseded by #{taken.id}"
        if advance(tx, desk, workflow, State.USER_IGNORED, actor=Actor.POLL, reason=reason, error_message=reason):
            tx.run("supersedes", id=taken.id, older=workflow.id)
