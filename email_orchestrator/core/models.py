"""The values that travel along the belt: frozen, made once, handed on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .states import OUTCOME_UNKNOWN, State


@dataclass(frozen=True, slots=True)
class Email:
    """An email as the Email Monitor stored it, its texts cleaned of what PostgreSQL or a phone cannot carry.

    `sender` is the raw header, perhaps with a display name, `in_reply_to` as well (several ids possible).
    """

    message_id: str
    sender: str
    subject: str
    received_at: datetime
    body_text: str | None
    body_html: str | None
    thread_id: str | None
    in_reply_to: str | None


@dataclass(frozen=True, slots=True)
class Workflow:
    """One email's way along the belt: a row of `workflow_state`.

    `revision` numbers the current draft (0 before the first), `hidden_chars` counts the characters at the end of the
    draft that no text has shown the owner yet, `offered_at` is when the first part of the current draft was first
    handed to the gateway. `attempts` counts failures of the step the row is in. `texts_cleared_at` is when the texts of
    a workflow that finished long ago were cleared; nothing can be made of it any more.
    """

    id: int
    message_id: str
    sender: str
    sender_name: str
    subject: str
    preview: str
    thread_id: str | None
    supersedes: int | None
    state: State
    previous_state: State | None
    revision: int
    draft_text: str | None
    hidden_chars: int
    edit_iteration: int
    edit_instructions: str | None
    offered_at: datetime | None
    sms_sent_at: datetime | None
    responded_at: datetime | None
    remind_at: datetime | None
    timeout_at: datetime | None
    reply_message_id: str | None
    reply_sent_at: datetime | None
    approved_at: datetime | None
    approved_hash: str | None
    send_started_at: datetime | None
    error: str | None
    attempts: int
    next_attempt_at: datetime | None
    claimed_by: str | None
    created_at: datetime
    updated_at: datetime
    texts_cleared_at: datetime | None = None

    @property
    def doubt(self) -> str | None:
        """The trouble that no later step makes undone: a reply of this workflow that may be out."""
        return self.error if self.error == OUTCOME_UNKNOWN else None

    @property
    def is_on_its_way(self) -> bool:
        """Whether the text that offers the draft, the first or one more, is not out yet: no clock runs until then."""
        return self.state is State.SMS_SENDING or (self.state is State.AWAITING_USER and self.timeout_at is None)

    @property
    def is_still_to_come(self) -> bool:
        """Whether nothing of the text that offers the draft was handed to the gateway yet."""
        return self.is_on_its_way and self.offered_at is None


@dataclass(frozen=True, slots=True)
class GeneratedDraft:
    """What the AI Reply Generator answered."""

    draft_id: str
    text: str
    model: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it is kept: `instructions` is what the owner asked for to get this revision, None for the first."""

    revision: int
    text: str
    instructions: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """One transition in a workflow's history."""

    from_state: str | None
    to_state: str
    at: datetime
    reason: str | None
    actor: str


@dataclass(frozen=True, slots=True)
class InboundText:
    """A text message as it came from the gateway's webhook or from its history.

    `received_at` is when the phone received it, with its time zone.
    """

    message_id: str
    phone_number: str
    text: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SentText:
    """An outgoing text as the gateway's history shows it."""

    phone_number: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TextStyle:
    """How texts to the owner are made: `format` is auto, condensed or multipart; `charset` unicode or gsm7."""

    format: str = "auto"
    charset: str = "unicode"
    max_parts: int = 6


@dataclass(frozen=True, slots=True)
class Composed:
    """A text ready to go: its parts in order, and how many characters at the draft's end they do not show."""

    parts: tuple[str, ...]
    hidden: int = 0
