"""What the clients of the HTTP services have in common: failures, deadlines, connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from email_orchestrator.clients import http
from email_orchestrator.clients.ai_reply_generator import AiReplyGenerator
from email_orchestrator.clients.deadline import DeadlineReader
from email_orchestrator.clients.http import parse_retry_after
from email_orchestrator.clients.sms_gateway import SmsGateway
from email_orchestrator.demo.standins import Answer, GatewayStandIn, GeneratorStandIn, refused
from email_orchestrator.errors import Kind, ServiceError

OWNER = "+15551234567"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def gateway() -> Iterator[GatewayStandIn]:
    with GatewayStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def generator() -> Iterator[GeneratorStandIn]:
    with GeneratorStandIn() as stand_in:
        yield stand_in


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A server that reads one request, writes these bytes and closes; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def send(client: SmsGateway) -> object:
    return client.send(OWNER, "hello")


def read_history(client: SmsGateway) -> object:
    return client.outgoing(OWNER, LONG_AGO)


# How a call fails


@pytest.mark.parametrize("call", [send, read_history])
def test_a_refused_connection_is_transient_because_nothing_was_sent(call: Callable[[SmsGateway], object]) -> None:
    port = closed_port()
    with pytest.raises(ServiceError) as caught:
        call(SmsGateway(f"http://user:secret@127.0.0.1:{port}", 5))
    assert caught.value.kind is Kind.TRANSIENT
    assert f"127.0.0.1:{port}" in caught.value.message
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Answer(hang=30), "no answer from 127.0.0.1"), (Answer(drop=True), "was lost before the answer")],
)
def test_a_text_whose_answer_is_lost_may_have_been_sent(gateway: GatewayStandIn, fault: Answer, words: str) -> None:
    gateway.script_after(fault)
    with pytest.raises(ServiceError, match=words) as caught:
        SmsGateway(gateway.url, 0.2).send(OWNER, "hello")
    assert caught.value.kind is Kind.UNKNOWN
    assert len(gateway.sent) == 1


@pytest.mark.parametrize("fault", [Answer(hang=30), Answer(drop=True)])
def test_a_draft_whose_answer_is_lost_is_simply_asked_for_again(generator: GeneratorStandIn, fault: Answer) -> None:
    generator.script(fault)
    client = AiReplyGenerator(generator.url, 0.2)
    with pytest.raises(ServiceError) as caught:
        client.generate("<a@example.com>", "professional", None, None)
    assert caught.value.kind is Kind.TRANSIENT
    assert client.generate("<a@example.com>", "professional", None, None).text


def test_an_answer_that_drips_in_cannot_outlast_the_timeout(gateway: GatewayStandIn) -> None:
    gateway.script_after(Answer(body={"success": True, "message_id": "x", "error": None}, drip=0.02))
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"within 0\.3 s") as caught:
        SmsGateway(gateway.url, 0.3).send(OWNER, "hello")
    assert time.monotonic() - began < 2.5
    assert caught.value.kind is Kind.UNKNOWN


def test_a_body_that_drips_in_cannot_outlast_the_timeout(gateway: GatewayStandIn) -> None:
    answer = Answer(body=b"{}" + b" " * 6000, drip=0.001)
    gateway.script_after(answer)
    headers = len(answer.encode()) - 6002
    began = time.monotonic()
    with pytest.raises(ServiceError, match="no answer"):
        SmsGateway(gateway.url, 0.001 * headers * 2 + 0.4).send(OWNER, "hello")
    assert time.monotonic() - began < 4


def test_an_answer_larger_than_the_limit_is_not_held(gateway: GatewayStandIn) -> None:
    gateway.script(Answer(body=b'{"success": true, "message_id": "' + b"x" * http.MAX_BODY + b'"}'))
    with pytest.raises(ServiceError, match="larger than 10 MiB") as caught:
        SmsGateway(gateway.url, 5).send(OWNER, "hello")
    assert caught.value.kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\xfe nonsense\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"\xff"',
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20000,
    ],
)
def test_whatever_a_server_answers_becomes_one_of_our_errors(answer: bytes) -> None:
    with raw_server(answer) as url, pytest.raises(ServiceError) as caught:
        AiReplyGenerator(url, 2).generate("<a@example.com>", "professional", None, None)
    assert caught.value.kind is Kind.TRANSIENT


@pytest.mark.parametrize("body", [b"", b"not json", b"{}", b'{"success": "yes"}', b'{"message_id": "x"}', b"[true]"])
def test_a_text_whose_answer_cannot_be_understood_may_have_been_sent(gateway: GatewayStandIn, body: bytes) -> None:
    gateway.script_after(Answer(body=body))
    with pytest.raises(ServiceError) as caught:
        SmsGateway(gateway.url, 5).send(OWNER, "hello")
    assert caught.value.kind is Kind.UNKNOWN


def test_a_redirect_is_a_failure_and_is_not_followed(gateway: GatewayStandIn) -> None:
    gateway.script(Answer(302, {}, {"Location": f"{gateway.url}/health"}))
    with pytest.raises(ServiceError, match="302 Found") as caught:
        SmsGateway(gateway.url, 5).send(OWNER, "hello")
    assert caught.value.kind is Kind.TRANSIENT
    assert gateway.calls == ["POST /sms/send"]


def test_proxies_of_the_environment_are_not_used(gateway: GatewayStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    assert SmsGateway(gateway.url, 5).health()["status"] == "healthy"


@pytest.mark.parametrize("status", [404, 400, 401, 408, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_transient_for_a_draft(generator: GeneratorStandIn, status: int) -> None:
    generator.script(Answer(status, {"detail": "no"}))
    with pytest.raises(ServiceError, match=str(status)) as caught:
        AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "professional", None, None)
    assert caught.value.kind is Kind.TRANSIENT


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (422, Kind.PERMANENT),
        (404, Kind.TRANSIENT),
        (429, Kind.TRANSIENT),
        (503, Kind.TRANSIENT),
        (500, Kind.UNKNOWN),
        (502, Kind.UNKNOWN),
        (504, Kind.UNKNOWN),
    ],
)
def test_a_status_says_whether_a_text_may_have_been_sent(gateway: GatewayStandIn, status: int, kind: Kind) -> None:
    gateway.script(Answer(status, {"detail": "no"}))
    with pytest.raises(ServiceError) as caught:
        SmsGateway(gateway.url, 5).send(OWNER, "hello")
    assert caught.value.kind is kind


def test_a_request_the_generator_cannot_accept_is_permanent(generator: GeneratorStandIn) -> None:
    with pytest.raises(ServiceError, match=r"422 .*tone") as caught:
        AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "shouting", None, None)
    assert caught.value.kind is Kind.PERMANENT


def test_the_wait_a_service_asks_for_is_handed_on(generator: GeneratorStandIn) -> None:
    generator.script(Answer(429, {}, {"Retry-After": "17"}))
    with pytest.raises(ServiceError) as caught:
        AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "professional", None, None)
    assert caught.value.retry_after == 17


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        (" 120 ", 120),
        ("86400", 3600),
        ("9" * 15, 3600),
        ("9" * 400, None),
        ("-5", None),
        ("1e3", None),
        ("nan", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 06:00:00 GMT", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 3600),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(value: str | None, seconds: float | None) -> None:
    now = datetime(2015, 10, 21, 7, 28, tzinfo=UTC).timestamp()
    assert parse_retry_after(value, now) == seconds


def test_an_error_shows_neither_the_text_nor_a_whole_number(gateway: GatewayStandIn) -> None:
    text = "the secret plan"
    failures = [
        Answer(422, {"detail": [{"loc": ["body", "message"], "msg": "too long", "input": text}]}),
        refused(f"cannot send '{text}' to +15551234567"),
        Answer(500, {"detail": f"crashed on {text}, key sk-12345, to +15551234567"}),
        Answer(400, {"detail": "no such number: +15551234567\nnext line"}),
    ]
    gateway.script(*failures)
    client = SmsGateway(gateway.url, 5)
    for _ in failures:
        with pytest.raises(ServiceError) as caught:
            client.send(OWNER, text)
        message = str(caught.value)
        assert text not in message
        assert "12345" not in message
        assert "\n" not in message
        assert len(message) < 300


# Connections


def test_calls_of_one_thread_share_a_connection(gateway: GatewayStandIn) -> None:
    client = SmsGateway(gateway.url, 5)
    for _ in range(5):
        client.send(OWNER, "hello")
    assert gateway.connections == 1


def test_a_connection_survives_a_refusal(gateway: GatewayStandIn) -> None:
    gateway.script(Answer(503, {"detail": "starting"}))
    client = SmsGateway(gateway.url, 5)
    with pytest.raises(ServiceError):
        client.send(OWNER, "hello")
    client.send(OWNER, "hello")
    assert gateway.connections == 1


def test_each_thread_has_its_own_connection(gateway: GatewayStandIn) -> None:
    client = SmsGateway(gateway.url, 5)
    threads = [threading.Thread(target=client.send, args=(OWNER, "hello")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gateway.connections == 3
    assert len(gateway.sent) == 3


def test_a_connection_that_rested_is_not_used_again(gateway: GatewayStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "IDLE_LIMIT", 0.0)
    client = SmsGateway(gateway.url, 5)
    client.send(OWNER, "hello")
    client.send(OWNER, "hello")
    assert gateway.connections == 2


def test_a_connection_has_its_whole_timeout_again_after_an_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.send(b"xy")
        with ours.makefile("rb", buffering=0) as raw, DeadlineReader(raw, ours) as reader:
            assert reader.read(1) == b"x"
            assert reader.read(1) == b"y"
            assert (ours.gettimeout() or 0) < 5
        assert ours.gettimeout() == 5


def test_a_service_that_was_restarted_is_found_again(gateway: GatewayStandIn) -> None:
    client = SmsGateway(gateway.url, 5)
    client.send(OWNER, "before")
    gateway.stop()
    with pytest.raises(ServiceError) as caught:
        client.send(OWNER, "meanwhile")
    assert caught.value.kind is Kind.TRANSIENT
    gateway.start()
    client.send(OWNER, "after")
    assert [text.message for text in gateway.sent] == ["before", "after"]
