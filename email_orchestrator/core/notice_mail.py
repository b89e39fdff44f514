"""The mail that tells the owner what could not be texted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime


def build_notice(address: str, parts: Sequence[str], date: datetime, message_id: str) -> bytes:
    """Make the message that carries a text's parts to the owner's own address.

    It is marked as automatic (RFC 3834 section 5), so that no responder answers it.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = address
    message["To"] = address
    message["Subject"] = "Email Orchestrator could not text you"
    message["Date"] = format_datetime(date)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(parts) + "\n", cte="quoted-printable")
    return message.as_bytes()
