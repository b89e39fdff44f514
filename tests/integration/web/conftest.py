"""The web server, for real, in front of the belt: on loopback, with a client that sends exactly what it is told."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

import pytest

from email_orchestrator.core.signature import sign
from email_orchestrator.vitals import Vitals
from email_orchestrator.web.app import make_app
from email_orchestrator.web.front import Front
from email_orchestrator.web.refusals import Refusals
from email_orchestrator.web.server import WebServer

KEY = "a signing key of more than thirty-two characters"
TOKEN = "the-token-of-the-api"
WEBHOOK = "/orchestrator/sms-response"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/json"
        error = self.json["error"]
        assert isinstance(error["code"], str)
        assert isinstance(error["message"], str)
        return dict(error)


class Site:
    """A running server, its front and the belt behind it."""

    def __init__(self, server: WebServer, front: Front, belt: Any) -> None:
        self.server = server
        self.front = front
        self.belt = belt

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Make one request on a connection of its own; `path` goes out as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        """Get a page with the token, where there is one."""
        return self.call("GET", path, headers=self.credentials)

    def post(self, path: str) -> Reply:
        """Do an action with the token, where there is one."""
        return self.call("POST", path, headers=self.credentials)

    def text(self, **payload: Any) -> Reply:
        """Deliver a text of the owner's, unsigned, as the SMS Gateway forwards it."""
        return self.deliver(event_body(**payload))

    def deliver(self, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        """Deliver a body to the webhook."""
        return self.call("POST", WEBHOOK, body, {"Content-Type": "application/json", **(headers or {})})

    def signed(self, body: bytes, *, key: str = KEY, at: float | None = None) -> Reply:
        """Deliver a body as the phone app signs it."""
        timestamp = str(int(datetime.now(UTC).timestamp() if at is None else at))
        return self.deliver(body, {"X-Timestamp": timestamp, "X-Signature": sign(body, timestamp, key)})

    @property
    def credentials(self) -> dict[str, str]:
        token = self.front.api_token
        return {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def inbox(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self.belt.sql(
            "SELECT message_id, message, received_at FROM sms_inbox ORDER BY id"
        )
        return rows


def event_body(event: str = "sms:received", **payload: Any) -> bytes:
    """Write an event as the SMS Gateway forwards it; `payload` adds to a text of the owner's, or replaces parts."""
    whole = {
        "messageId": "a1b2c3d4",
        "message": "1",
        "phoneNumber": "+15551234567",
        "simNumber": 1,
        "receivedAt": "2024-06-07T11:41:31.000+07:00",
    } | payload
    return json.dumps({"deviceId": "d", "event": event, "id": "e", "webhookId": "w", "payload": whole}).encode()


def path_of(message_id: str) -> str:
    """Write a Message-ID as one segment of a path."""
    return quote(message_id, safe="")


Serve = Callable[..., Site]


@pytest.fixture
def serve(belt: Any) -> Iterator[Serve]:
    """Start servers; `allow_from` takes networks as texts, `refusals` and what Front takes are optional."""
    with ExitStack() as stack:

        def start(*, allow_from: tuple[str, ...] = (), refusals: Refusals | None = None, **front: Any) -> Site:
            desk = front.pop("desk", belt.desk)
            vitals = front.pop("vitals", Vitals())
            networks = tuple(ip_network(text) for text in allow_from)
            made = Front(desk=desk, vitals=vitals, allow_from=networks, **front)
            counted = Refusals() if refusals is None else refusals
            server = WebServer(make_app(made, counted), "127.0.0.1", 0, counted)
            server.start()
            stack.callback(server.stop)
            return Site(server, made, belt)

        yield start


@pytest.fixture
def site(serve: Serve) -> Site:
    """A server without token and key, as it runs on a developer's machine."""
    return serve()


@pytest.fixture
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail the test when a traceback or an error was logged meanwhile."""
    with caplog.at_level(logging.DEBUG):
        yield
    # What `caplog` itself shows by now is what was logged since the test ended.
    logged = caplog.get_records("setup") + caplog.get_records("call")
    bad = [record for record in logged if record.exc_info or record.levelno >= logging.ERROR]
    assert not bad, [record.getMessage() for record in bad]
    assert not [record for record in logged if "Traceback" in record.getMessage()]
