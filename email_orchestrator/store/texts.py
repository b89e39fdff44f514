"""The outbox: what the owner is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..core.hours import CONVERSATION
from ..core.models import Composed, Workflow
from .transaction import Row, Transaction
from .workflows import to_workflow


class Sort(StrEnum):
    """What an outgoing text is about."""

    OFFER = "offer"
    MORE = "more"
    REMINDER = "reminder"
    ANSWER = "answer"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A leased text of the outbox; the part in hand is `parts[parts_sent]`.

    `attempt_at` is when the attempt at this part began, `in_doubt` says that it began before this lease and may have
    reached the gateway; `wanted` is False when the draft it is about no longer waits for the owner.
    """

    id: int
    workflow_id: int | None
    revision: int | None
    sort: Sort
    urgent: bool
    parts: tuple[str, ...]
    parts_sent: int
    hidden_chars: int
    attempts: int
    attempt_at: datetime
    in_doubt: bool
    wanted: bool
    claim: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a text with an accepted part: whether all of it is out, and the workflow it is about, if any.

    `others_wait` says that there are texts to be tried much later, since the gateway did not work.
    """

    finished: bool
    others_wait: bool
    workflow: Workflow | None


@dataclass(frozen=True, slots=True)
class Due:
    """When a queued text is to go out, and what the last try met; what is no answer `waits_for_morning` at night."""

    at: datetime
    waits_for_morning: bool
    error: str | None = None


def due(tx: Transaction, workflow_id: int) -> Due | None:
    """Tell when the next text about a workflow is to go out, None when there is none."""
    row = tx.row("text_due", workflow_id=workflow_id, fresh=CONVERSATION.total_seconds())
    return Due(row["next_attempt_at"], row["waits_for_morning"], row["error"]) if row else None


def left_out(tx: Transaction, workflow: Workflow) -> int:
    """Count the characters at the end of a draft that the last text about it did not show, be they known or not."""
    row = tx.row("left_out", id=workflow.id, revision=workflow.revision)
    return row["hidden_chars"] if row else 0


def queue(
    tx: Transaction,
    sort: Sort,
    composed: Composed,
    *,
    urgent: bool,
    workflow_id: int | None = None,
    revision: int | None = None,
    channel: str = "sms",
) -> None:
    """Put a text into the outbox; it goes out once the transaction is committed."""
    tx.defer(
        "queue_text",
        workflow_id=workflow_id,
        revision=revision,
        kind=sort,
        channel=channel,
        urgent=urgent,
        parts=list(composed.parts),
        hidden=composed.hidden,
    )


def claim_text(tx: Transaction, claim: str, lease: int, *, quiet: bool, urgent: bool | None = None) -> Outgoing | None:
    """Lease the next text, of all or only of the urgent or the other ones, for `lease` seconds.

    In quiet hours only answers and what has begun go out.
    """
    tx.defer("text_turn")
    row = tx.row(
        "claim_text",
        claim=claim,
        lease=lease,
        quiet=quiet,
        urgent_from=urgent is True,
        urgent_to=urgent is not False,
        fresh=CONVERSATION.total_seconds(),
    )
    return _outgoing(row, claim) if row else None


def claim_email_notice(tx: Transaction, claim: str, lease: int) -> Outgoing | None:
    """Lease the next text that has to go by email, for `lease` seconds."""
    row = tx.row("claim_email_notice", claim=claim, lease=lease)
    return _outgoing(row, claim) if row else None


def has_begun(tx: Transaction, *, within: float, quiet: bool) -> bool:
    """Say whether a text is in the midst of its parts and the next is due within some seconds, and may go out."""
    return bool(tx.rows("begun_texts", within=within, quiet=quiet, fresh=CONVERSATION.total_seconds()))


def are_pending(tx: Transaction, *, within: float) -> bool:
    """Say whether a text of the owner's waits to be acted on, or one to the owner goes out within some seconds."""
    return tx.row("pending_texts", within=within) is not None


def withdraw(tx: Transaction, workflow_id: int, said_at: datetime | None) -> datetime | None:
    """Have nothing queued about a draft go out any more; returns when the owner last asked for it, if that is fresh.

    `said_at` is when the owner asked for what is texted instead, if it was the owner.
    """
    row = tx.row("withdraw_texts", id=workflow_id, said_at=said_at, fresh=CONVERSATION.total_seconds())
    asked_at: datetime | None = row["asked_at"] if row else None
    return asked_at


def begin_anew(tx: Transaction, text: Outgoing) -> bool:
    """Record that the attempt in doubt did not reach the gateway, and that another begins; False: none is wanted."""
    if not tx.run("begin_anew", id=text.id, claim=text.claim):
        return False
    if text.sort is Sort.OFFER and text.parts_sent == 0:
        tx.defer("offered_anew", id=text.workflow_id, revision=text.revision, at=text.attempt_at)
    return True


def part_sent(tx: Transaction, text: Outgoing, gateway_id: str | None, gap: float) -> Accepted | None:
    """Record that the part in hand was accepted, the next being due `gap` seconds later; None: the lease was lost."""
    row = tx.row("part_sent", id=text.id, claim=text.claim, gateway_id=gateway_id, gap=gap)
    return Accepted(row["finished"], row["others_wait"], to_workflow(row) if row["id"] else None) if row else None


def hasten(tx: Transaction) -> None:
    """Have texts that were to be tried later go out now: the gateway is back."""
    tx.defer("hasten_texts")


def text_instead(tx: Transaction) -> None:
    """Have what was to go by email go out as texts."""
    tx.defer("text_instead")


def shown(tx: Transaction, text: Outgoing, workflow: Workflow, *, anew: bool) -> None:
    """Record how much of a draft a text has shown; `anew` when it counts in place of all that was shown before."""
    tx.defer("draft_shown", id=workflow.id, revision=workflow.revision, hidden=text.hidden_chars, anew=anew)


def texted_again(tx: Transaction, workflow: Workflow, *, remind_after: int, timeout_after: int) -> None:
    """Record that a draft was texted once more: its clocks begin, in seconds from now."""
    tx.defer(
        "draft_texted",
        id=workflow.id,
        revision=workflow.revision,
        remind_after=remind_after,
        timeout_after=timeout_after,
    )


def not_offered(tx: Transaction, text: Outgoing) -> None:
    """Record that the draft of a text was not handed to the gateway after all."""
    tx.defer("not_offered_after_all", id=text.workflow_id, revision=text.revision, at=text.attempt_at)


def settle(
    tx: Transaction,
    text: Outgoing,
    *,
    status: str,
    channel: str = "sms",
    attempts: int = 0,
    delay: float = 0,
    in_doubt: bool = False,
    error: str | None = None,
) -> bool:
    """Record what becomes of a text whose part in hand was not accepted; False when the lease was lost, or the text."""
    row = tx.row(
        "settle_text",
        id=text.id,
        claim=text.claim,
        status=status,
        channel=channel,
        attempts=attempts,
        delay=delay,
        in_doubt=in_doubt,
        error=error,
    )
    return row is not None and row["is_as_said"]


def _outgoing(row: Row, claim: str) -> Outgoing:
    return Outgoing(
        id=row["id"],
        workflow_id=row["workflow_id"],
        revision=row["revision"],
        sort=Sort(row["kind"]),
        urgent=row["urgent"],
        parts=tuple(row["parts"]),
        parts_sent=row["parts_sent"],
        hidden_chars=row["hidden_chars"],
        attempts=row["attempts"],
        attempt_at=row["attempt_at"],
        in_doubt=row["in_doubt"],
        wanted=row["wanted"],
        claim=claim,
    )
