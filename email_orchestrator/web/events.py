"""A webhook's body becomes a text, or nothing we use, or is malformed.

The events are those of SMS Gateway for Android (https://docs.sms-gate.app/features/webhooks/).
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, NoReturn

from ..core.models import InboundText

RECEIVED = "sms:received"
_ID = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")


class Malformed(ValueError):
    """The body is not what the gateway sends; the text says what is wrong, in words of ours."""


def parse_event(body: bytes) -> InboundText | None:
    """Read a webhook's body; returns the text that was received, or None for an event of another kind.

    `received_at` is in UTC. Raises Malformed, and nothing else, whatever the bytes are.
    """
    event = _load(body)
    kind = event.get("event")
    if not isinstance(kind, str):
        raise Malformed("`event` must be a text.")
    if kind != RECEIVED:
        return None
    payload = event.get("payload")
    if not isinstance(payload, dict):
        raise Malformed("`payload` must be an object.")
    message_id = _text(payload, "messageId")
    if not _ID.fullmatch(message_id):
        raise Malformed("`payload.messageId` must be 1 to 200 characters, without control characters.")
    # Newer versions of the app say `sender`, and for a while both.
    number = "sender" if payload.get("phoneNumber") is None else "phoneNumber"
    return InboundText(message_id, _text(payload, number), _text(payload, "message"), _moment(payload))


def _load(body: bytes) -> dict[str, Any]:
    """Read JSON (RFC 8259) strictly: UTF-8, no NaN, no name twice in an object, nothing after the value."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except Malformed:
        raise
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise Malformed("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Malformed("The body must be a JSON object.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Malformed("An object has the same name twice.")
    return made


def _no_constant(_: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON.")


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str):
        raise Malformed(f"`payload.{name}` must be a text.")
    return value


def _moment(payload: dict[str, Any]) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(payload, "receivedAt"))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, Malformed):
            raise
    raise Malformed("`payload.receivedAt` must be an ISO 8601 time with an offset.")
