"""The stand-ins behave as the real systems are known to, quirks included."""

from __future__ import annotations

import http.client
import json
import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import psycopg2
import pytest

from email_orchestrator.clients.ai_reply_generator import AiReplyGenerator
from email_orchestrator.clients.email_monitor import EmailMonitor
from email_orchestrator.clients.sms_gateway import SmsGateway
from email_orchestrator.core.edit_context import edit_context
from email_orchestrator.core.signature import is_signed
from email_orchestrator.demo.standin_http import Answer, HttpStandIn, Request
from email_orchestrator.demo.standins import CUT, GatewayStandIn, GeneratorStandIn, MailStandIn, MonitorStandIn, refused
from email_orchestrator.errors import Kind, ServiceError

OWNER = "+15551234567"
USER, PASSWORD = "owner@example.com", "app-password"
MAIL = b"From: owner@example.com\r\nTo: john@example.com\r\nSubject: Re: x\r\n\r\nHello.\r\n..dotted\r\n"


def ask(url: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


# What all of them share


@pytest.mark.parametrize("stand_in", [GatewayStandIn, GeneratorStandIn, MailStandIn])
def test_a_stand_in_starts_and_stops_within_a_moment(
    stand_in: type[GatewayStandIn] | type[GeneratorStandIn] | type[MailStandIn],
) -> None:
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        with stand_in():
            pass
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.3


def test_a_stand_in_keeps_its_port_when_it_comes_back() -> None:
    gateway = GatewayStandIn().start()
    url = gateway.url
    assert ask(url, "GET", "/health")[0] == 200
    gateway.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/health")
    with gateway:
        assert gateway.url == url
        assert ask(url, "GET", "/health")[0] == 200


def test_a_stand_in_that_hangs_stops_at_once() -> None:
    gateway = GatewayStandIn().start()
    gateway.script_after(Answer(hang=60))
    lost: list[ServiceError] = []

    def send() -> None:
        try:
            SmsGateway(gateway.url, 30).send(OWNER, "hello")
        except ServiceError as error:
            lost.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    gateway.wait_for_text()
    began = time.monotonic()
    gateway.stop()
    sender.join(5)
    assert time.monotonic() - began < 5
    assert [error.kind for error in lost] == [Kind.UNKNOWN]


def test_a_stand_in_that_breaks_answers_500(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(HttpStandIn):
        def answer(self, request: Request) -> Answer:
            raise ZeroDivisionError(request.path)

    with Broken() as broken:
        assert ask(broken.url, "GET", "/health") == (500, {"detail": "Internal Server Error"})
    assert "GET /health" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/sms/send", 405), ("GET", "/sms/send/more", 404)]
)
def test_other_requests_are_refused_as_the_framework_does(method: str, path: str, status: int) -> None:
    with GatewayStandIn() as gateway:
        assert ask(gateway.url, method, path)[0] == status


def test_a_connection_serves_one_request_after_another() -> None:
    with GatewayStandIn() as gateway, closing(http.client.HTTPConnection("127.0.0.1", gateway.port)) as connection:
        for _ in range(3):
            connection.request("POST", "/sms/send", json.dumps({"to": OWNER, "message": "hello"}))
            connection.getresponse().read()
    assert (gateway.connections, len(gateway.sent)) == (1, 3)


# Email Monitor


@pytest.fixture
def monitor(dsn: str) -> Iterator[MonitorStandIn]:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS processed_emails CASCADE")
    with MonitorStandIn(dsn) as stand_in:
        stand_in.create_table()
        yield stand_in


def add(monitor: MonitorStandIn, *message_ids: str) -> None:
    """Store emails that came in an hour apart, the first one an hour ago."""
    for hours, message_id in enumerate(message_ids, start=1):
        received_at = datetime.now(UTC) - timedelta(hours=hours)
        monitor.add_email(message_id, "john@example.com", "Subject", "Body", received_at=received_at)


def test_pending_emails_come_newest_first_and_without_their_contents(monitor: MonitorStandIn) -> None:
    add(monitor, "<new@x>", "<older@x>", "<oldest@x>")
    status, answer = ask(monitor.url, "GET", "/emails/pending")
    emails = answer["emails"]
    assert isinstance(emails, list)
    assert (status, answer["total"]) == (200, 3)
    assert [email["message_id"] for email in emails] == ["<new@x>", "<older@x>", "<oldest@x>"]
    assert all(set(email) == {"message_id", "processed_at", "status", "reply_draft"} for email in emails)
    assert {(email["status"], email["reply_draft"]) for email in emails} == {("pending", None)}


def test_hours_filter_and_a_limit_cuts_the_oldest(monitor: MonitorStandIn) -> None:
    add(monitor, "<1@x>", "<2@x>", "<3@x>")
    assert EmailMonitor(monitor.url, 5).pending_ids(1.5) == ["<1@x>"]
    assert ask(monitor.url, "GET", "/emails/pending?limit=2")[1]["total"] == 2
    assert ask(monitor.url, "GET", "/emails/pending?limit=2&hours=48")[1]["total"] == 2
    assert ask(monitor.url, "GET", "/emails/pending?hours=soon")[0] == 422


def test_only_pending_emails_are_listed(monitor: MonitorStandIn) -> None:
    add(monitor, "<a@x>", "<b@x>")
    path = f"/emails/{quote('<a@x>', safe='')}/status?status=sent&reply_draft=Yes"
    assert ask(monitor.url, "POST", path)[0] == 200
    assert EmailMonitor(monitor.url, 5).pending_ids(24) == ["<b@x>"]
    assert ask(monitor.url, "POST", "/emails/unknown/status?status=sent") == (404, {"detail": "Email not found"})
    assert EmailMonitor(monitor.url, 5).health() == {
        "status": "healthy",
        "service": "email-monitor",
        "processed_emails": 2,
        "pending_emails": 1,
    }


def test_an_email_is_shown_with_all_its_columns(monitor: MonitorStandIn) -> None:
    monitor.add_email("<a@x>", "john@example.com", "Zoë\n👍", None, "<p>Hi</p>", in_reply_to="<b@x>\n <c@x>")
    status, email = ask(monitor.url, "GET", f"/emails/{quote('<a@x>', safe='')}")
    assert status == 200
    assert email["subject"] == "Zoë\n👍"
    assert (email["body_text"], email["body_html"]) == (None, "<p>Hi</p>")
    assert (email["thread_id"], email["in_reply_to"]) == ("<a@x>", "<b@x>\n <c@x>")
    assert email["to_addresses"] == ["owner@example.com"]
    assert datetime.fromisoformat(str(email["received_at"])).tzinfo is not None
    assert ask(monitor.url, "GET", "/emails/unknown") == (404, {"detail": "Email not found"})


def test_an_id_with_a_slash_is_not_found_even_when_it_is_encoded(monitor: MonitorStandIn) -> None:
    add(monitor, "<a/b@x>")
    assert ask(monitor.url, "GET", f"/emails/{quote('<a/b@x>', safe='')}")[0] == 404
    assert ask(monitor.url, "POST", f"/emails/{quote('<a/b@x>', safe='')}/status?status=sent")[0] == 404
    assert EmailMonitor(monitor.url, 5).pending_ids(24) == ["<a/b@x>"]


def test_the_table_keeps_its_own_time_of_update_and_refuses_what_is_too_wide(monitor: MonitorStandIn, dsn: str) -> None:
    add(monitor, "<a@x>")
    monitor.create_table()  # the table is there: nothing happens
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("UPDATE processed_emails SET status = 'sent' RETURNING updated_at > created_at, body_html")
        assert cursor.fetchall() == [(True, None)]
    with pytest.raises(psycopg2.errors.StringDataRightTruncation):
        monitor.add_email("<" + "x" * 255 + ">", "john@example.com", "Subject", "Body")


def test_a_clean_up_deletes_old_emails_only(monitor: MonitorStandIn) -> None:
    add(monitor, "<new@x>")
    monitor.add_email("<old@x>", "a@x", None, None, received_at=datetime.now(UTC) - timedelta(days=31))
    assert monitor.clean_up() == 1
    assert EmailMonitor(monitor.url, 5).pending_ids(10_000) == ["<new@x>"]


def test_a_monitor_without_its_database_answers_500(dsn: str) -> None:
    with MonitorStandIn(f"{dsn} dbname=missing_database") as monitor:
        assert ask(monitor.url, "GET", "/emails/pending")[0] == 500


# AI Reply Generator


def test_a_draft_has_everything_the_service_gives(monitor: MonitorStandIn, dsn: str) -> None:
    monitor.add_email("<a/b@x>", "john@example.com", "Lunch?", "Body")
    with GeneratorStandIn(dsn) as generator:
        asked = {"email_message_id": "<a/b@x>", "tone": "casual", "max_length": None, "context_instructions": None}
        status, draft = ask(generator.url, "POST", "/generate-reply", asked)
    assert status == 200
    assert set(draft) == {
        "draft_id",
        "full_draft",
        "short_summary",
        "length",
        "is_sms_friendly",
        "tokens_used",
        "model_version",
        "generated_at",
    }
    assert "Lunch?" in str(draft["full_draft"])
    assert draft["length"] == len(str(draft["full_draft"]))
    assert draft["short_summary"] is None


def test_an_unknown_email_is_a_404(monitor: MonitorStandIn, dsn: str) -> None:
    assert EmailMonitor(monitor.url, 5).pending_ids(24) == []
    with GeneratorStandIn(dsn) as generator, pytest.raises(ServiceError, match="404 Not Found: Email not found"):
        AiReplyGenerator(generator.url, 5).generate("<unknown@x>", "casual", None, None)


def test_a_draft_follows_the_instructions_it_is_given_and_remembers_none() -> None:
    with GeneratorStandIn() as generator:
        client = AiReplyGenerator(generator.url, 5)
        first = client.generate("<a@x>", "professional", None, None).text
        context = edit_context(first, ["reject the meeting", "make it Shorter"])
        edited = client.generate("<a@x>", "professional", None, context).text
        forgotten = client.generate("<a@x>", "professional", None, "make it more casual").text
        again = client.generate("<a@x>", "professional", None, None).text
    assert "reject the meeting" in edited
    assert len(edited) < len(first) + len("(As you asked: reject the meeting) ")
    assert "reject the meeting" not in forgotten
    assert "make it more casual" in forgotten
    assert again == first


def test_a_long_draft_has_a_summary_and_a_bad_one_is_refused() -> None:
    with GeneratorStandIn() as generator:
        generator.write = lambda asked: "x" * len(asked.email_message_id)
        asked: dict[str, object] = {"email_message_id": "<" + "x" * 300, "tone": "technical"}
        summary = ask(generator.url, "POST", "/generate-reply", asked)[1]["short_summary"]
        assert len(str(summary)) == 150
        for size in (9, 5001):
            status, answer = ask(generator.url, "POST", "/generate-reply", {**asked, "email_message_id": "y" * size})
            assert status == 400
            assert str(answer["detail"]).startswith("Generated reply validation failed: ")


@pytest.mark.parametrize(
    "asked", [{}, {"email_message_id": "<a@x>", "tone": "rude"}, {"email_message_id": "<a@x>", "max_length": "long"}]
)
def test_a_bad_request_for_a_draft_is_a_422(asked: object) -> None:
    with GeneratorStandIn() as generator:
        assert ask(generator.url, "POST", "/generate-reply", asked)[0] == 422
        assert not generator.requests


def test_scripted_answers_come_first_and_calls_of_health_are_counted() -> None:
    with GeneratorStandIn() as generator:
        generator.script(Answer(500, {"detail": "model overloaded"}), Answer(200, b"nonsense"))
        client = AiReplyGenerator(generator.url, 5)
        for _ in range(2):
            with pytest.raises(ServiceError):
                client.generate("<a@x>", "casual", None, None)
        assert client.generate("<a@x>", "casual", None, None).text
        assert generator.health_calls == 0
        ask(generator.url, "GET", "/health")
        assert generator.health_calls == 1


def test_latency_is_what_a_call_takes() -> None:
    with GeneratorStandIn() as generator:
        generator.latency = 0.1
        began = time.monotonic()
        AiReplyGenerator(generator.url, 5).generate("<a@x>", "casual", None, None)
        assert time.monotonic() - began >= 0.1


# SMS Gateway


class Orchestrator(HttpStandIn):
    """Something to forward to, which keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Request] = []
        self.status = 200

    def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        return Answer(self.status, {})


@pytest.fixture
def orchestrator() -> Iterator[Orchestrator]:
    with Orchestrator() as server:
        yield server


def test_a_text_from_the_owner_is_forwarded_once_and_unsigned(orchestrator: Orchestrator) -> None:
    received_at = datetime.fromisoformat("2024-06-07T11:41:31.789+07:00")
    with GatewayStandIn(orchestrator.url) as gateway:
        assert gateway.text_from_owner("1", received_at=received_at) == 200
        _, answer = ask(gateway.url, "GET", "/sms/history?direction=incoming")
    (request,) = orchestrator.seen
    event = request.json()
    payload = event["payload"]
    assert (request.method, request.path) == ("POST", "/orchestrator/sms-response")
    assert event["event"] == "sms:received"
    assert isinstance(payload, dict)
    assert set(payload) == {"messageId", "message", "phoneNumber", "simNumber", "receivedAt"}
    assert (payload["message"], payload["phoneNumber"]) == ("1", OWNER)
    assert payload["receivedAt"] == "2024-06-07T11:41:31.000+07:00"
    assert "x-signature" not in request.headers
    messages = answer["messages"]
    assert isinstance(messages, list)
    (entry,) = messages
    assert entry["id"] == payload["messageId"]
    assert entry["metadata"]["received_at"] == payload["receivedAt"]
    assert len(entry["id"]) == 8


def test_the_phone_app_itself_signs_what_it_sends(orchestrator: Orchestrator) -> None:
    with GatewayStandIn(orchestrator.url) as gateway:
        gateway.text_from_owner("2 kürzer", sign_with="signing-key")
    (request,) = orchestrator.seen
    timestamp, signature = request.headers["x-timestamp"], request.headers["x-signature"]
    assert is_signed(request.body, timestamp, signature, ["signing-key"])
    payload = request.json()["payload"]
    assert isinstance(payload, dict)
    assert payload["sender"] == payload["phoneNumber"] == OWNER


def test_a_forward_that_fails_is_not_repeated_and_stays_in_the_history(orchestrator: Orchestrator) -> None:
    orchestrator.status = 503
    with GatewayStandIn(orchestrator.url) as gateway:
        assert gateway.text_from_owner("1") == 503
        orchestrator.stop()
        assert gateway.text_from_owner("3") is None
        assert gateway.text_from_owner("list", forward=False) is None
        texts = SmsGateway(gateway.url, 5).incoming(datetime(2000, 1, 1, tzinfo=UTC))
        assert [text.text for text in texts] == ["1", "3", "list"]
        gateway.forget()
        assert SmsGateway(gateway.url, 5).incoming(datetime(2000, 1, 1, tzinfo=UTC)) == []
    assert len(orchestrator.seen) == 1


def test_the_same_text_at_the_same_time_has_the_same_id(orchestrator: Orchestrator) -> None:
    moment = datetime.now(UTC)
    with GatewayStandIn(orchestrator.url) as gateway:
        for message, at in (("1", moment), ("1", moment), ("1", moment + timedelta(seconds=1))):
            gateway.text_from_owner(message, received_at=at)
    ids = [request.json()["payload"]["messageId"] for request in orchestrator.seen]  # type: ignore[index]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(("length", "status"), [(0, 422), (1, 200), (1600, 200), (1601, 422)])
def test_a_text_has_1_to_1600_characters(length: int, status: int) -> None:
    with GatewayStandIn() as gateway:
        assert ask(gateway.url, "POST", "/sms/send", {"to": OWNER, "message": "👍" * length})[0] == status


def test_a_failure_to_send_is_a_200_and_leaves_no_trace() -> None:
    with GatewayStandIn() as gateway:
        gateway.script(refused("phone offline"))
        answer = ask(gateway.url, "POST", "/sms/send", {"to": OWNER, "message": "hello"})
        assert answer == (200, {"success": False, "message_id": None, "error": "phone offline"})
        assert ask(gateway.url, "GET", "/sms/history")[1]["total"] == 0


def test_an_outage_lasts_until_it_is_over() -> None:
    with GatewayStandIn() as gateway:
        gateway.always = Answer(503, {"detail": "starting"})
        for _ in range(3):
            assert ask(gateway.url, "POST", "/sms/send", {"to": OWNER, "message": "hello"})[0] == 503
        gateway.always = None
        assert ask(gateway.url, "POST", "/sms/send", {"to": OWNER, "message": "hello"})[0] == 200
        assert len(gateway.sent) == 1


def test_the_history_is_paged_newest_first() -> None:
    with GatewayStandIn() as gateway:
        for number in range(5):
            ask(gateway.url, "POST", "/sms/send", {"to": OWNER, "message": str(number)})
            gateway.text_from_owner(f"answer {number}")
        _, page = ask(
            gateway.url, "GET", f"/sms/history?page=2&page_size=2&direction=outgoing&phone_number={quote(OWNER)}"
        )
        assert [entry["message"] for entry in page["messages"]] == ["2", "1"]  # type: ignore[attr-defined]
        assert (page["total"], page["page"], page["page_size"]) == (5, 2, 2)
        assert all(entry["metadata"] is None for entry in page["messages"])  # type: ignore[attr-defined]
        assert ask(gateway.url, "GET", "/sms/history?page=9")[1]["messages"] == []
        assert ask(gateway.url, "GET", "/sms/history?page_size=101")[0] == 422


def test_an_answer_can_come_before_the_text_is_acknowledged(orchestrator: Orchestrator) -> None:
    with GatewayStandIn(orchestrator.url) as gateway:
        gateway.sent.on_add = lambda _: gateway.text_from_owner("1")
        SmsGateway(gateway.url, 5).send(OWNER, "1=Send 2=Edit 3=Ignore")
        assert len(orchestrator.seen) == 1


def test_a_text_can_be_waited_for_and_waiting_ends() -> None:
    with GatewayStandIn() as gateway:
        client = SmsGateway(gateway.url, 5)
        client.send(OWNER, "one")
        timer = threading.Timer(0.05, client.send, (OWNER, "two"))
        timer.start()
        assert gateway.wait_for_text(lambda text: text.message == "two").to == OWNER
        timer.join()
        with pytest.raises(TimeoutError, match="2 came"):
            gateway.wait_for_text(lambda text: text.message == "one", timeout=0.02, after=1)


# Mail


@pytest.fixture
def mail() -> Iterator[MailStandIn]:
    with MailStandIn(USER, PASSWORD) as server:
        yield server


@contextmanager
def connect(mail: MailStandIn) -> Iterator[smtplib.SMTP]:
    with closing(smtplib.SMTP(mail.host, mail.port, timeout=5)) as connection:
        connection.login(USER, PASSWORD)
        yield connection


def deliver(mail: MailStandIn) -> None:
    with connect(mail) as connection:
        connection.sendmail(USER, ["john@example.com"], MAIL)


def test_a_mail_is_kept_byte_for_byte_with_its_envelope(mail: MailStandIn) -> None:
    deliver(mail)
    kept = mail.wait_for_mail()
    assert (kept.sender, kept.recipients, kept.content) == (USER, ("john@example.com",), MAIL)
    assert mail.logins == 1


def test_without_a_login_no_mail_is_taken(mail: MailStandIn) -> None:
    with closing(smtplib.SMTP(mail.host, mail.port, timeout=5)) as connection:
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            connection.sendmail(USER, ["john@example.com"], MAIL)
        assert caught.value.smtp_code == 530
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            connection.login(USER, "wrong")
        assert refusal.value.smtp_code == 535
    assert mail.refused_logins == 2  # smtplib tries PLAIN and LOGIN
    assert not mail.mails


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        ("auth", "454 4.7.0 Too many login attempts"),
        ("mail", "421 4.3.0 Try again later"),
        ("rcpt", "550 5.1.1 No such user"),
        ("data", "550 5.4.5 Daily limit exceeded"),
    ],
)
def test_every_stage_can_be_refused_and_is_open_again_afterwards(mail: MailStandIn, stage: str, answer: str) -> None:
    mail.refuse(stage, answer, times=2 if stage == "auth" else 1)
    with pytest.raises(smtplib.SMTPException, match=answer[:3]):
        deliver(mail)
    assert not mail.mails
    deliver(mail)
    assert len(mail.mails) == 1


def test_a_farewell_can_be_refused_after_the_mail_was_taken(mail: MailStandIn) -> None:
    mail.refuse("quit", "421 4.7.0 Goodbye")
    with connect(mail) as connection:
        connection.sendmail(USER, ["john@example.com"], MAIL)
        assert connection.quit()[0] == 421
    assert len(mail.mails) == 1


@pytest.mark.parametrize("stage", ["auth", "mail", "rcpt", "data"])
def test_a_connection_can_be_cut_at_every_stage(mail: MailStandIn, stage: str) -> None:
    mail.refuse(stage, CUT)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        deliver(mail)
    assert not mail.mails


@pytest.mark.parametrize("accepted", [True, False])
def test_a_connection_can_be_cut_after_the_final_dot(mail: MailStandIn, accepted: bool) -> None:
    mail.cut_after_dot(accepted)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        deliver(mail)
    assert len(mail.mails) == int(accepted)


def test_silence_after_the_final_dot_ends_with_the_server(mail: MailStandIn) -> None:
    mail.hang_after_dot(60, accepted=True)
    lost: list[BaseException] = []

    def send() -> None:
        try:
            deliver(mail)
        except (smtplib.SMTPServerDisconnected, ConnectionError) as error:
            lost.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    mail.wait_for_mail()
    mail.stop()
    sender.join(5)
    assert len(lost) == 1


def test_a_mail_server_keeps_its_port_when_it_comes_back(mail: MailStandIn) -> None:
    port = mail.port
    with connect(mail):
        mail.stop()
    with pytest.raises(ConnectionRefusedError):
        deliver(mail)
    mail.start()
    assert mail.port == port
    deliver(mail)


def test_there_is_no_stage_of_another_name(mail: MailStandIn) -> None:
    with pytest.raises(ValueError, match="no stage"):
        mail.refuse("noop", "550 no")
