"""What a person may do with a workflow; SMS, command line, API and web all come through here.

Each works in the caller's transaction and raises WrongState, with a sentence that says what happened instead, when the
workflow is not in a state for it or somebody else was first. `said_at` is when the owner texted it: only a person who
is awake and texting makes what follows an answer, which goes out at any hour.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ..core import notices, notification, reasons, wording
from ..core.models import Workflow
from ..core.reply_headers import new_message_id
from ..core.states import Actor, State, may_follow
from ..errors import NotFound, WrongState
from ..store import emails, texts, workflows
from ..store.texts import Sort
from ..store.transaction import Transaction
from .account import check_may_edit, may_be_taken_back, refusal
from .desk import Desk, advance, offer_anew, tell, texting_room
from .letters import write_letter
from .pausing import resume_mail

# Where a failed workflow goes on: at the step that failed, never before it.
RETRY_FROM = {
    State.PENDING: State.AI_GENERATING,
    State.USER_EDIT_REQUESTED: State.AI_GENERATING,
    State.AI_GENERATING: State.AI_GENERATING,
    State.AI_GENERATED: State.SMS_SENDING,
    State.SMS_SENDING: State.SMS_SENDING,
    State.SMS_SENT: State.SMS_SENDING,
    State.USER_APPROVED: State.USER_APPROVED,
}


def find(tx: Transaction, name: str) -> Workflow:
    """Find a workflow by number or Message-ID and hold it; raises NotFound."""
    found = workflows.find(tx, name)
    held = workflows.hold(tx, found.id) if found else None
    if held is None:
        raise NotFound(name)
    return held


def approve(
    tx: Transaction,
    desk: Desk,
    workflow: Workflow,
    actor: Actor,
    *,
    delay: float = 0,
    said_at: datetime | None = None,
) -> None:
    """Approve a workflow's current draft: fingerprint what will be sent, and give the reply its Message-ID.

    The reply is due for sending `delay` seconds later.
    """
    email = emails.read(tx, workflow.message_id)
    if email is None or workflow.state is not State.AWAITING_USER:
        raise refusal(tx, desk, workflow)
    if not (workflow.draft_text or "").strip():
        raise WrongState(wording.no_draft_yet(workflow))
    _move(
        tx,
        desk,
        workflow,
        State.USER_APPROVED,
        actor,
        said_at=said_at,
        user_command="approve",
        approved_at=tx.now,
        approved_hash=write_letter(workflow, email, desk.policy).fingerprint,
        reply_message_id=new_message_id(f"{workflow.id}.{workflow.revision}.{desk.token()}", desk.policy.email_address),
        send_started_at=None,
        retry_count=0,
        next_attempt_at=tx.now + timedelta(seconds=delay) if delay else None,
        error_message=None,
    )


def edit(
    tx: Transaction,
    desk: Desk,
    workflow: Workflow,
    actor: Actor,
    instructions: str,
    *,
    said_at: datetime | None = None,
) -> None:
    """Have a draft rewritten; raises WrongState also when it was rewritten as often as is allowed."""
    if workflow.state is State.AWAITING_USER:
        check_may_edit(desk, workflow)
    _move(
        tx,
        desk,
        workflow,
        State.USER_EDIT_REQUESTED,
        actor,
        said_at=said_at,
        user_command="edit",
        user_edit_instructions=instructions,
        edit_iteration=workflow.edit_iteration + 1,
        retry_count=0,
        next_attempt_at=None,
        error_message=workflow.doubt,
    )
    tx.after_commit(lambda: desk.report(workflow.id, workflow.revision, "edit"))


def ignore(tx: Transaction, desk: Desk, workflow: Workflow, actor: Actor, *, said_at: datetime | None = None) -> None:
    """Leave an email unanswered, or give up a workflow that failed."""
    _move(
        tx,
        desk,
        workflow,
        State.USER_IGNORED,
        actor,
        said_at=said_at,
        reason=reasons.LEFT,
        user_command="ignore",
        error_message=workflow.doubt,
    )
    tx.after_commit(lambda: desk.report(workflow.id, workflow.revision, "ignore"))


def time_out(tx: Transaction, desk: Desk, workflow: Workflow, actor: Actor) -> None:
    """Close a draft that has waited long enough, and tell the owner."""
    _move(tx, desk, workflow, State.TIMEOUT, actor, remind_at=None)
    tell(tx, desk, Sort.NOTICE, notices.timed_out(workflow), workflow_id=workflow.id)


def undo(tx: Transaction, desk: Desk, workflow: Workflow, actor: Actor, *, said_at: datetime | None = None) -> None:
    """Take an approval back while the reply has not been handed to SMTP, now or ever.

    Its clocks start anew; those of a draft that was approved before it was texted once more start with that text.
    """
    if workflow.state is not State.USER_APPROVED or not may_be_taken_back(tx, workflow):
        raise refusal(tx, desk, workflow)
    was_on_its_way = workflow.timeout_at is None
    _move(
        tx,
        desk,
        workflow,
        State.AWAITING_USER,
        actor,
        said_at=said_at or tx.now,  # what was texted before is no answer any more, whoever takes it back
        reason=reasons.TAKEN_BACK,
        approved_hash=None,
        reply_message_id=None,
        next_attempt_at=None,
        retry_count=0,
        remind_at=None if was_on_its_way else tx.now + timedelta(seconds=desk.policy.response_timeout),
        timeout_at=None if was_on_its_way else tx.now + timedelta(seconds=desk.policy.final_timeout),
    )
    if was_on_its_way:
        offer_anew(tx, desk, workflow, wording.ONCE_MORE, said_at=said_at)


def retry(tx: Transaction, desk: Desk, workflow: Workflow, actor: Actor, *, said_at: datetime | None = None) -> None:
    """Let a failed workflow go on where it failed; end the rest of an approved reply, offer again what timed out."""
    if workflow.state is State.USER_APPROVED and resume_mail(tx, desk):
        return
    if workflow.state is State.TIMEOUT:
        offer_again(tx, desk, workflow, actor, said_at=said_at)
        return
    if workflow.state is not State.FAILED:
        raise refusal(tx, desk, workflow)
    start = State.SMS_SENDING if workflow.revision else State.AI_GENERATING
    goes_on = RETRY_FROM.get(workflow.previous_state or State.PENDING, start)
    _move(
        tx,
        desk,
        workflow,
        goes_on,
        actor,
        said_at=said_at,
        reason=reasons.TRIED_AGAIN,
        user_command="retry",
        retry_count=0,
        next_attempt_at=None,
        send_started_at=None,
        error_message=None if goes_on is State.USER_APPROVED else workflow.doubt,
        **({"offered_at": None} if goes_on is State.SMS_SENDING else {}),
    )
    resume_mail(tx, desk)
    if goes_on is State.SMS_SENDING:
        _offer_current(tx, desk, workflow, wording.offer_note(workflow))


def offer_again(
    tx: Transaction,
    desk: Desk,
    workflow: Workflow,
    actor: Actor,
    *,
    note: str = wording.ONCE_MORE,
    said_at: datetime | None = None,
) -> None:
    """Text a draft once more; one that timed out waits again, and an answer from before does not count for it."""
    if workflow.state is State.TIMEOUT:
        _move(
            tx,
            desk,
            workflow,
            State.AWAITING_USER,
            actor,
            said_at=said_at,
            reason=reasons.ASKED_FOR_AGAIN,
            offered_at=None,
            remind_at=None,
            timeout_at=None,
        )
    elif workflow.state is not State.AWAITING_USER:
        raise refusal(tx, desk, workflow)
    _offer_current(tx, desk, workflow, note, said_at)


def show_more(tx: Transaction, desk: Desk, workflow: Workflow, hidden: int, *, urgent: bool) -> None:
    """Text the last `hidden` characters of a draft."""
    rest = notification.compose_more(workflow.id, workflow.draft_text or "", hidden, desk.policy.style)
    texts.queue(tx, Sort.MORE, rest, urgent=urgent, workflow_id=workflow.id, revision=workflow.revision)
    tx.after_commit(lambda: desk.wake(texting_room(urgent)))


def _offer_current(tx: Transaction, desk: Desk, workflow: Workflow, note: str, said_at: datetime | None = None) -> None:
    current = workflows.get(tx, workflow.id)
    if current is not None:
        offer_anew(tx, desk, current, note, said_at=said_at)


def _move(
    tx: Transaction,
    desk: Desk,
    workflow: Workflow,
    state: State,
    actor: Actor,
    *,
    said_at: datetime | None = None,
    reason: str | None = None,
    **changes: Any,
) -> None:
    if said_at is not None:
        changes["user_responded_at"] = said_at
    allowed = may_follow(workflow.state, state)
    if allowed and workflow.texts_cleared_at is not None and state is not State.USER_IGNORED:
        raise WrongState(wording.texts_cleared(workflow))
    if not allowed or not advance(tx, desk, workflow, state, actor=actor, reason=reason, **changes):
        raise refusal(tx, desk, workflow)
