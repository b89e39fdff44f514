"""What every step and action works with, and what most of them do: move a workflow, tell the owner."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from .. import clock
from ..core import notices, notification
from ..core.hours import is_answer, is_quiet
from ..core.models import Composed, Workflow
from ..core.policy import Policy
from ..core.states import OUTCOME_UNKNOWN, Actor, State
from ..errors import DatabaseUnavailable
from ..store import texts, workflows
from ..store.connection import Database
from ..store.transaction import Transaction

log = logging.getLogger(__name__)
T = TypeVar("T")

# The database's clock, by which a lease ends, need not run exactly as ours.
SHARE_OF_LEASE = 0.8


class Room(StrEnum):
    """Who has something to do."""

    DRAFTING = "drafting"
    TEXTING = "texting"
    ANSWERING_BY_TEXT = "answering by text"
    REPLYING = "replying"
    ANSWERING = "answering"


_NEXT_ROOM = {
    State.PENDING: Room.DRAFTING,
    State.AI_GENERATING: Room.DRAFTING,
    State.USER_EDIT_REQUESTED: Room.DRAFTING,
    State.USER_APPROVED: Room.REPLYING,
}


@dataclass(frozen=True, slots=True)
class Desk:
    """The database, the owner's choices and the little that is not a pure function.

    `name` begins every claim of this process, `token` makes it unique, `chance` is a random number from 0 to 1,
    `wake` calls those who have something to do, `wait` sleeps for some seconds and says whether the process is to
    stop, `report` tells the AI Reply Generator, when there is time, what became of a draft (workflow, revision,
    action), `unread` says that the owner may have texted something that was not read yet.
    """

    database: Database
    policy: Policy
    name: str
    token: Callable[[], str]
    chance: Callable[[], float]
    wake: Callable[[Room], None]
    wait: Callable[[float], bool]
    report: Callable[[int, int, str], None]
    unread: Callable[[], bool]

    def claim(self) -> str:
        """Make the name of a new claim."""
        return f"{self.name}/{self.token()}"

    def lease_until(self) -> float:
        """Return the moment of `clock.now()` until which a lease taken from now on certainly holds."""
        return clock.now() + self.policy.lease_seconds * SHARE_OF_LEASE


def advance(
    tx: Transaction,
    desk: Desk,
    workflow: Workflow,
    *path: State,
    actor: Actor,
    reason: str | None = None,
    claim: str | None = None,
    **changes: Any,
) -> bool:
    """Move a workflow along `path`, log it and wake who goes on; False when somebody else was first."""
    moved = workflows.move(tx, workflow, path, actor=actor, reason=reason, claim=claim, changes=changes)
    if moved is None:
        return False
    tx.after_commit(lambda: log_transition(workflow, path[-1], actor, reason))
    room = _NEXT_ROOM.get(path[-1])
    if room is not None:
        tx.after_commit(lambda: desk.wake(room))
    if workflow.is_on_its_way and moved.is_awaited:
        tx.after_commit(lambda: desk.wake(Room.ANSWERING))
    return True


def log_transition(workflow: Workflow, state: State, actor: Actor, reason: str | None) -> None:
    """Write the one INFO line of a transition."""
    fields = {"action": "transition", "workflow": workflow.id, "state": str(state), "actor": str(actor)}
    log.info(
        "workflow %d: %s -> %s (%s)%s",
        workflow.id,
        workflow.state,
        state,
        actor,
        f": {reason}" if reason else "",
        extra={"fields": fields},
    )


def insist(desk: Desk, record: Callable[[], T]) -> T:
    """Record what happened outside and cannot happen again, however long the database is away; returns what it does."""
    while True:
        try:
            return record()
        except DatabaseUnavailable:
            if desk.wait(1):
                raise


def is_quiet_now(tx: Transaction, desk: Desk) -> bool:
    """Say whether the owner's quiet hours have come."""
    # Who has none need not ask the database for its time.
    return desk.policy.quiet_hours is not None and is_quiet(tx.now, desk.policy)


def texting_room(urgent: bool) -> Room:
    """Name who texts what answers the owner, or the rest."""
    return Room.ANSWERING_BY_TEXT if urgent else Room.TEXTING


def call_for_texts(tx: Transaction, desk: Desk) -> None:
    """Have those who text look once more when the transaction is committed."""
    for room in (Room.TEXTING, Room.ANSWERING_BY_TEXT):
        tx.after_commit(partial(desk.wake, room))


def tell(
    tx: Transaction,
    desk: Desk,
    sort: texts.Sort,
    text: str,
    *,
    urgent: bool = False,
    channel: str = "sms",
    workflow_id: int | None = None,
) -> None:
    """Have a sentence of ours texted to the owner once the transaction is committed."""
    composed = Composed(notification.compose_text(text, desk.policy.style))
    texts.queue(tx, sort, composed, urgent=urgent, channel=channel, workflow_id=workflow_id)
    tx.after_commit(lambda: desk.wake(texting_room(urgent) if channel == "sms" else Room.REPLYING))


def tell_of(
    tx: Transaction, desk: Desk, workflow: Workflow, sort: texts.Sort, text: str, *, channel: str = "sms"
) -> None:
    """Tell the owner something of a workflow, at any hour when it answers what the owner has just texted.

    A notice goes out only as long as it is the last word: once the workflow has moved on, it is not wanted any more.
    """
    urgent = is_answer(tx.now, workflow.responded_at)
    tell(tx, desk, sort, text, urgent=urgent, channel=channel, workflow_id=workflow.id)


def offer(
    tx: Transaction,
    desk: Desk,
    workflow: Workflow,
    note: str = "",
    *,
    sort: texts.Sort = texts.Sort.OFFER,
    said_at: datetime | None = None,
) -> None:
    """Have a workflow's current draft texted to the owner once the transaction is committed.

    `said_at` is when the owner texted what this answers, if it is not what was last said of the workflow.
    """
    composed = notification.compose_offer(
        notification.Offer(
            workflow_id=workflow.id,
            sender=workflow.sender,
            sender_name=workflow.sender_name,
            subject=workflow.subject,
            preview=workflow.preview,
            draft=workflow.draft_text or "",
            note=note,
        ),
        desk.policy.style,
    )
    urgent = is_answer(tx.now, said_at or workflow.responded_at)
    texts.queue(tx, sort, composed, urgent=urgent, workflow_id=workflow.id, revision=workflow.revision)
    tx.after_commit(lambda: desk.wake(texting_room(urgent)))


def offer_anew(tx: Transaction, desk: Desk, workflow: Workflow, note: str, *, said_at: datetime | None = None) -> None:
    """Have a draft texted once more, in place of what is still to be texted about it."""
    asked_at = texts.withdraw(tx, workflow.id, said_at)
    offer(tx, desk, workflow, note, said_at=said_at or asked_at)
    # What was written to a text that does not count any more waits for it no longer.
    tx.after_commit(lambda: desk.wake(Room.ANSWERING))


def give_up(
    tx: Transaction, desk: Desk, workflow: Workflow, reason: str, claim: str | None, channel: str = "sms"
) -> bool:
    """Move a workflow to `failed` and tell the owner; False when somebody else moved it first.

    Where a reply may be out since an earlier attempt, that stays its trouble, whatever the last one came to.
    """
    trouble = OUTCOME_UNKNOWN if workflows.may_have_gone_out(tx, workflow.id) else reason
    moved = advance(
        tx, desk, workflow, State.FAILED, actor=Actor.TIMER, reason=reason, claim=claim, error_message=trouble
    )
    if moved:
        tell_of(tx, desk, workflow, texts.Sort.NOTICE, notices.failed(workflow, reason), channel=channel)
    return moved
