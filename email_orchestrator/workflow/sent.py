"""Sent: what follows once a reply is known to be out, whoever has its lease by then."""

from __future__ import annotations

from ..core import wording
from ..core.models import Workflow
from ..core.states import Actor, State, may_follow
from ..store import workflows
from ..store.texts import Sort
from ..store.transaction import Transaction
from ..store.workflows import Claimed
from .desk import Desk, advance, tell_of


def count_as_sent(tx: Transaction, desk: Desk, claimed: Claimed) -> bool:
    """Record that a reply is out, and tell the owner; False when somebody else made something else of the workflow."""
    workflow = claimed.workflow
    if not _move_to_sent(tx, desk, workflow, State.REPLY_SENT, claim=claimed.claim):
        current = workflows.hold(tx, workflow.id)
        if current is None or current.reply_message_id != workflow.reply_message_id:
            return False
        if current.state is State.REPLY_SENT:
            return True  # it was recorded, and the answer to that commit was lost
        doubted = current.doubt is not None and current.state is State.FAILED
        path = (State.USER_APPROVED, State.REPLY_SENT) if doubted else (State.REPLY_SENT,)
        if not may_follow(current.state, path[0]):
            return False
        _move_to_sent(tx, desk, current, *path)
    if desk.policy.confirm:
        tell_of(tx, desk, workflow, Sort.ANSWER, wording.sent(workflow))
    tx.after_commit(lambda: desk.report(workflow.id, workflow.revision, "approve"))
    return True


def _move_to_sent(tx: Transaction, desk: Desk, workflow: Workflow, *path: State, claim: str | None = None) -> bool:
    return advance(
        tx,
        desk,
        workflow,
        *path,
        actor=Actor.POLL,
        claim=claim,
        reply_sent_at=workflows.NOW,
        send_started_at=None,
        error_message=None,
    )
