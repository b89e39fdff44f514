"""Intake: new emails become workflows, or a recorded reason why not."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from ..core import notices, reasons
from ..core.clean import clean_line
from ..core.lookback import window_start
from ..core.models import Email
from ..core.preview import make_preview
from ..core.senders import parse_sender, why_skipped
from ..core.states import Actor, State
from ..store import emails, memory, workflows
from ..store.emails import Taken, Taking
from ..store.texts import Sort
from ..store.transaction import Transaction
from ..store.trouble import DataRefused
from .desk import Desk, Room, advance, tell
from .ports import Monitor

log = logging.getLogger(__name__)

LOOP_SPAN = timedelta(hours=3)
# How many emails are taken in one transaction.
PORTION = 50


class Arrivals:
    """Notices between two polls that the Email Monitor has written down another email."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._newest: int | None = None

    def any(self) -> bool:
        """Say whether an email came in since this was last asked; not when it never was."""
        with self._desk.database.transaction() as tx:
            newest = emails.newest(tx)
        came, self._newest = self._newest not in (None, newest), newest
        return came


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
        ids = monitor.pending_ids((now - since) / timedelta(hours=1))
    limit = desk.policy.max_emails_per_poll
    with desk.database.transaction() as tx:
        waiting = emails.new_ids(tx, ids=ids, since=None if monitor else since, limit=limit)
        if not waiting:
            _remember_poll(tx, now, None)
            return 0
    # In portions: drafting begins with the first of them, and the bodies of a large inbox are not held all at once.
    taken = sum(_take(desk, waiting[n : n + PORTION]) for n in range(0, len(waiting), PORTION))
    with desk.database.transaction() as tx:
        # What the limit left for the next round must not fall out of the window meanwhile.
        _remember_poll(tx, now, since if len(waiting) == limit else None)
    return taken


def _remember_poll(tx: Transaction, at: datetime, unfinished_since: datetime | None) -> None:
    # It is never on the disk without what was taken before it; where it is lost, the next poll reaches further back.
    tx.commit_asynchronously()
    memory.remember(tx, memory.LAST_POLL, {"at": at, "unfinished_since": unfinished_since})


def _take(desk: Desk, ids: list[str]) -> int:
    """Take emails all at once, or one by one when something about one of them is refused."""
    try:
        return _take_together(desk, ids)
    except DataRefused:
        if len(ids) == 1:
            return _take_as_failed(desk, ids[0])
    return sum(_take(desk, [one]) for one in ids)


def _take_together(desk: Desk, ids: list[str]) -> int:
    with desk.database.transaction() as tx:
        # What is lost is still pending, and taken again.
        tx.commit_asynchronously()
        fresh = emails.new_emails(tx, ids)
        parsed = {email.message_id: parse_sender(email.sender) or ("", clean_line(email.sender)) for email in fresh}
        replies = emails.count_replies(tx, [address for _, address in parsed.values()], tx.now - LOOP_SPAN)
        takings = []
        for email in fresh:
            name, address = parsed[email.message_id]
            reason = _why_left(tx, desk, email, address, replies.get(address.lower(), 0))
            takings.append(_decide(email, name, address, reason))
        taken = emails.take(tx, takings)
        _after_taking(tx, desk, taken, takings)
        tx.after_commit(lambda: desk.wake(Room.DRAFTING))
    return len(taken)


def _take_as_failed(desk: Desk, message_id: str) -> int:
    log.warning("an email could not be taken in")
    taking = Taking(message_id, "", "", "", "", None, State.FAILED, "the email cannot be read")
    with desk.database.transaction() as tx:
        taken = emails.take(tx, [taking])
        _after_taking(tx, desk, taken, [taking])
    return len(taken)


def _decide(email: Email, name: str, address: str, reason: str | None) -> Taking:
    """Decide what becomes of an email; one that cannot be handled fails alone, with its reason."""
    state, subject, preview = State.PENDING, "", ""
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


def _why_left(tx: Transaction, desk: Desk, email: Email, address: str, replies: int) -> str | None:
    policy = desk.policy
    reason = why_skipped(
        email.sender, email.message_id, policy.email_address, policy.skip_senders, policy.allow_senders
    )
    if reason is not None:
        return reason
    if replies < policy.max_replies_per_sender:
        return None
    key = f"loop {address.lower()}"
    told = memory.recall(tx, key)
    if told is None or tx.now - datetime.fromisoformat(told["at"]) > LOOP_SPAN:
        memory.remember(tx, key, {"at": tx.now})
        tell(tx, desk, Sort.NOTICE, notices.looks_like_a_loop(address, replies))
    return f"{replies} replies to this sender in 3 hours look like a loop"


def _after_taking(tx: Transaction, desk: Desk, taken: list[Taken], takings: list[Taking]) -> None:
    """Log what was taken, tell of what failed, and close what was overtaken."""
    by_id = {taking.message_id: taking for taking in takings}
    for one in taken:
        _note(tx, desk, one, by_id[one.message_id])
    replaces: dict[int, int] = {}
    for newer, workflow in workflows.overtaken(tx, [one.id for one in taken if one.state is State.PENDING]):
        reason = reasons.superseded_by(newer)
        trouble = workflow.doubt or reason
        if advance(tx, desk, workflow, State.USER_IGNORED, actor=Actor.POLL, reason=reason, error_message=trouble):
            # What the owner never saw may itself have replaced what the owner has, perhaps in this very poll.
            was_seen = workflow.offered_at or workflow.sms_sent_at or workflow.revision > 1
            seen = workflow.id if was_seen else replaces.get(workflow.id, workflow.supersedes)
            replaces[newer] = seen or replaces.get(newer) or workflow.id
            workflows.note_superseded(tx, newer, replaces[newer])


def _note(tx: Transaction, desk: Desk, taken: Taken, taking: Taking) -> None:
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
            tell(tx, desk, Sort.NOTICE, notices.failed(workflow, taking.reason or ""))
