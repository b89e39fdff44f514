"""The webhook: what the owner texts is stored before it is acknowledged, and nobody else gets in."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from email_orchestrator.core.signature import sign
from email_orchestrator.errors import DatabaseUnavailable
from email_orchestrator.store.connection import Database
from email_orchestrator.workflow.desk import Room

from .conftest import KEY, WEBHOOK, Serve, Site, event_body

pytestmark = pytest.mark.usefixtures("no_tracebacks")


def test_a_text_is_in_the_inbox_once_it_is_acknowledged(site: Site) -> None:
    reply = site.text(message="2 shorter\nplease 🙂")
    assert (reply.status, reply.json) == (200, {"status": "kept"})
    assert site.inbox == [("a1b2c3d4", "2 shorter\nplease 🙂", datetime(2024, 6, 7, 4, 41, 31, tzinfo=UTC))]


def test_a_stored_text_wakes_who_answers(serve: Serve, belt: Any) -> None:
    woken: list[Room] = []
    site = serve(desk=replace(belt.desk, wake=woken.append))
    site.text()
    site.text()
    assert woken == [Room.ANSWERING]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"messageId": "another"},  # the gateway and the app may give one text two ids
        {"receivedAt": "2024-06-07T04:41:31Z"},
        {"phoneNumber": "(555) 123-4567"},
        {"phoneNumber": None, "sender": "+1 555 123 4567"},
        {"simNumber": 2},
        {"simNumber": None},
    ],
)
def test_a_repeat_is_acknowledged_and_kept_once(site: Site, changes: dict[str, Any]) -> None:
    site.text()
    reply = site.text(**changes)
    assert (reply.status, reply.json) == (200, {"status": "repeated"})
    assert len(site.inbox) == 1


def test_sixteen_deliveries_of_one_text_at_once_keep_it_once(site: Site) -> None:
    statuses: list[str] = []
    together = threading.Barrier(16)

    def deliver() -> None:
        together.wait()
        statuses.append(site.text().json["status"])

    threads = [threading.Thread(target=deliver) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == ["kept"] + ["repeated"] * 15
    assert len(site.inbox) == 1


@pytest.mark.parametrize(
    "number", ["+15557654321", "555", "GOOGLE", "", "5551234567 ext 2", "\x00", "\ud800", "1" * 9000]
)
def test_a_strangers_text_is_acknowledged_and_left(site: Site, number: str) -> None:
    reply = site.text(phoneNumber=number)
    assert (reply.status, reply.json) == (200, {"status": "stranger"})
    assert site.inbox == []


@pytest.mark.parametrize(
    "event", ["sms:sent", "sms:delivered", "sms:failed", "sms:cancelled", "mms:received", "system:ping", "new:event"]
)
def test_events_we_do_not_use_are_acknowledged(site: Site, event: str) -> None:
    reply = site.deliver(event_body(event))
    assert (reply.status, reply.json) == (200, {"status": "unused"})
    assert site.inbox == []


@pytest.mark.parametrize(
    "message",
    ["", " ", "\x00", "1\x00", "\ud83d", "\ud83d\ude00", "x" * 60_000, "'; DROP TABLE sms_inbox; --", "%s %(x)s"],
)
def test_any_words_of_the_owner_can_be_kept(site: Site, message: str) -> None:
    assert site.text(message=message).json == {"status": "kept"}
    assert len(site.inbox) == 1


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59-12:00"])
def test_a_text_of_any_date_can_be_kept_and_read_again(site: Site, belt: Any, at: str) -> None:
    assert site.text(receivedAt=at).json == {"status": "kept"}
    belt.work()
    assert belt.sql("SELECT count(*) FROM sms_inbox WHERE processed_at IS NULL") == [(0,)]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "text/json",
        "application/x+json",
        None,
    ],
)
def test_the_body_is_read_when_it_may_be_json(site: Site, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert site.call("POST", WEBHOOK, event_body(), headers).status == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "jsonp"],
)
def test_what_says_that_it_is_no_json_is_refused(site: Site, content_type: str) -> None:
    reply = site.call("POST", WEBHOOK, event_body(), {"Content-Type": content_type})
    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")
    assert site.inbox == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"NaN", event_body(messageId=7), event_body() + b"x"])
def test_a_malformed_body_is_refused_and_says_why(site: Site, body: bytes) -> None:
    reply = site.deliver(body)
    assert (reply.status, reply.error["code"]) == (400, "malformed")
    assert reply.error["message"].endswith(".")


def pad(size: int) -> bytes:
    body = event_body()
    return body + b" " * (size - len(body))


@pytest.mark.parametrize(
    ("size", "status"), [(65_536, 200), (65_537, 413), (131_071, 413), (131_072, 413), (1_000_000, 413)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_may_have_64_kib(site: Site, size: int, status: int, chunked: bool) -> None:
    body = pad(size)
    pieces = (body[n : n + 8192] for n in range(0, size, 8192)) if chunked else body
    reply = site.call("POST", WEBHOOK, pieces, {"Content-Type": "application/json"})
    assert reply.status == status
    if status == 413:
        assert reply.error["code"] == "too_large"


def test_the_webhook_takes_post_only(site: Site) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        reply = site.call(method, WEBHOOK)
        assert (reply.status, reply.headers["Allow"]) == (405, "POST")
        assert reply.error["code"] == "method_not_allowed"


def test_a_signed_event_is_let_in_where_a_key_is_set(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,))
    assert site.signed(event_body()).json == {"status": "kept"}


def test_during_a_rotation_both_keys_are_good(serve: Serve) -> None:
    site = serve(signing_keys=("the key to come", KEY))
    assert site.signed(event_body(), key="the key to come").status == 200
    assert site.signed(event_body(), key=KEY).status == 200
    assert site.signed(event_body(), key="the key that was").status == 401


def test_an_unsigned_event_is_refused_where_a_key_is_set(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,), api_token="t")
    reply = site.text()
    assert (reply.status, reply.error["code"]) == (401, "unauthorized")
    assert "X-Signature" in reply.headers["WWW-Authenticate"]
    assert site.inbox == []


def test_the_gateways_own_forward_needs_no_signature(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,), allow_from=("127.0.0.0/8",))
    assert site.text().status == 200


@pytest.mark.parametrize(("skew", "status"), [(-330, 401), (-290, 200), (290, 200), (330, 401)])
def test_a_signature_is_good_for_five_minutes(serve: Serve, skew: int, status: int) -> None:
    site = serve(signing_keys=(KEY,))
    assert site.signed(event_body(), at=datetime.now(UTC).timestamp() + skew).status == status


@pytest.mark.parametrize("hours", [-7, 7])
def test_where_this_machines_clock_is_off_the_databases_clock_decides(serve: Serve, hours: int) -> None:
    site = serve(signing_keys=(KEY,), clock=lambda: datetime.now(UTC) + timedelta(hours=hours))
    assert site.signed(event_body()).status == 200
    assert site.signed(event_body(), at=datetime.now(UTC).timestamp() - 330).status == 401


def test_the_body_and_timestamp_cannot_be_cut_apart_otherwise(serve: Serve) -> None:
    # The signature covers body + timestamp with nothing between: digits moved from one to the other sign the same.
    site = serve(signing_keys=(KEY,))
    timestamp = str(int(datetime.now(UTC).timestamp()))
    signature = sign(event_body(), timestamp, KEY)
    fewer = {"X-Timestamp": timestamp[1:], "X-Signature": signature}
    assert site.deliver(event_body() + timestamp[:1].encode(), fewer).status == 401
    signature = sign(event_body() + b"1", timestamp, KEY)
    assert site.deliver(event_body(), {"X-Timestamp": "1" + timestamp, "X-Signature": signature}).status == 401
    assert site.inbox == []


def test_a_stranger_with_a_wrong_signature_learns_nothing_about_the_body(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,))
    answers = {site.deliver(body).body for body in (event_body(), b"{", b"", event_body("x"))}
    assert len(answers) == 1


def test_while_the_database_is_away_the_answer_is_try_again(serve: Serve, belt: Any) -> None:
    site = serve(desk=replace(belt.desk, database=Database("host=/nonexistent dbname=none")))
    reply = site.text()
    assert (reply.status, reply.error["code"]) == (503, "unavailable")
    assert int(reply.headers["Retry-After"]) > 0


def test_who_fetches_texts_is_told_of_what_could_not_be_stored(serve: Serve, belt: Any) -> None:
    told: list[DatabaseUnavailable] = []
    away = replace(belt.desk, database=Database("host=/nonexistent dbname=none"))
    assert serve(not_stored=told.append).text().status == 200
    assert told == []
    assert serve(desk=away, not_stored=told.append).text().status == 503
    assert [str(error).partition(":")[0] for error in told] == ["The database cannot be reached"]


def test_a_connection_that_was_lost_while_it_rested_costs_no_text(site: Site, belt: Any) -> None:
    for n in range(8):
        site.text(messageId=f"before-{n}", message=f"before {n}")
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    belt.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    replies = [site.text(messageId=f"after-{n}", message=f"after {n}") for n in range(8)]
    assert [reply.status for reply in replies] == [200] * 8
    assert len(site.inbox) == 16


def test_too_many_refusals_are_told_to_wait_but_what_is_authentic_never_is(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,))
    assert [site.text().status for _ in range(60)] == [401] * 60
    reply = site.text()
    assert (reply.status, reply.error["code"]) == (429, "too_many_requests")
    assert 0 < int(reply.headers["Retry-After"]) <= 60
    accepted = [site.signed(event_body(messageId=f"m{n}", message=f"text {n}")).status for n in range(70)]
    assert accepted == [200] * 70
    assert site.text().status == 429
    assert site.call("GET", "/health").status == 200


def test_the_log_says_why_an_event_was_refused(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(signing_keys=(KEY,))
    for _ in range(3):
        site.text()
        site.signed(event_body(receivedAt="yesterday"))
    assert [message for message in caplog.messages if "refused" in message] == [
        "refused a request from 127.0.0.1: 401, X-Timestamp and X-Signature do not match the body and the time.",
        "refused a request from 127.0.0.1: 400, `payload.receivedAt` must be an ISO 8601 time with an offset.",
    ]


def test_requests_that_take_their_time_keep_no_event_waiting(serve: Serve, belt: Any) -> None:
    site = serve()
    # Whoever reads waits for this lock, until the database has enough of it; a text needs none of what is locked.
    with belt.database.transaction() as tx:
        tx.script("LOCK TABLE workflow_event IN ACCESS EXCLUSIVE MODE")
        waiting = [threading.Thread(target=lambda: site.get("/workflow/status")) for _ in range(8)]
        for thread in waiting:
            thread.start()
        began = time.monotonic()
        assert [site.text(messageId=f"m{n}", message=f"text {n}").status for n in range(10)] == [200] * 10
        assert time.monotonic() - began < 1
    for thread in waiting:
        thread.join()


def test_what_comes_by_way_of_a_proxy_on_this_machine_needs_a_signature(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,), allow_from=("127.0.0.1/32",))
    headers = {"Host": "sms.example.com", "Content-Type": "application/json"}
    assert site.call("POST", WEBHOOK, event_body(), headers).status == 401
    for let_in in ((), ("127.0.0.1/32",)):
        refusal = serve(allow_from=let_in).call("POST", WEBHOOK, event_body(), headers)
        assert (refusal.status, refusal.error["message"]) == (403, "Set SMS_WEBHOOK_SIGNING_KEY.")
    assert site.inbox == []
    assert site.signed(event_body()).status == 200


def test_thousands_of_wrong_signatures_are_answered_and_slow_nobody_down(serve: Serve) -> None:
    site = serve(signing_keys=(KEY,))
    statuses: list[int] = []

    def knock(headers: Callable[[int], dict[str, str]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
        for n in range(1000):
            connection.request("POST", WEBHOOK, event_body(), {"Content-Type": "application/json", **headers(n)})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        connection.close()

    now = str(int(time.time()))
    kinds: list[Callable[[int], dict[str, str]]] = [
        lambda n: {"X-Timestamp": now, "X-Signature": f"{n:064x}"},
        lambda n: {"X-Timestamp": "0" * n, "X-Signature": "\xff" * (n % 90)},
    ]
    threads = [threading.Thread(target=knock, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert site.signed(event_body(message=str(began))).status == 200
        slowest = max(slowest, time.monotonic() - began)
    assert sorted(set(statuses)) == [401, 429]
    assert len(statuses) == 2000
    assert statuses.count(401) == 60
    assert slowest < 1
    assert site.server.alive()
