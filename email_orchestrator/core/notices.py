"""The sentences that tell the owner something unasked, apart from the texts that offer a draft."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..errors import Trouble
from .hours import show_time
from .models import Workflow
from .policy import Policy
from .quoting import display_address
from .states import State
from .wording import about, fate, waiting_list


def failed(workflow: Workflow, reason: str) -> str:
    """Tell the owner that a workflow failed, and what to text."""
    stage = "send reply to" if workflow.state is State.USER_APPROVED else "prepare a reply to"
    whom = f"{display_address(workflow.sender)} (#{workflow.id})"
    return f'⚠️ Failed to {stage} {whom}: {reason}. Text "retry #{workflow.id}".'


def outcome_unknown(workflow: Workflow) -> str:
    """Ask the owner about a reply that may or may not be out."""
    return (
        f"⚠️ I cannot tell whether the reply to {display_address(workflow.sender)} (#{workflow.id}) went out: the "
        "connection broke at the last moment. Look into Sent Mail, then text "
        f'"retry #{workflow.id}" to send it again or "3 #{workflow.id}" to close it.'
    )


def changed_since(workflow: Workflow) -> str:
    """Tell the owner that what would be sent is not what was approved."""
    number = f"#{workflow.id}"
    if workflow.doubt:
        return (
            f"⚠️ {number} is no longer what you approved. It may be out already, as it was then: look into Sent Mail. "
            f"It comes again as it would go out now, and only 1 {number} sends that."
        )
    return f"⚠️ {number} was not sent: it is no longer what you approved. It comes again as it would go out now."


def not_texted(workflow: Workflow, reason: str) -> str:
    """Tell the owner, by email, that a draft could not be texted once more."""
    return f'⚠️ {about(workflow)} could not be texted again: {reason}. Text "again #{workflow.id}" to try once more.'


def closed_elsewhere(workflow: Workflow) -> str:
    """Tell the owner, who waits for a draft, that none comes any more."""
    return f"{about(workflow)} is closed: the email was dealt with elsewhere. {fate(workflow)}"


def timed_out(workflow: Workflow) -> str:
    """Tell the owner that a draft has waited long enough."""
    number = f"#{workflow.id}"
    return f"⌛ {about(workflow)} had no answer from you and is closed. {fate(workflow)} 1 {number} brings it back."


def reminder(workflows: Sequence[Workflow]) -> str:
    """Remind of several drafts at once."""
    return f'⏰ {waiting_list(workflows)}\n"again #{workflows[0].id}" shows its draft.'


def mail_paused(trouble: Trouble, message: str, until: datetime | None, policy: Policy) -> str:
    """Tell the owner that no reply goes out for now."""
    if until is None:
        return f'⚠️ The mail account does not let us in: {message}. Approved replies wait. Mend it, then text "retry".'
    what = "reached its daily limit" if trouble is Trouble.DAILY_LIMIT else "asks us to wait"
    return f"⚠️ The mail account {what}. Approved replies wait and go out by themselves from {show_time(until, policy)}."


def looks_like_a_loop(sender: str, count: int) -> str:
    """Tell the owner that a sender gets no further drafts for now."""
    who = display_address(sender)
    return f"⚠️ {who} got {count} replies in 3 hours. It may be a machine: further emails from it are left."
