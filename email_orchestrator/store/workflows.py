"""Workflows in the database: finding them, leasing them, moving them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..core.models import Email, Event, Workflow
from ..core.states import OUTCOME_UNKNOWN, Actor, State, check_path
from .emails import LIMITS, to_email
from .transaction import Row, Transaction

# What `processed_emails.status` says while a workflow is in a state; in all others the email is being worked on.
EMAIL_STATUS = {
    State.REPLY_SENT: "sent",
    State.USER_IGNORED: "ignored",
    State.TIMEOUT: "timeout",
    State.FAILED: "failed",
}
IN_WORK = "orchestrating"
# As a change of a move: the moment the transaction began (PostgreSQL manual, Date/Time Types, Special Values).
NOW = "now"
MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Claimed:
    """A leased workflow: under which claim, and what the lease found.

    `email_status` is the email's status now; `in_doubt` says that an earlier attempt may have sent the reply, `more`
    that another workflow can be leased for the same.
    """

    workflow: Workflow
    claim: str
    email_status: str
    in_doubt: bool = False
    more: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move found: `is_awaited` says that a text of the owner's waits for the workflow."""

    is_awaited: bool


def to_workflow(row: Row) -> Workflow:
    """Make a Workflow of a row of `workflow_state`."""
    previous = row["previous_state"]
    return Workflow(
        id=row["id"],
        message_id=row["message_id"],
        sender=row["email_from"] or "",
        sender_name=row["sender_name"],
        subject=row["email_subject"] or "",
        preview=row["email_body_preview"] or "",
        thread_id=row["thread_id"],
        supersedes=row["supersedes"],
        state=State(row["current_state"]),
        previous_state=State(previous) if previous else None,
        revision=row["draft_revision"],
        draft_text=row["ai_reply_text"],
        hidden_chars=row["hidden_chars"],
        edit_iteration=row["edit_iteration"] or 0,
        edit_instructions=row["user_edit_instructions"],
        offered_at=row["offered_at"],
        sms_sent_at=row["sms_sent_at"],
        responded_at=row["user_responded_at"],
        remind_at=row["remind_at"],
        timeout_at=row["timeout_at"],
        reply_message_id=row["reply_message_id"],
        reply_sent_at=row["reply_sent_at"],
        approved_at=row["approved_at"],
        approved_hash=row["approved_hash"],
        send_started_at=row["send_started_at"],
        error=row["error_message"],
        attempts=row["retry_count"] or 0,
        next_attempt_at=row["next_attempt_at"],
        claimed_by=row["claimed_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        texts_cleared_at=row["texts_cleared_at"],
    )


def find(tx: Transaction, name: str) -> Workflow | None:
    """Find a workflow by its number (`7`, `#7`) or its email's Message-ID, of which the `<` and `>` may be missing."""
    number = name.removeprefix("#")
    if not name:
        return None  # the Message-ID of emails that have none
    if number.isascii() and number.isdigit():
        return get(tx, int(number)) if len(number) <= MAX_DIGITS else None
    if name.encode("utf-8", "replace").decode() != name or "\x00" in name:
        return None  # nothing in PostgreSQL holds what PostgreSQL does not take
    row = tx.row("workflow_by_message_id", message_id=name) or tx.row("workflow_by_message_id", message_id=f"<{name}>")
    return to_workflow(row) if row else None


def get(tx: Transaction, workflow_id: int) -> Workflow | None:
    """Read a workflow by its number."""
    return _one(tx, "workflow_by_id", workflow_id)


def hold(tx: Transaction, workflow_id: int) -> Workflow | None:
    """Read a workflow and keep others from moving it until the transaction ends."""
    return _one(tx, "lock_workflow", workflow_id)


def _one(tx: Transaction, statement: str, workflow_id: int) -> Workflow | None:
    if not 0 < workflow_id < 2**31:
        return None
    row = tx.row(statement, id=workflow_id)
    return to_workflow(row) if row else None


def overtaken(tx: Transaction, taken: list[int]) -> list[tuple[int, Workflow]]:
    """Find the workflows that those just taken make pointless; returns each with the number of the newer one."""
    return [(row["newer"], to_workflow(row)) for row in tx.rows("overtaken", ids=taken)] if taken else []


def note_superseded(tx: Transaction, newer: int, older: int) -> None:
    """Remember on a workflow, by its number, which older one it closed."""
    tx.defer("supersedes", id=newer, older=older)


def ask_back(tx: Transaction, workflow: Workflow, at: datetime) -> None:
    """Write down that the owner wants an approved reply back, at a moment at which it is being handed to SMTP."""
    tx.defer("ask_back", id=workflow.id, at=at)


def is_asked_back(tx: Transaction, workflow: Workflow) -> bool:
    """Say whether the owner wanted a reply back while it was being handed to SMTP."""
    return tx.row("is_asked_back", id=workflow.id) is not None


def put_off(tx: Transaction, approved: Sequence[Workflow], delay: float) -> None:
    """Have approved replies that were not handed to SMTP wait for `delay` seconds from now on, if not for longer."""
    tx.defer("put_off", ids=[workflow.id for workflow in approved], delay=delay)


def let_go(tx: Transaction, workflow: Workflow) -> None:
    """Have an approved reply that a process kept for itself be due for everybody, if it was not tried."""
    tx.defer("let_go", id=workflow.id, reply=workflow.reply_message_id)


def release_claims(tx: Transaction, holder: str) -> None:
    """Give back all leases, also of texts, whose names begin with `holder`."""
    tx.defer("release_claims", holder=holder)


def move(
    tx: Transaction,
    workflow: Workflow,
    path: tuple[State, ...],
    *,
    actor: Actor,
    reason: str | None = None,
    claim: str | None = None,
    changes: dict[str, Any] | None = None,
) -> Moved | None:
    """Move a workflow through the states of `path`, if nobody moved it since it was read.

    `changes` are further columns to set, one that holds a time perhaps to NOW. Returns None, and changes nothing, when
    the workflow is no longer in the state and draft revision of `workflow`, or no longer leased under `claim`. Raises
    ValueError for a path that the table of transitions does not allow.
    """
    check_path(workflow.state, path)
    moved = tx.row(
        "move",
        id=workflow.id,
        state=workflow.state,
        revision=workflow.revision,
        path=[str(state) for state in path],
        actor=actor,
        reason=reason,
        claim=claim,
        changes=json.dumps(changes or {}, default=datetime.isoformat),
        email_status_before=EMAIL_STATUS.get(workflow.state, IN_WORK),
        email_status=EMAIL_STATUS.get(path[-1], IN_WORK),
    )
    return Moved(moved["is_awaited"]) if moved else None


def claim_drafting(tx: Transaction, claim: str, lease: int, max_awaiting: int) -> Claimed | None:
    """Lease the next workflow that needs a draft, for `lease` seconds."""
    tx.defer("claim_turn")
    row = tx.row("claim_drafting", claim=claim, lease=lease, max_awaiting=max_awaiting)
    return _claimed(row, claim) if row else None


def claim_replying(tx: Transaction, claim: str, lease: int, only: int | None = None) -> tuple[Claimed, Email] | None:
    """Lease the next approved workflow, for `lease` seconds; returns it with its email as it is now.

    `only` names one that shall not wait until it is due.
    """
    row = tx.row("claim_replying", claim=claim, lease=lease, id=only, at_once=only is not None, **LIMITS)
    return (_claimed(row, claim), to_email(row)) if row else None


def postpone(
    tx: Transaction, claimed: Claimed, *, delay: float, attempts: int, error: str | None, in_doubt: bool = False
) -> bool:
    """Give a lease back and have the workflow due again after `delay` seconds; False when the lease was lost."""
    return bool(
        tx.run(
            "postpone",
            id=claimed.workflow.id,
            claim=claimed.claim,
            delay=delay,
            attempts=attempts,
            error=error,
            in_doubt=in_doubt,
        )
    )


def put_back(tx: Transaction, claimed: Claimed, *, delay: float) -> bool:
    """Give a lease back unused, as if it had not been taken; due again after `delay` seconds. False: it was lost."""
    return postpone(tx, claimed, delay=delay, attempts=claimed.workflow.attempts, error=claimed.workflow.error)


def events(tx: Transaction, workflow_id: int) -> list[Event]:
    """Read a workflow's history, oldest first."""
    return [Event(**row) for row in tx.rows("events", id=workflow_id)]


def may_have_gone_out(tx: Transaction, workflow_id: int) -> bool:
    """Say whether at any time nobody could tell if a workflow's reply went out."""
    return any(event.reason == OUTCOME_UNKNOWN for event in events(tx, workflow_id))


def _claimed(row: Row, claim: str) -> Claimed:
    return Claimed(to_workflow(row), claim, row["email_status"], row.get("in_doubt", False), row.get("more", False))
