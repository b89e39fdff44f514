"""What the owner chose, as the steps need it: the settings that decide, without those that connect."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import time
from zoneinfo import ZoneInfo

from .models import TextStyle


@dataclass(frozen=True, slots=True)
class Policy:
    """How the belt behaves. Durations are seconds unless the name says otherwise."""

    email_address: str
    phone_number: str
    from_name: str = ""
    signature: str = ""
    quote_original: bool = False
    tone: str = "professional"
    max_length: int | None = None
    poll_lookback_hours: int = 24
    max_emails_per_poll: int = 5
    max_awaiting: int = 10
    max_replies_per_sender: int = 10
    skip_senders: frozenset[str] = frozenset()
    allow_senders: frozenset[str] = frozenset()
    max_retry_attempts: int = 3
    max_edit_iterations: int = 10
    response_timeout: int = 86_400
    final_timeout: int = 172_800
    send_delay: int = 0
    lease_seconds: int = 120
    part_gap: float = 2.0
    confirm: bool = True
    style: TextStyle = field(default_factory=TextStyle)
    quiet_hours: tuple[time, time] | None = None
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
