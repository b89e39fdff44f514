"""Sends texts through the SMS Gateway and reads its history."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ..core.clean import clean_line
from ..core.models import InboundText, SentText
from ..core.phone import is_owner
from ..errors import Kind, ServiceError
from .http import JsonService, presentable
from .watching import Observer, nobody, watched

NAME = "SMS Gateway"
PAGE_SIZE = 100  # the most the gateway gives
MAX_PAGES = 20
# The history is read by those who must not wait long: the main loop, and a text whose fate is to be found out.
HISTORY_SECONDS = 5.0


class SmsGateway:
    """The SMS Gateway at `url`; every call is given `timeout` seconds in all."""

    service = NAME

    def __init__(self, url: str, timeout: float, observe: Observer = nobody) -> None:
        self.observe = observe
        self._service = JsonService(NAME, url, timeout)

    @watched
    def send(self, to: str, text: str) -> str:
        """Send one text of 1 to 1600 characters to an E.164 number; returns the gateway's id for it.

        The id is "" when the gateway reports success without one.
        Raises ServiceError: permanent when the text itself is refused (422), transient when it was certainly not
        sent, unknown when the answer was lost after the gateway had the request.
        """
        answer = self._service.call("POST", "/sms/send", body={"to": to, "message": text}, repeatable=False)
        if answer.get("success") is True:
            return clean_line(str(answer.get("message_id") or ""))
        if answer.get("success") is False:
            reason = answer.get("error")
            said = presentable(reason.replace(text, "…")) if isinstance(reason, str) else "no reason given"
            raise ServiceError(NAME, f"the text was not sent: {said}", Kind.TRANSIENT)
        raise ServiceError(NAME, "its answer does not say whether the text was sent", Kind.UNKNOWN)

    @watched
    def incoming(self, since: datetime) -> list[InboundText]:
        """Return the texts received since then, whoever sent them, oldest first.

        A text counts when it reached the phone or the gateway since then, for a network may deliver late. Malformed
        entries are left out. Raises ServiceError.
        """
        texts: dict[tuple[str, datetime], InboundText] = {}
        for entry in self._history("incoming", since):
            if text := _inbound(entry):
                texts.setdefault((text.message_id, text.received_at), text)
        # Times are whole seconds: within one, the order of the history decides.
        oldest_first = list(texts.values())[::-1]
        return sorted(oldest_first, key=lambda text: text.received_at)

    @watched
    def outgoing(self, phone_number: str, since: datetime) -> list[SentText]:
        """Return the texts for `phone_number` (E.164) that the gateway took since then, oldest first.

        A text that it marks as failed or cancelled is left out. Raises ServiceError.
        """
        texts = []
        for entry in self._history("outgoing", since):
            text = _outbound(entry)
            if text and is_owner(text.phone_number, phone_number):
                texts.append(text)
        oldest_first = texts[::-1]
        return sorted(oldest_first, key=lambda text: text.at)

    @watched
    def health(self) -> dict[str, Any]:
        """Return what it says of itself: `status`, `gateway_connected`, `timestamp`. Raises ServiceError."""
        return self._service.call("GET", "/health")

    def _history(self, direction: str, since: datetime) -> Iterator[dict[str, Any]]:
        """Yield the history's entries since then, newest first, from as few pages as it takes.

        The numbers in it are in whatever form the network used, so its own `phone_number` filter would hide some.
        """
        deadline = time.monotonic() + HISTORY_SECONDS
        for page in range(1, MAX_PAGES + 1):
            answer = self._service.call(
                "GET",
                "/sms/history",
                params={"page": page, "page_size": PAGE_SIZE, "direction": direction},
                timeout=max(0.1, deadline - time.monotonic()),
            )
            messages = answer.get("messages")
            if not isinstance(messages, list):
                raise ServiceError(NAME, "its history has no list of messages", Kind.TRANSIENT)
            entries = [entry for entry in messages if isinstance(entry, dict)]
            fresh = [entry for entry in entries if (at := _last_time(entry)) and at >= since]
            yield from fresh
            if len(messages) < PAGE_SIZE or not fresh:
                return


def _inbound(entry: dict[str, Any]) -> InboundText | None:
    message_id, number, message = entry.get("id"), entry.get("phone_number"), entry.get("message")
    received_at = _received_at(entry) or _time(entry.get("timestamp"))
    if not (isinstance(message_id, str) and isinstance(number, str) and isinstance(message, str) and received_at):
        return None
    return InboundText(message_id, number, message, received_at)


def _outbound(entry: dict[str, Any]) -> SentText | None:
    number, message, at = entry.get("phone_number"), entry.get("message"), _time(entry.get("timestamp"))
    if not (isinstance(number, str) and isinstance(message, str) and at):
        return None
    if str(entry.get("status")).lower() in ("failed", "cancelled"):
        return None
    return SentText(phone_number=number, text=message, at=at)


def _received_at(entry: dict[str, Any]) -> datetime | None:
    metadata = entry.get("metadata")
    return _time(metadata.get("received_at")) if isinstance(metadata, dict) else None


def _last_time(entry: dict[str, Any]) -> datetime | None:
    """Return the later of the times an entry bears: when the phone received it, and when the gateway noted it."""
    return max(filter(None, (_received_at(entry), _time(entry.get("timestamp")))), default=None)


def _time(value: object) -> datetime | None:
    """Read an ISO 8601 time; one without a zone is UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
