"""Meaning: which draft a text of the owner's can have been about when it was written.

Texts may be read long after they were written, and in another order. All moments are compared in whole seconds, which
is all that a phone tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..core.models import Workflow
from ..core.states import State
from ..store import standing
from ..store.inbox import Received
from ..store.transaction import Transaction
from . import account


class StillSending(Exception):
    """The draft that is answered is on the phone, but our record of its sending is not committed yet."""

    def __init__(self, received: Received, workflow_id: int) -> None:
        self.received = received
        self.workflow_id = workflow_id


def is_earlier(written: datetime, moment: datetime) -> bool:
    """Say whether a text was written in an earlier second than something happened."""
    return _second(written) < _second(moment)


def answers(workflow: Workflow, written: datetime) -> bool:
    """Say whether the owner can have seen the current draft when writing, and has said nothing later since."""
    if not _had(workflow, written):
        return False
    return not had_a_later_word(workflow, written)


def had_a_later_word(workflow: Workflow, written: datetime) -> bool:
    """Say whether the owner had a later word about a workflow than this one."""
    return workflow.responded_at is not None and is_earlier(written, workflow.responded_at)


def is_outdated(workflow: Workflow, written: datetime, begun: datetime) -> bool:
    """Say whether the owner wrote before the draft was on its way to the phone, or before a later word about it.

    A command that a later text completed was `begun` before it, and is about the draft that there was then.
    """
    if workflow.state is State.AWAITING_USER and workflow.is_still_to_come:
        return is_earlier(written, max(workflow.updated_at, workflow.responded_at or workflow.updated_at))
    if workflow.state is State.AWAITING_USER or (workflow.state is State.SMS_SENDING and workflow.offered_at):
        return not answers(workflow, written) or not _had(workflow, begun)
    decided = workflow.state in (State.USER_APPROVED, State.REPLY_SENT, State.USER_IGNORED, State.TIMEOUT)
    return not decided and had_a_later_word(workflow, written)


def may_be_meant(tx: Transaction, offered: Sequence[Workflow], written: datetime) -> set[int]:
    """List the drafts that a text without a number can be about, by number.

    These are the ones of `offered` that it can answer or that are just coming again, and those that wait no more, which
    the owner did not know when writing.
    """
    waiting = {workflow.id for workflow in offered if answers(workflow, written) or workflow.is_still_to_come}
    return waiting | standing.no_longer_waiting(tx, _second(written))


def may_be_undone(tx: Transaction, written: datetime) -> list[Workflow]:
    """List the approved replies that an undo without a number can be about: those it can stop, if there are any."""
    approved = [workflow for workflow in standing.approved(tx) if not had_a_later_word(workflow, written)]
    can_be_stopped = [
        workflow for workflow in approved if account.may_be_taken_back(tx, workflow) or account.is_in_hand(tx, workflow)
    ]
    return can_be_stopped or approved


def _had(workflow: Workflow, moment: datetime) -> bool:
    """Say whether the current draft was handed to the gateway by then."""
    return workflow.offered_at is not None and not is_earlier(moment, workflow.offered_at)


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
