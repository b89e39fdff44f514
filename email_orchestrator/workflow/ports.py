"""What the steps need from outside, as small protocols that the clients fulfil."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from ..core.models import GeneratedDraft, InboundText, SentText


class Monitor(Protocol):
    """Lists the emails that wait."""

    def pending_ids(self, hours: float) -> list[str]:
        """Return the Message-IDs of pending emails received in the last `hours` hours."""


class Generator(Protocol):
    """Writes drafts."""

    def generate(
        self, message_id: str, tone: str, max_length: int | None, context_instructions: str | None
    ) -> GeneratedDraft:
        """Return a draft of a reply to an email."""

    def record_action(self, draft_id: str, action: str) -> None:
        """Take note of what became of a draft."""


class Gateway(Protocol):
    """Texts the owner's phone, and remembers what passed."""

    def send(self, to: str, text: str) -> str:
        """Send a text and return the gateway's id of it."""

    def incoming(self, since: datetime) -> list[InboundText]:
        """Return texts received since a moment, oldest first."""

    def outgoing(self, phone_number: str, since: datetime) -> list[SentText]:
        """Return texts sent since a moment."""


class Mailer(Protocol):
    """Hands mail to SMTP."""

    def send(self, sender: str, recipient: str, message: bytes, until: float) -> str:
        """Send a message before a moment of `clock.now()`, or not at all; return the server's final answer."""


class SentMail(Protocol):
    """Knows what the mail account has sent."""

    def was_sent(self, message_id: str) -> bool:
        """Say whether a message of that Message-ID is among the sent mail."""
