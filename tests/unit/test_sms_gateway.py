"""The client of the SMS Gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses

from email_orchestrator.clients.sms_gateway import MAX_PAGES, SmsGateway
from email_orchestrator.demo.standins import Answer, GatewayStandIn, refused
from email_orchestrator.errors import Kind, ServiceError

OWNER = "+15551234567"
URL = "http://127.0.0.1:8000"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def gateway() -> Iterator[GatewayStandIn]:
    with GatewayStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


# Sending


def test_a_sent_text_has_the_gateways_id(gateway: GatewayStandIn) -> None:
    sent_id = SmsGateway(gateway.url, 5).send(OWNER, "📧 #7 'quotes'\nand lines")
    assert [(text.id, text.to, text.message) for text in gateway.sent] == [
        (sent_id, OWNER, "📧 #7 'quotes'\nand lines")
    ]


def test_a_success_without_an_id_is_a_success(gateway: GatewayStandIn) -> None:
    gateway.script_after(Answer(body={"success": True, "message_id": None, "error": None}))
    assert SmsGateway(gateway.url, 5).send(OWNER, "hello") == ""


def test_an_id_that_no_database_takes_is_cleaned(gateway: GatewayStandIn) -> None:
    gateway.script_after(Answer(body={"success": True, "message_id": "A\x00\ud800B\n", "error": None}))
    assert ascii(SmsGateway(gateway.url, 5).send(OWNER, "hello")) == ascii("A\ufffdB")


@pytest.mark.parametrize(
    ("error", "shown"),
    [("phone offline", "phone offline"), ("number blocked", "blocked"), (None, "no reason"), (17, "no reason")],
)
def test_a_failure_that_comes_as_a_200_is_transient(gateway: GatewayStandIn, error: Any, shown: str) -> None:
    gateway.script(refused(error))
    with pytest.raises(ServiceError, match=shown) as caught:
        SmsGateway(gateway.url, 5).send(OWNER, "hello")
    assert caught.value.kind is Kind.TRANSIENT
    assert not gateway.sent


@pytest.mark.parametrize("text", ["", "x" * 1601])
def test_a_text_of_a_length_the_gateway_refuses_is_permanent(gateway: GatewayStandIn, text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        SmsGateway(gateway.url, 5).send(OWNER, text)
    assert caught.value.kind is Kind.PERMANENT


# History


def history(*entries: object) -> dict[str, object]:
    return {"messages": list(entries), "total": len(entries), "page": 1, "page_size": 100}


def entry(**changes: object) -> dict[str, object]:
    return {
        "id": "a1b2c3d4",
        "direction": "incoming",
        "phone_number": OWNER,
        "message": "1",
        "status": "received",
        "timestamp": "2024-06-07T04:41:33+00:00",
        "metadata": {"sim_number": 1, "received_at": "2024-06-07T11:41:31.000+07:00", "event": "sms:received"},
        **changes,
    }


RECEIVED = datetime(2024, 6, 7, 4, 41, 31, tzinfo=UTC)


def test_received_texts_are_read_oldest_first_over_all_pages(gateway: GatewayStandIn) -> None:
    start = datetime(2024, 6, 7, 12, 0, tzinfo=UTC)
    for number in range(250):
        gateway.text_from_owner(f"text {number}", received_at=start + timedelta(seconds=number // 2))
    SmsGateway(gateway.url, 5).send(OWNER, "not incoming")
    texts = SmsGateway(gateway.url, 5).incoming(start)
    assert [text.text for text in texts] == [f"text {number}" for number in range(250)]
    assert texts[3].received_at == start + timedelta(seconds=1)


def test_no_page_is_read_beyond_the_first_without_news(mocked: responses.RequestsMock) -> None:
    new = [entry(id=f"new{number}") for number in range(99)]
    old = entry(id="old", timestamp="2024-06-01T00:00:00Z", metadata=None)
    first = mocked.get(f"{URL}/sms/history", json=history(*new, old))
    second = mocked.get(f"{URL}/sms/history", json=history(*[old] * 100))
    texts = SmsGateway(URL, 5).incoming(RECEIVED)
    assert len(texts) == 99
    assert (first.call_count, second.call_count) == (1, 1)
    assert ["page=1" in str(first.calls[0].request.url), "page=2" in str(second.calls[0].request.url)] == [True, True]


def test_a_history_without_an_end_is_not_read_for_ever(mocked: responses.RequestsMock) -> None:
    endless = mocked.get(f"{URL}/sms/history", json=history(*[entry()] * 100))
    texts = SmsGateway(URL, 5).incoming(RECEIVED)
    assert endless.call_count == MAX_PAGES
    assert len(texts) == 1


def test_everybodys_texts_are_read_with_the_number_as_the_network_wrote_it(gateway: GatewayStandIn) -> None:
    numbers = ["+15551234567", "(555) 123-4567", "+15557654321", "BANK"]
    for number in numbers:
        gateway.text_from_owner("1", phone=number)
    texts = SmsGateway(gateway.url, 5).incoming(LONG_AGO)
    assert [text.phone_number for text in texts] == numbers


def test_a_text_the_network_delivered_late_is_not_missed(mocked: responses.RequestsMock) -> None:
    mocked.get(f"{URL}/sms/history", json=history(entry()))
    texts = SmsGateway(URL, 5).incoming(RECEIVED + timedelta(seconds=1))
    assert [text.received_at for text in texts] == [RECEIVED]


@pytest.mark.parametrize("metadata", [None, {}, {"received_at": None}, {"received_at": "yesterday"}, "text", []])
@pytest.mark.parametrize("timestamp", ["2024-06-07T04:41:31Z", "2024-06-07T04:41:31", "2024-06-07T06:41:31.000+02:00"])
def test_without_a_time_of_receipt_the_gateways_own_counts(
    mocked: responses.RequestsMock, metadata: object, timestamp: str
) -> None:
    mocked.get(f"{URL}/sms/history", json=history(entry(metadata=metadata, timestamp=timestamp)))
    assert [text.received_at for text in SmsGateway(URL, 5).incoming(RECEIVED)] == [RECEIVED]


def test_malformed_entries_do_not_hide_the_others(mocked: responses.RequestsMock) -> None:
    odd: list[object] = [
        None,
        "text",
        {},
        entry(id=None),
        entry(message=None),
        entry(phone_number=15551234567),
        entry(timestamp=None, metadata=None),
        entry(timestamp="0001-01-01T00:00:00+23:59", metadata={"received_at": 17}),
    ]
    mocked.get(f"{URL}/sms/history", body=json.dumps(history(*odd, entry(message="2 shorter"))))
    assert [text.text for text in SmsGateway(URL, 5).incoming(LONG_AGO)] == ["2 shorter"]


@pytest.mark.parametrize("answer", [{}, {"messages": None}, {"messages": "none"}])
def test_a_history_that_is_none_is_the_gateways_failure(mocked: responses.RequestsMock, answer: object) -> None:
    mocked.get(f"{URL}/sms/history", json=answer)
    with pytest.raises(ServiceError, match="no list of messages") as caught:
        SmsGateway(URL, 5).incoming(LONG_AGO)
    assert caught.value.kind is Kind.TRANSIENT


def test_a_text_whose_answer_was_lost_is_found_in_the_history(gateway: GatewayStandIn) -> None:
    gateway.script_after(Answer(drop=True))
    client = SmsGateway(gateway.url, 5)
    began = datetime.now(UTC)
    with pytest.raises(ServiceError):
        client.send(OWNER, "[1/2] first")
    gateway.text_from_owner("1")
    client.send("+15557654321", "to somebody else")
    found = client.outgoing(OWNER, began)
    assert [(text.phone_number, text.text) for text in found] == [(OWNER, "[1/2] first")]
    assert found[0].at >= began
    assert client.outgoing(OWNER, datetime.now(UTC)) == []


@pytest.mark.parametrize(
    ("status", "counts"), [("sent", True), ("Delivered", True), (None, True), ("Failed", False), ("cancelled", False)]
)
def test_a_text_that_failed_was_not_sent(mocked: responses.RequestsMock, status: object, counts: bool) -> None:
    mocked.get(f"{URL}/sms/history", json=history(entry(direction="outgoing", status=status, metadata=None)))
    assert bool(SmsGateway(URL, 5).outgoing(OWNER, LONG_AGO)) is counts


def test_the_gateways_health_is_handed_on(gateway: GatewayStandIn) -> None:
    assert SmsGateway(gateway.url, 5).health()["gateway_connected"] is True
