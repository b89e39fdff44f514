"""Asks the Email Monitor which emails wait for an answer."""

from __future__ import annotations

import math
from typing import Any

from ..errors import Kind, ServiceError
from .http import JsonService
from .watching import Observer, nobody, watched

NAME = "Email Monitor"


class EmailMonitor:
    """The Email Monitor at `url`; every call is given `timeout` seconds in all."""

    service = NAME

    def __init__(self, url: str, timeout: float, observe: Observer = nobody) -> None:
        self.observe = observe
        self._service = JsonService(NAME, url, timeout)

    @watched
    def pending_ids(self, hours: float) -> list[str]:
        """Return the Message-IDs of the pending emails received in the last `hours`, newest first.

        The hours are rounded up. Ids that no database row can hold are left out. Raises ServiceError.
        """
        # Never `limit`: it would cut the oldest, which are the next to be taken.
        answer = self._service.call("GET", "/emails/pending", params={"hours": max(1, math.ceil(hours))})
        emails = answer.get("emails")
        if not isinstance(emails, list):
            raise ServiceError(NAME, "its answer has no list of emails", Kind.TRANSIENT)
        ids = [email.get("message_id") for email in emails if isinstance(email, dict)]
        return [message_id for message_id in ids if isinstance(message_id, str) and _storable(message_id)]

    @watched
    def health(self) -> dict[str, Any]:
        """Return what it says of itself: `status`, `processed_emails`, `pending_emails`. Raises ServiceError."""
        return self._service.call("GET", "/health")


def _storable(text: str) -> bool:
    """Say whether PostgreSQL can hold the text: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
