"""The emails of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .mailbox import MonitorRow, read_mailbox
from .stage import Stage


@dataclass(frozen=True, slots=True)
class Sample:
    """An email that comes in during the demo."""

    sender: str
    subject: str
    text: str


SAMPLES = (
    Sample(
        "john@example.com",
        "Meeting tomorrow at 2pm?",
        "Hi,\n\nwould tomorrow at 2pm suit you for the quarterly review? Room 4 is free.\n\nJohn",
    ),
    Sample(
        "maria@example.org",
        "Re: Invoice 2211",
        "Good morning,\n\nwe have not seen your payment for invoice 2211 yet. Could you tell me when it comes?\n\n"
        "Kind regards\nMaria\n\nOn Mon, 2 Nov 2026 at 09:12, Owner <owner@example.com> wrote:\n> Received, thank you.",
    ),
    Sample("lottery@example.net", "You have WON 🎉", "Congratulations!!! Send us your bank details today."),
    Sample("no-reply@shop.example", "Your order has shipped", "Do not reply to this message."),
)


def deliver(stage: Stage, number: int) -> Sample:
    """Have the sample of that number (from 0, counted on past the last) come in."""
    sample = SAMPLES[number % len(SAMPLES)]
    message_id = f"<sample.{number}@{sample.sender.rpartition('@')[2]}>"
    stage.monitor.add_email(message_id, sample.sender, sample.subject, sample.text)
    return sample


def deliver_mailbox(stage: Stage, folder: Path) -> list[MonitorRow]:
    """Have every email of a folder come in, in its order; returns them.

    They arrive now, whatever their own dates say, since the poll leaves old emails alone; repeats of a Message-ID count
    as emails of their own, so that each of them can be looked at.
    """
    rows = read_mailbox(folder, tell_repeats_apart=True)
    first = datetime.now(UTC) - timedelta(seconds=len(rows))
    for number, row in enumerate(rows):
        stage.monitor.add_email(
            row.message_id,
            row.from_address,
            row.subject,
            row.body_text,
            row.body_html,
            received_at=first + timedelta(seconds=number),
            thread_id=row.thread_id,
            in_reply_to=row.in_reply_to,
        )
    return rows
