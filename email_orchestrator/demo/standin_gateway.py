"""A stand-in for the SMS Gateway and the phone behind it, on which a test or a person plays the owner."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ..core.signature import sign
from .standin_http import METHOD_NOT_ALLOWED, NOT_FOUND, Answer, HttpStandIn, Request, unprocessable
from .standin_record import Record

OWNER = "+15551234567"
FORWARD_TIMEOUT = 10.0
RECEIVED = "sms:received"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A text the gateway took for sending."""

    id: str
    to: str
    message: str
    at: datetime


def refused(error: str) -> Answer:
    """Return the answer for a text the phone could not send: a 200, as the gateway gives it."""
    return Answer(200, {"success": False, "message_id": None, "error": error})


class GatewayStandIn(HttpStandIn):
    """The SMS Gateway; its main endpoint is `/sms/send`.

    It forwards what the owner texts to the orchestrator at `orchestrator_url`, when there is one. Answers queued with
    `script` come instead of taking the text, those queued with `script_after` once it was taken (a hang or a dropped
    connection, say).
    """

    def __init__(self, orchestrator_url: str | None = None, owner: str = OWNER) -> None:
        super().__init__()
        self.orchestrator_url = orchestrator_url
        self.owner = owner
        self.sent: Record[SentMessage] = Record()
        self._after: deque[Answer] = deque()
        self._history: list[dict[str, object]] = []
        self._history_lock = threading.Lock()

    def script_after(self, *answers: Answer) -> None:
        """Queue answers for the next texts, given after they were taken and recorded."""
        self._after.extend(answers)

    def forget(self) -> None:
        """Lose the history, as the gateway does when it is restarted."""
        with self._history_lock:
            self._history.clear()

    def wait_for_text(
        self, wanted: Callable[[SentMessage], bool] | None = None, timeout: float = 5.0, after: int = 0
    ) -> SentMessage:
        """Wait for a text to the owner and return it; the first `after` texts don't count. Raises TimeoutError."""
        return self.sent.wait_for(wanted, timeout, after)

    def text_from_owner(
        self,
        message: str,
        phone: str | None = None,
        received_at: datetime | None = None,
        forward: bool = True,
        sign_with: str | None = None,
    ) -> int | None:
        """Receive a text, from the owner when no `phone` is given, now when no time is.

        It goes into the history and, once, to the orchestrator. Times are whole seconds, as the network's are. With
        `sign_with` it comes as from the phone app itself: signed, and with the fields of its newer versions. Returns
        the orchestrator's status; None when it was not forwarded or nothing came back within 10 s.
        """
        sender = phone or self.owner
        moment = (received_at or datetime.now(UTC)).replace(microsecond=0)
        if moment.tzinfo is None:
            raise ValueError("received_at needs a time zone")
        at = moment.isoformat(timespec="milliseconds")
        message_id = f"{zlib.crc32(f'{sender}|{message}|{at}'.encode('utf-8', 'surrogatepass')):08x}"
        metadata = {"sim_number": 1, "received_at": at, "event": RECEIVED}
        self._remember(message_id, "incoming", sender, message, "received", metadata)
        payload: dict[str, object] = {
            "messageId": message_id,
            "message": message,
            "phoneNumber": sender,
            "simNumber": 1,
            "receivedAt": at,
        }
        if sign_with is not None:
            payload |= {"sender": sender, "recipient": None}
        return self.forward_event(RECEIVED, payload, sign_with) if forward else None

    def forward_event(
        self,
        event: str,
        payload: Mapping[str, object],
        sign_with: str | None = None,
    ) -> int | None:
        """Post an event to the orchestrator's webhook, once; returns its status, None when nothing came back.

        Signed with a key it carries the time in Unix seconds, as the phone app does.
        """
        if self.orchestrator_url is None:
            return None
        number = time.time_ns()
        body = json.dumps(
            {"deviceId": "stand-in", "event": event, "id": f"{number:x}", "webhookId": "stand-in", "payload": payload}
        ).encode()
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if sign_with is not None:
            stamp = str(int(time.time()))
            headers |= {"X-Timestamp": stamp, "X-Signature": sign(body, stamp, sign_with)}
        return _post(f"{self.orchestrator_url.rstrip('/')}/orchestrator/sms-response", body, headers)

    def answer(self, request: Request) -> Answer:
        """Return the answer to one of the gateway's requests."""
        if request.path == "/sms/send":
            return self._send_text(request) if request.method == "POST" else METHOD_NOT_ALLOWED
        if request.path == "/sms/history":
            return self._show_history(request)
        if request.path == "/health":
            now = datetime.now(UTC).isoformat()
            return Answer(body={"status": "healthy", "gateway_connected": True, "timestamp": now})
        return NOT_FOUND

    def _send_text(self, request: Request) -> Answer:
        told = request.json()
        to, message = told.get("to"), told.get("message")
        if not isinstance(to, str):
            return unprocessable("body", "to", message="Input should be a valid string")
        if not isinstance(message, str) or not 1 <= len(message) <= 1600:
            return unprocessable("body", "message", message="String should have 1 to 1600 characters")
        self.pause()
        if (scripted := self.scripted()) is not None:
            return scripted
        taken = SentMessage(f"msg-{len(self.sent) + 1}-{time.time_ns():x}", to, message, datetime.now(UTC))
        self._remember(taken.id, "outgoing", to, message, "sent", None)
        self.sent.add(taken)
        if self._after:
            return self._after.popleft()
        return Answer(body={"success": True, "message_id": taken.id, "error": None})

    def _remember(
        self, entry_id: str, direction: str, number: str, message: str, status: str, metadata: object
    ) -> None:
        entry: dict[str, object] = {
            "id": entry_id,
            "direction": direction,
            "phone_number": number,
            "message": message,
            "status": status,
            "timestamp": datetime.now(UTC).isoformat(),
            "metadata": metadata,
        }
        with self._history_lock:
            self._history.append(entry)

    def _show_history(self, request: Request) -> Answer:
        numbers = {}
        for name, default, largest in (("page", "1", 10**6), ("page_size", "50", 100)):
            value = request.query.get(name, default)
            if not re.fullmatch("[0-9]{1,7}", value) or not 1 <= int(value) <= largest:
                return unprocessable("query", name, message=f"Input should be an integer from 1 to {largest}")
            numbers[name] = int(value)
        wanted = {name: request.query[name] for name in ("direction", "phone_number") if name in request.query}
        with self._history_lock:
            newest_first = self._history[::-1]
        entries = [entry for entry in newest_first if all(entry[name] == value for name, value in wanted.items())]
        first = (numbers["page"] - 1) * numbers["page_size"]
        page = entries[first : first + numbers["page_size"]]
        return Answer(body={"messages": page, "total": len(entries), **numbers})


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=FORWARD_TIMEOUT)
    try:
        connection.request("POST", parts.path, body, dict(headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
