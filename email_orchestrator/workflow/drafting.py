"""Drafting: a workflow that needs a draft gets one, and the draft goes into the outbox.

Leases and drafts are committed asynchronously: nothing leaves the house because of a draft before its text is leased,
and one that went down with the server is asked for once more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ..core import notices, reasons, wording
from ..core.edit_context import edit_context
from ..core.models import GeneratedDraft
from ..core.retry import retry_delay
from ..core.states import Actor, State
from ..errors import DatabaseUnavailable, ServiceError
from ..store import drafts, workflows
from ..store.texts import Sort
from ..store.transaction import Transaction
from ..store.workflows import IN_WORK, Claimed
from .desk import Desk, Room, advance, give_up, offer, tell_of
from .ports import Generator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A leased workflow, and what its draft is to be written from beside the email."""

    claimed: Claimed
    context: str | None


def draft_one(desk: Desk, generator: Generator) -> bool:
    """Have the next draft written and put it on its way to the owner; False when no workflow needs one now."""
    with desk.database.transaction() as tx:
        tx.commit_asynchronously()
        job = _claim(tx, desk)
    if job is None:
        return False
    _draft(desk, generator, job, in_turn=False)
    return True


def draft_in_turn(desk: Desk, generator: Generator) -> bool:
    """Draft one after the other; True: look again.

    Where another was waiting, it is leased in the transaction that records the last.
    """
    with desk.database.transaction() as tx:
        tx.commit_asynchronously()
        job = _claim(tx, desk)
    looked = True
    while job is not None:
        job, looked = _draft(desk, generator, job, in_turn=True)
    return not looked


def _claim(tx: Transaction, desk: Desk) -> Job | None:
    policy = desk.policy
    claimed = workflows.claim_drafting(tx, desk.claim(), policy.lease_seconds, policy.max_awaiting)
    if claimed is None:
        return None
    if claimed.more:
        tx.after_commit(lambda: desk.wake(Room.DRAFTING))
    context = None
    if claimed.workflow.revision:
        kept = drafts.of_workflow(tx, claimed.workflow.id)
        wishes = [draft.instructions for draft in kept if draft.instructions]
        wishes.append(claimed.workflow.edit_instructions or "")
        context = edit_context(claimed.workflow.draft_text or "", wishes)
    return Job(claimed, context)


def _draft(desk: Desk, generator: Generator, job: Job, *, in_turn: bool) -> tuple[Job | None, bool]:
    """Have a draft written; returns the next job, and whether one was looked for."""
    policy, claimed = desk.policy, job.claimed
    if claimed.email_status != IN_WORK:
        _close(desk, claimed)
        return None, False
    try:
        draft = generator.generate(claimed.workflow.message_id, policy.tone, policy.max_length, job.context)
        # Where none was left a moment ago, the draft goes on its way first.
        in_turn = in_turn and claimed.more and not desk.wait(0)
        with desk.database.transaction() as tx:
            tx.commit_asynchronously()
            _record(tx, desk, claimed, draft)
            return (_claim(tx, desk) if in_turn else None), in_turn
    except ServiceError as error:
        _record_failure(desk, claimed, error)
    except DatabaseUnavailable:
        raise
    except Exception as error:
        log.exception("workflow %d: its draft could not be handled", claimed.workflow.id)
        with desk.database.transaction() as tx:
            give_up(tx, desk, claimed.workflow, reasons.draft_not_handled(error), claimed.claim)
    return None, False


def _record(tx: Transaction, desk: Desk, claimed: Claimed, draft: GeneratedDraft) -> None:
    workflow = claimed.workflow
    revision = workflow.revision + 1
    moved = advance(
        tx,
        desk,
        workflow,
        State.AI_GENERATED,
        State.SMS_SENDING,
        actor=Actor.POLL,
        claim=claimed.claim,
        draft_revision=revision,
        ai_reply_text=draft.text,
        ai_reply_generated_at=workflows.NOW,
        hidden_chars=0,
        offered_at=None,
        sms_sent_at=None,
        retry_count=0,
        next_attempt_at=None,
        error_message=workflow.doubt,
    )
    if not moved:
        return
    instructions = workflow.edit_instructions if workflow.revision else None
    drafts.add(tx, workflow.id, revision, draft, instructions)
    current = replace(workflow, revision=revision, draft_text=draft.text)
    offer(tx, desk, current, wording.offer_note(current))


def _record_failure(desk: Desk, claimed: Claimed, error: ServiceError) -> None:
    workflow = claimed.workflow
    failures = workflow.attempts + 1
    delay = retry_delay(failures, error.kind, desk.policy.max_retry_attempts, desk.chance(), error.retry_after)
    with desk.database.transaction() as tx:
        if delay is None:
            give_up(tx, desk, workflow, str(error), claimed.claim)
        elif workflows.postpone(tx, claimed, delay=delay, attempts=failures, error=workflow.doubt or str(error)):
            log.warning("workflow %d: %s; trying again in %.0f s", workflow.id, error, delay)


def _close(desk: Desk, claimed: Claimed) -> None:
    """Close a workflow whose email is no longer ours; the owner hears of it who waits for a draft."""
    workflow = claimed.workflow
    reason = reasons.dealt_with_elsewhere(claimed.email_status)
    with desk.database.transaction() as tx:
        closed = advance(
            tx,
            desk,
            workflow,
            State.USER_IGNORED,
            actor=Actor.POLL,
            reason=reason,
            claim=claimed.claim,
            error_message=workflow.doubt or reason,
        )
        if closed and (workflow.revision or workflow.responded_at):
            tell_of(tx, desk, workflow, Sort.NOTICE, notices.closed_elsewhere(workflow))
