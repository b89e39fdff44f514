"""The client of the Email Monitor."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import responses

from email_orchestrator.clients.email_monitor import EmailMonitor
from email_orchestrator.errors import Kind, ServiceError

URL = "http://127.0.0.1:8001"


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.mark.parametrize(("hours", "asked"), [(24, 24), (24.01, 25), (0.2, 1), (0, 1), (72.0, 72)])
def test_the_monitor_is_asked_for_whole_hours_and_never_for_a_limit(
    mocked: responses.RequestsMock, hours: float, asked: int
) -> None:
    mocked.get(
        f"{URL}/emails/pending",
        json={"emails": [{"message_id": "<a@example.com>"}], "total": 1},
        match=[responses.matchers.query_param_matcher({"hours": asked})],
    )
    assert EmailMonitor(URL, 5).pending_ids(hours) == ["<a@example.com>"]


def test_ids_that_no_row_can_hold_are_left_out(mocked: responses.RequestsMock) -> None:
    odd: list[object] = [None, 7, {}, {"message_id": None}, {"message_id": "a\x00b"}, {"message_id": "\ud800"}]
    emails = [*odd, {"message_id": ""}, {"message_id": "<ü👍/x@example.com>"}]
    mocked.get(f"{URL}/emails/pending", body=json.dumps({"emails": emails}))
    assert EmailMonitor(URL, 5).pending_ids(24) == ["", "<ü👍/x@example.com>"]


@pytest.mark.parametrize("answer", [{}, {"emails": None}, {"emails": {"a": 1}}])
def test_a_list_that_is_none_is_the_monitors_failure(mocked: responses.RequestsMock, answer: object) -> None:
    mocked.get(f"{URL}/emails/pending", json=answer)
    with pytest.raises(ServiceError, match="Email Monitor") as caught:
        EmailMonitor(URL, 5).pending_ids(24)
    assert caught.value.kind is Kind.TRANSIENT


def test_the_monitors_health_is_handed_on(mocked: responses.RequestsMock) -> None:
    mocked.get(f"{URL}/health", json={"status": "healthy", "pending_emails": 3})
    assert EmailMonitor(URL, 5).health()["pending_emails"] == 3
