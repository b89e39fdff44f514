"""What happens to a workflow next, and when: a sentence for the page of one workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..core.hours import is_quiet, show_moment
from ..core.models import Workflow
from ..core.policy import Policy
from ..core.states import OCCUPIED, State
from ..store import mail_pause, texts
from ..store.counting import counts_by_state
from ..store.mail_pause import Pause
from ..store.transaction import Transaction
from . import output


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What decides about a workflow beside its own row.

    `occupied` counts the drafts that new ones have to wait for, `text` is the workflow's next text to the owner, and
    `mail_pause` why and until when all replies rest.
    """

    now: datetime
    occupied: int = 0
    text: texts.Due | None = None
    mail_pause: Pause | None = None


def look_around(tx: Transaction, workflow: Workflow) -> Surroundings:
    """Read what decides about a workflow beside its own row, as far as its state asks for it."""
    match workflow.state:
        case State.PENDING:
            return Surroundings(tx.now, occupied=sum(counts_by_state(tx, OCCUPIED).values()))
        case State.AWAITING_USER if not workflow.is_on_its_way:
            return Surroundings(tx.now)
        case State.AI_GENERATED | State.SMS_SENDING | State.SMS_SENT | State.AWAITING_USER:
            return Surroundings(tx.now, text=texts.due(tx, workflow.id))
        case State.USER_APPROVED:
            return Surroundings(tx.now, mail_pause=mail_pause.recall(tx))
        case _:
            return Surroundings(tx.now)


def next_step(workflow: Workflow, policy: Policy, around: Surroundings) -> str:
    """Say what happens to a workflow next, and when."""
    met = around.text.error if around.text else None
    name, trouble = workflow.id, output.one_line(workflow.error or met or "")
    match workflow.state:
        case State.PENDING | State.AI_GENERATING | State.USER_EDIT_REQUESTED:
            step = _drafting(workflow, policy, around)
        case State.AWAITING_USER if not workflow.is_on_its_way:
            step = f"the owner answers{_deadlines(workflow, policy, around.now)}"
        case State.AI_GENERATED | State.SMS_SENDING | State.SMS_SENT | State.AWAITING_USER:
            step = _texting(policy, around)
        case State.USER_APPROVED:
            step = _replying(workflow, policy, around)
        case _ if workflow.texts_cleared_at:
            return f"nothing; its texts were cleared {show_moment(workflow.texts_cleared_at, policy)}"
        case State.TIMEOUT:
            return f'nothing; the owner\'s "again #{name}" or `email-orchestrator retry {name}` brings the draft back'
        case State.FAILED if workflow.doubt:
            return (
                f"nothing by itself: the reply may be out, look into Sent Mail; `email-orchestrator retry {name}` "
                f"sends it again with the same Message-ID, `ignore {name}` closes it"
            )
        case State.FAILED:
            step = f"nothing by itself; `email-orchestrator retry {name}` goes on, `ignore {name}` gives it up"
        case _:
            return "nothing, it is finished" + (f" ({trouble})" if trouble else "")
    return step + (f" (last trouble: {trouble})" if trouble else "")


def _drafting(workflow: Workflow, policy: Policy, around: Surroundings) -> str:
    if workflow.claimed_by:
        return "a draft is being written"
    if workflow.state is State.PENDING and around.occupied >= policy.max_awaiting:
        return f"a draft is written once fewer than {policy.max_awaiting} others are under way or wait for the owner"
    return f"a draft is written {_when(workflow.next_attempt_at, policy, around.now)}"


def _texting(policy: Policy, around: Surroundings) -> str:
    step = "the draft is texted to the owner"
    if around.text is None:
        return step
    if around.text.waits_for_morning and policy.quiet_hours and is_quiet(around.now, policy):
        return f"{step} when the quiet hours are over, at {policy.quiet_hours[1]:%H:%M}"
    return f"{step} {_when(around.text.at, policy, around.now)}"


def _replying(workflow: Workflow, policy: Policy, around: Surroundings) -> str:
    if workflow.claimed_by:
        return "the reply is being handed to the mail server"
    if workflow.send_started_at:
        return "Sent Mail is looked into, for the reply may be out"
    due = workflow.next_attempt_at or around.now
    if around.mail_pause:
        if around.mail_pause.waits_for_a_person:
            why = output.one_line(around.mail_pause.message)
            return f"the reply is sent once the mail account lets us in ({why})"
        due = max(due, around.mail_pause.until)
    return f"the reply is sent {_when(due, policy, around.now)}; `email-orchestrator undo {workflow.id}` takes it back"


def _deadlines(workflow: Workflow, policy: Policy, now: datetime) -> str:
    ends = (("reminder", workflow.remind_at), ("timeout", workflow.timeout_at))
    known = [f"{name} {_when(at, policy, now)}" for name, at in ends if at]
    return f"; {', '.join(known)}" if known else ""


def _when(at: datetime | None, policy: Policy, now: datetime) -> str:
    return f"at {show_moment(at, policy)}" if at and at > now else "now"
