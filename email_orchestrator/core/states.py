"""The states of a workflow and the one table that says which may follow which."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where an email stands on the belt; the values are what the database holds."""

    PENDING = "pending"
    AI_GENERATING = "ai_generating"
    AI_GENERATED = "ai_generated"
    SMS_SENDING = "sms_sending"
    SMS_SENT = "sms_sent"
    AWAITING_USER = "awaiting_user"
    USER_APPROVED = "user_approved"
    USER_EDIT_REQUESTED = "user_edit_requested"
    USER_IGNORED = "user_ignored"
    REPLY_SENT = "reply_sent"
    FAILED = "failed"
    TIMEOUT = "timeout"


class Actor(StrEnum):
    """Who moved a workflow, as `workflow_event.actor` records it."""

    POLL = "poll"
    SMS = "sms"
    CLI = "cli"
    API = "api"
    WEB = "web"
    TIMER = "timer"


# Why a workflow failed when nobody can say whether its reply went out.
OUTCOME_UNKNOWN = "outcome unknown"

# A workflow that nobody has answered yet may be overtaken by a newer email of its thread, at any point.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.AI_GENERATING, State.USER_IGNORED, State.FAILED}),
    State.AI_GENERATING: frozenset({State.AI_GENERATED, State.USER_IGNORED, State.FAILED}),
    State.AI_GENERATED: frozenset({State.SMS_SENDING, State.USER_IGNORED, State.FAILED}),
    State.SMS_SENDING: frozenset({State.SMS_SENT, State.USER_IGNORED, State.FAILED}),
    State.SMS_SENT: frozenset({State.AWAITING_USER, State.USER_IGNORED, State.FAILED}),
    State.AWAITING_USER: frozenset({State.USER_APPROVED, State.USER_EDIT_REQUESTED, State.USER_IGNORED, State.TIMEOUT}),
    State.USER_APPROVED: frozenset({State.REPLY_SENT, State.AWAITING_USER, State.FAILED}),
    State.USER_EDIT_REQUESTED: frozenset({State.AI_GENERATING, State.USER_IGNORED, State.FAILED}),
    State.FAILED: frozenset({State.AI_GENERATING, State.SMS_SENDING, State.USER_APPROVED, State.USER_IGNORED}),
    State.TIMEOUT: frozenset({State.AWAITING_USER}),
    State.USER_IGNORED: frozenset(),
    State.REPLY_SENT: frozenset(),
}

FINISHED = frozenset({State.USER_IGNORED, State.REPLY_SENT, State.TIMEOUT, State.FAILED})
UNFINISHED = tuple(state for state in State if state not in FINISHED)
# In these a draft takes the owner's attention, or is about to: while there are MAX_AWAITING, no new one is begun.
OCCUPIED = tuple(state for state in UNFINISHED if state not in (State.PENDING, State.USER_APPROVED))


def may_follow(before: State, after: State) -> bool:
    """Say whether a workflow may go from `before` straight to `after`."""
    return after in TRANSITIONS[before]


def check_path(start: State, path: tuple[State, ...]) -> None:
    """Check that a workflow in `start` may pass the states of `path` in order; raises ValueError for a bad step."""
    before = start
    for after in path:
        if not may_follow(before, after):
            raise ValueError(f"a workflow cannot go from {before} to {after}")
        before = after
