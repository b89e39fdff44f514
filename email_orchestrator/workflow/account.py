"""Account: what became of a workflow, and what can still be done about it."""

from __future__ import annotations

from datetime import datetime

from ..core import wording
from ..core.models import Workflow
from ..core.states import State
from ..errors import WrongState
from ..store import mail_pause, workflows
from ..store.mail_pause import Pause
from ..store.transaction import Transaction
from .desk import Desk


def what_happened(tx: Transaction, desk: Desk, workflow: Workflow) -> str:
    """Say what became of a workflow, and of an approved one why it waits and how to stop it."""
    # Where a reply may be out, the row says that, and only the history why the workflow was closed.
    closed_in_doubt = workflow.state is State.USER_IGNORED and workflow.doubt
    reason = workflows.events(tx, workflow.id)[-1].reason if closed_in_doubt else None
    happened = wording.how_it_stands(workflow, desk.policy, reason)
    if workflow.state is State.USER_APPROVED and workflow.send_started_at is None:
        due = workflow.next_attempt_at or tx.now
        happened = mail_rests(tx, desk, workflow, mail_pause.recall(tx), due) or happened
        if may_be_taken_back(tx, workflow):
            happened = f"{happened} {wording.how_to_stop(workflow)}"
    return happened


def refusal(tx: Transaction, desk: Desk, workflow: Workflow) -> WrongState:
    """Make the error that says what happened to a workflow, from its row as it is now."""
    return WrongState(what_happened(tx, desk, workflows.get(tx, workflow.id) or workflow))


def may_be_taken_back(tx: Transaction, workflow: Workflow) -> bool:
    """Say whether the reply of an approved workflow was not handed to SMTP, now or ever."""
    return workflow.send_started_at is None and not workflows.may_have_gone_out(tx, workflow.id)


def is_in_hand(tx: Transaction, workflow: Workflow) -> bool:
    """Say whether a reply is being handed to SMTP for the first time, which may yet not take it."""
    in_hand = workflow.state is State.USER_APPROVED and workflow.send_started_at is not None
    return in_hand and not workflow.doubt and not workflows.may_have_gone_out(tx, workflow.id)


def check_may_edit(desk: Desk, workflow: Workflow) -> None:
    """Raise WrongState when a draft was rewritten as often as is allowed."""
    if workflow.edit_iteration >= desk.policy.max_edit_iterations:
        raise WrongState(wording.too_many_edits(workflow))


def mail_rests(tx: Transaction, desk: Desk, workflow: Workflow, pause: Pause | None, due: datetime) -> str | None:
    """Say of a reply, `due` at a moment, that it waits because of a pause of all mail; None when that is over."""
    if pause is None or not pause.lasts(tx.now):
        return None
    until = None if pause.waits_for_a_person else max(pause.until, due)
    return wording.waits_for_mail(workflow, until, desk.policy)
