"""How the drafts stand: those that a text of the owner's or the passing of time may be about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..core.models import Workflow
from ..core.states import OUTCOME_UNKNOWN, State
from .mail_pause import Pause, to_pause
from .transaction import Transaction
from .workflows import to_workflow


@dataclass(frozen=True, slots=True)
class BeforeApproval:
    """What has to be known before a draft is approved.

    `rest_shown`: its rest came only after the owner wrote, who had not seen it whole by then. `may_be_out`: an earlier
    reply may be. `pause`: the pause of all mail, if any.
    """

    rest_shown: bool
    may_be_out: bool
    pause: Pause | None


def offered(tx: Transaction) -> list[Workflow]:
    """List the drafts that wait for the owner, or are about to."""
    return _workflows(tx, "offered")


def approved(tx: Transaction) -> list[Workflow]:
    """List the approved replies, also those that are being handed to SMTP."""
    return _workflows(tx, "approved")


def failed(tx: Transaction) -> list[Workflow]:
    """List the newest of what failed."""
    return _workflows(tx, "failed")


def last_moved(tx: Transaction) -> Workflow | None:
    """Return the workflow that moved last, or None when there is none."""
    return next(iter(_workflows(tx, "last_moved")), None)


def overdue_reminders(tx: Transaction) -> list[Workflow]:
    """List the drafts that the owner is to be reminded of, and hold them."""
    return _workflows(tx, "overdue_reminders")


def overdue_timeouts(tx: Transaction) -> list[Workflow]:
    """List the drafts that have waited for the last time, and hold them."""
    return _workflows(tx, "overdue_timeouts")


def stranded(tx: Transaction) -> list[Workflow]:
    """List the drafts on their way to the owner for which no text is waiting to go."""
    return _workflows(tx, "stranded_offers")


def listed(tx: Transaction, states: Sequence[State] | None, limit: int) -> list[Workflow]:
    """List the newest workflows, `limit` at most, in some states or (None) in any."""
    names = None if states is None else [str(state) for state in states]
    return [to_workflow(row) for row in tx.rows("workflows", states=names, limit=limit)]


def before_approval(tx: Transaction, workflow: Workflow, written: datetime) -> BeforeApproval:
    """Look at what an approval that was written at a moment depends on."""
    [row] = tx.rows(
        "before_approval",
        id=workflow.id,
        revision=workflow.revision,
        offered=workflow.offered_at,
        since=written,
        unknown=OUTCOME_UNKNOWN,
    )
    return BeforeApproval(row["rest_shown"], row["may_be_out"], to_pause(row["pause"]))


def no_longer_waiting(tx: Transaction, written: datetime) -> set[int]:
    """List, by number, the drafts that waited for the owner at a moment, in whole seconds, and wait no more."""
    return {row["id"] for row in tx.rows("waits_no_more", written=written)}


def owner_spoke(tx: Transaction, number: int | None, at: datetime) -> None:
    """Record that the owner said something of a draft, or (None) of all: what was written before is no answer to it."""
    tx.defer("owner_spoke", ids=None if number is None else [number], at=at)


def reminded(tx: Transaction, workflows: Sequence[Workflow]) -> None:
    """Record that the owner was reminded of some drafts."""
    tx.defer("reminded", ids=[workflow.id for workflow in workflows])


def _workflows(tx: Transaction, statement: str) -> list[Workflow]:
    return [to_workflow(row) for row in tx.rows(statement)]
