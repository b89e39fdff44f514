"""What was written about emails that were dealt with long ago is cleared; what was counted stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from email_orchestrator import clock
from email_orchestrator.clients.http import JsonService
from email_orchestrator.clients.sms_gateway import SmsGateway
from email_orchestrator.clients.smtp import SmtpMailer
from email_orchestrator.core.states import State
from email_orchestrator.demo.standin_http import Answer, HttpStandIn, Request
from email_orchestrator.demo.standins import MailStandIn
from email_orchestrator.errors import ServiceError
from email_orchestrator.store import figures, old_texts, workflows
from email_orchestrator.store.queries import queries
from email_orchestrator.workflow import retention
from email_orchestrator.workflow.receiving import Receipt

if TYPE_CHECKING:
    from .conftest import Belt

SECRET = "the kingfisher"


@pytest.fixture
def finished(belt: Belt) -> int:
    """A workflow with an edit, both drafts holding a word to look for, that was sent; its number."""
    belt.generator.texts.extend([f"First, {SECRET}.", f"Second, {SECRET}."])
    workflow = belt.offered(body=f"Have you seen {SECRET}?", body_html=f"<p>{SECRET}</p>")
    belt.answer(f"2 mention {SECRET}")
    belt.answer("1", at=datetime.now(UTC) + timedelta(minutes=1))
    assert belt.state(workflow.id) is State.REPLY_SENT
    return workflow.id


def grow_old(belt: Belt, days: float) -> None:
    """Let so many days pass for everything in the database."""
    for table, columns in {
        "workflow_state": ("created_at", "updated_at"),
        "sms_outbox": ("created_at", "sent_at"),
        "sms_inbox": ("received_at", "stored_at", "processed_at"),
        "service_state": ("updated_at",),
    }.items():
        shifts = ", ".join(f"{column} = {column} - make_interval(secs => %s)" for column in columns)
        belt.sql(f"UPDATE {table} SET {shifts}", *[days * 86_400] * len(columns))


def clear(belt: Belt, days: int | None = 90) -> dict[str, int]:
    return retention.clear_old_texts(belt.desk, days)


def everything(belt: Belt) -> str:
    """Every value of every table, as text."""
    tables = (
        "processed_emails",
        "workflow_state",
        "workflow_event",
        "draft",
        "sms_inbox",
        "sms_outbox",
        "service_state",
    )
    return "\n".join(str(belt.sql(f"SELECT t::text FROM {table} t")) for table in tables)


def test_no_word_of_an_old_email_or_its_drafts_is_left(belt: Belt, finished: int) -> None:
    assert SECRET in everything(belt)
    grow_old(belt, 91)
    clear(belt)
    assert SECRET not in everything(belt)


REFUSALS = {
    "AI Reply Generator: it answered 400 Bad Request: no '{}'": "AI Reply Generator: it answered 400",
    "SMTP server: it answered the message with 550 no\n'{}'": "SMTP server: it answered the message with 550",
    "SMS Gateway: the text was not sent: {}": "SMS Gateway: the text was not sent",
    "superseded by #3": "superseded by #3",
    "outcome unknown": "outcome unknown",
}


@pytest.mark.parametrize(("reason", "kept"), REFUSALS.items())
def test_what_a_service_quoted_in_its_refusal_is_cleared_too(belt: Belt, reason: str, kept: str) -> None:
    belt.offered()
    said = reason.format(SECRET)
    belt.sql("UPDATE workflow_state SET current_state = 'failed', error_message = %s", said)
    belt.sql("UPDATE workflow_event SET reason = %s WHERE to_state = 'awaiting_user'", said)
    grow_old(belt, 91)
    clear(belt)
    assert SECRET not in everything(belt)
    assert belt.workflow(1).error == kept
    assert belt.sql("SELECT reason FROM workflow_event WHERE reason IS NOT NULL") == [(kept,)]


def test_a_refusal_is_written_as_it_is_looked_for(belt: Belt) -> None:
    """In the words of the clients themselves."""
    errors = [
        _refused(Answer(400, {"detail": f"no: {SECRET}"}), lambda url: JsonService("AI", url, 5).call("GET", "/")),
        _refused(
            Answer(body={"success": False, "error": f"no: {SECRET}"}),
            lambda url: SmsGateway(url, 5).send("+15551234567", "x"),
        ),
    ]
    with MailStandIn() as mail:
        mail.refuse("data", f"550 5.7.1 {SECRET}")
        mailer = SmtpMailer(mail.host, mail.port, mail.user, mail.password)
        with pytest.raises(ServiceError) as caught:
            mailer.send("a@example.com", "b@example.com", b"Subject: x\r\n\r\nx\r\n", clock.now() + 90)
    errors.append(str(caught.value))
    for error in errors:
        assert SECRET in error
        assert SECRET not in re.sub(old_texts.REFUSAL, r"\1", error, flags=re.DOTALL)


def _refused(answer: Answer, call: Callable[[str], object]) -> str:
    class Refusing(HttpStandIn):
        def answer(self, request: Request) -> Answer:
            return answer

    with Refusing() as service, pytest.raises(ServiceError) as caught:
        call(service.url)
    return str(caught.value)


def test_a_command_that_was_never_completed_is_forgotten(belt: Belt) -> None:
    for _ in range(2):
        belt.offered()
    # Which one was meant is asked, and never told.
    belt.answer(f"2 {SECRET}")
    assert SECRET in str(belt.sql("SELECT value FROM service_state"))
    grow_old(belt, 91)
    clear(belt)
    assert SECRET not in everything(belt)


def test_what_is_younger_keeps_its_words(belt: Belt, finished: int) -> None:
    grow_old(belt, 89)
    before = everything(belt)
    assert set(clear(belt).values()) == {0}
    assert everything(belt) == before


def test_nothing_is_cleared_when_retention_is_off(belt: Belt, finished: int) -> None:
    grow_old(belt, 10_000)
    before = everything(belt)
    assert clear(belt, None) == {}
    assert everything(belt) == before


def test_figures_and_history_stay(belt: Belt, finished: int) -> None:
    def figures_now() -> tuple[Any, ...]:
        drafts = belt.sql("SELECT revision, model, tokens FROM draft ORDER BY revision")
        with belt.database.transaction() as tx:
            return figures.status(tx, 24) | {"at": None}, workflows.events(tx, finished), drafts

    grow_old(belt, 91)
    before, row = figures_now(), belt.workflow(finished)
    clear(belt)
    assert figures_now() == before
    after = belt.workflow(finished)
    assert replace(after, preview=row.preview, draft_text=row.draft_text, edit_instructions=row.edit_instructions) == (
        replace(row, texts_cleared_at=after.texts_cleared_at)
    )
    assert after.texts_cleared_at is not None


@pytest.mark.parametrize("command", ["1 #{}", "2 #{} shorter", "again #{}"])
def test_a_draft_that_timed_out_is_not_offered_again_without_its_words(belt: Belt, command: str) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()
    grow_old(belt, 91)
    clear(belt)
    (answer,) = belt.answer(command.format(workflow.id))
    assert "cleared" in answer
    assert belt.state(workflow.id) is State.TIMEOUT
    assert belt.mailer.mails == []


def test_a_failure_whose_words_are_gone_can_be_closed_but_not_retried(belt: Belt) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE workflow_state SET current_state = 'failed', previous_state = 'user_approved'")
    belt.sql("UPDATE processed_emails SET status = 'failed'")
    grow_old(belt, 91)
    clear(belt)
    (answer,) = belt.answer(f"retry #{workflow.id}")
    assert "cleared" in answer
    assert belt.state(workflow.id) is State.FAILED
    belt.answer(f"3 #{workflow.id}")
    assert belt.state(workflow.id) is State.USER_IGNORED


def test_a_draft_that_still_waits_keeps_its_words_however_old_it_is(belt: Belt) -> None:
    workflow = belt.offered(body=SECRET)
    grow_old(belt, 1000)
    assert clear(belt)["workflows"] == 0
    after = belt.workflow(workflow.id)
    assert after.draft_text == workflow.draft_text
    assert after.preview == workflow.preview


def test_an_old_email_that_was_answered_lately_keeps_its_words(belt: Belt, finished: int) -> None:
    grow_old(belt, 91)
    belt.sql("UPDATE workflow_state SET updated_at = now()")
    assert clear(belt)["workflows"] == 0


def test_an_email_that_somebody_else_has_taken_over_keeps_its_body(belt: Belt, finished: int) -> None:
    belt.sql("UPDATE processed_emails SET status = 'archived'")
    grow_old(belt, 91)
    assert clear(belt)["workflows"] == 1
    assert SECRET in str(belt.sql("SELECT body_text FROM processed_emails"))


def test_a_text_that_is_still_to_go_out_stays(belt: Belt, finished: int) -> None:
    belt.sql("UPDATE sms_outbox SET status = 'queued' WHERE id = (SELECT max(id) FROM sms_outbox)")
    grow_old(belt, 91)
    clear(belt)
    assert belt.sql("SELECT status FROM sms_outbox") == [("queued",)]


def test_an_answer_not_acted_on_yet_stays(belt: Belt) -> None:
    belt.text("list")
    grow_old(belt, 91)
    assert clear(belt)["inbox"] == 0


def test_a_text_is_known_for_a_repeat_for_as_long_as_the_phone_app_tries(belt: Belt) -> None:
    """Two days is how long it tries; the shortest retention that the settings allow is two weeks."""
    at = datetime.now(UTC)
    assert belt.text("list", at) is Receipt.KEPT
    belt.work()
    grow_old(belt, 13.9)
    clear(belt, 14)
    assert belt.text("list", at - timedelta(days=13.9)) is Receipt.REPEATED


def test_a_great_backlog_is_cleared_in_bounded_rounds(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    monkeypatch.setattr(retention, "BATCHES", 3)
    for _ in range(15):
        belt.email(sender="no-reply@example.com")
    belt.with_policy(max_emails_per_poll=100)
    belt.poll()
    grow_old(belt, 91)
    assert [clear(belt)["workflows"] for _ in range(3)] == [12, 3, 0]


def test_a_stop_ends_the_round_after_the_batch_in_hand(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    for _ in range(3):
        belt.email(sender="no-reply@example.com")
    belt.poll()
    grow_old(belt, 91)
    belt.desk = replace(belt.desk, wait=lambda _: True)
    assert clear(belt)["workflows"] == 1


def test_what_is_due_is_found_by_its_index(belt: Belt) -> None:
    belt.sql(
        "INSERT INTO processed_emails (message_id, from_address, received_at, status)"
        " SELECT '<' || n || '>', 'john@example.com', now(), 'sent' FROM generate_series(1, 3000) n"
    )
    belt.sql(
        "INSERT INTO workflow_state (message_id, current_state, created_at, updated_at, texts_cleared_at)"
        " SELECT '<' || n || '>', 'reply_sent', now() - interval '1 year', now() - interval '1 year', now()"
        "   FROM generate_series(1, 3000) n"
    )
    belt.sql("ANALYZE workflow_state")
    statement = (
        queries()["clear_workflow_texts"]
        .replace("%(days)s", "90")
        .replace("%(limit)s", "9")
        .replace("%(refusal)s", "''")
    )
    plan = str(belt.sql(f"EXPLAIN {statement}"))
    assert "idx_workflow_texts" in plan


def test_nobody_is_remembered_for_ever_as_a_machine(belt: Belt) -> None:
    belt.with_policy(max_replies_per_sender=0)
    belt.email()
    belt.poll()
    assert belt.sql("SELECT count(*) FROM service_state WHERE key LIKE 'loop%%'") == [(1,)]
    belt.sql("UPDATE service_state SET updated_at = now() - interval '400 days'")
    retention.clear_old_texts(belt.desk, 90)
    assert belt.sql("SELECT count(*) FROM service_state WHERE key LIKE 'loop%%'") == [(0,)]
