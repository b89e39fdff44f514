"""Sending at most once: every way in which it can fail, and what the owner hears."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from email_orchestrator import clock
from email_orchestrator.core.models import Workflow
from email_orchestrator.core.states import OUTCOME_UNKNOWN, Actor, State
from email_orchestrator.errors import AccountError, DatabaseUnavailable, Kind, ServiceError, Trouble
from email_orchestrator.store import workflows
from email_orchestrator.store.connection import Database
from email_orchestrator.store.transaction import Transaction
from email_orchestrator.workflow import actions, answering, letters, replying

if TYPE_CHECKING:
    from .conftest import Belt

TRANSIENT = ServiceError("SMTP", "451 try later", Kind.TRANSIENT)
PERMANENT = ServiceError("SMTP", "550 no such user", Kind.PERMANENT)
UNKNOWN = ServiceError("SMTP", "connection lost after the message was handed over", Kind.UNKNOWN)


def test_a_second_approval_sends_nothing(belt: Belt) -> None:
    workflow = belt.offered()
    belt.answer("1")
    [answer] = belt.answer(f"1 #{workflow.id}")
    assert "already sent to john@example.com" in answer
    assert len(belt.mailer.mails) == 1


def test_a_transient_failure_is_tried_again_later_with_the_same_message_id(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(TRANSIENT)
    belt.answer("1")
    before = belt.workflow(1)
    assert (before.state, before.attempts, belt.mailer.mails) == (State.USER_APPROVED, 1, [])
    belt.work()
    assert belt.mailer.mails == []
    belt.hurry()
    belt.work()
    after = belt.workflow(1)
    assert (after.state, len(belt.mailer.mails)) == (State.REPLY_SENT, 1)
    assert after.reply_message_id == before.reply_message_id
    assert belt.generator.asked == [(after.message_id, None)]


def test_after_the_last_attempt_the_reply_fails_and_the_owner_is_told(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.extend([TRANSIENT] * 4)
    belt.answer("1")
    for _ in range(3):
        belt.hurry()
        belt.work()
    workflow = belt.workflow(1)
    assert workflow.state is State.FAILED
    assert belt.email_status(workflow.message_id) == "failed"
    assert (
        'Failed to send reply to john@example.com (#1): SMTP: 451 try later. Text "retry #1"' in belt.gateway.texts[-1]
    )


def test_a_permanent_failure_is_not_tried_again_until_the_owner_says_so(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(PERMANENT)
    belt.answer("1")
    belt.hurry()
    belt.work()
    assert (belt.state(1), belt.mailer.mails) == (State.FAILED, [])
    belt.answer("retry #1")
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)
    assert len(belt.generator.asked) == 1
    assert "already sent" in belt.answer("retry #1")[0]


def test_a_failed_reply_can_be_given_up(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(PERMANENT)
    belt.answer("1")
    belt.answer("3 #1")
    assert belt.state(1) is State.USER_IGNORED
    assert belt.mailer.mails == []


def test_an_unknown_outcome_that_is_in_sent_mail_counts_as_sent(belt: Belt) -> None:
    workflow = belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    assert belt.sent_mail is not None
    belt.sent_mail.everything = True
    belt.answer("1")
    assert belt.state(workflow.id) is State.REPLY_SENT
    assert belt.mailer.mails == []
    assert "✅ Sent to" in belt.gateway.texts[-1]


def of_unknown_fate(belt: Belt) -> None:
    """Have a reply handed over whose fate is unknown, and asked about."""
    belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    belt.answer("1")
    for _ in range(5):
        belt.hurry()
        belt.work()
    # What is texted in the second of a question may have been written before it.
    belt.sql("UPDATE workflow_state SET updated_at = updated_at - interval '5 s'")


def test_an_unknown_outcome_is_never_sent_again_by_itself(belt: Belt) -> None:
    of_unknown_fate(belt)
    workflow = belt.workflow(1)
    assert (workflow.state, workflow.error) == (State.FAILED, "outcome unknown")
    assert belt.sent_mail is not None
    assert belt.sent_mail.asked == [workflow.reply_message_id] * 3
    assert belt.mailer.mails == []
    assert 'text "retry #1" to send it again or "3 #1" to close it' in belt.gateway.texts[-1]


def test_after_an_unknown_outcome_a_retry_sends_under_the_same_message_id(belt: Belt) -> None:
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    belt.answer("1")
    first = belt.workflow(1)
    assert first.state is State.FAILED
    belt.answer("retry #1")
    [(_, _, content)] = belt.mailer.mails
    assert f"Message-ID: {first.reply_message_id}".encode() in content


def test_a_crash_after_the_hand_over_is_an_unknown_outcome(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        belt.answer("1")
    belt.lapse()
    belt.keep_trying(3)
    assert belt.workflow(1).error == "outcome unknown"
    assert belt.mailer.mails == []


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble.BUSY, "asks us to wait"),
        (Trouble.DAILY_LIMIT, "daily limit"),
        (Trouble.CREDENTIALS, "does not let us in"),
    ],
)
def test_trouble_with_the_account_pauses_all_replies_and_fails_none(belt: Belt, trouble: Trouble, words: str) -> None:
    belt.with_policy(max_awaiting=5)
    belt.offered()
    belt.offered()
    belt.mailer.failures.extend([AccountError("SMTP", "no", trouble)] * 2)
    belt.answer("1 #1")
    belt.answer("1 #2")
    assert len(belt.mailer.failures) == 1, "one login was tried, not one for each reply"
    assert [belt.state(1), belt.state(2)] == [State.USER_APPROVED] * 2
    assert sum(text.startswith("⚠️") and words in text for text in belt.gateway.texts) == 1
    belt.mailer.failures.clear()
    belt.answer("retry")
    assert [belt.state(1), belt.state(2)] == [State.REPLY_SENT] * 2


def test_a_pause_ends_by_itself(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(AccountError("SMTP", "454 too many logins", Trouble.BUSY))
    belt.answer("1")
    belt.sql("UPDATE service_state SET value = jsonb_set(value, '{until}', to_jsonb(now())) WHERE key = 'mail_pause'")
    belt.work()
    assert belt.state(1) is State.REPLY_SENT
    assert belt.sql("SELECT count(*) FROM service_state WHERE key = 'mail_pause'") == [(0,)]


@pytest.mark.parametrize("column", ["ai_reply_text", "email_from", "email_subject"])
def test_what_was_changed_after_the_approval_is_not_sent_but_offered_as_it_is(belt: Belt, column: str) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    belt.sql(f"UPDATE workflow_state SET {column} = 'other@example.com'")
    belt.hurry()
    belt.work()
    assert belt.mailer.mails == []
    assert belt.state(1) is State.AWAITING_USER
    notice, offer = belt.gateway.texts[-2:]
    assert "no longer what you approved" in notice
    assert "As it is now" in offer
    assert "other@example.com" in offer


def test_a_new_signature_needs_a_new_approval(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    belt.with_policy(send_delay=0, signature="New signature")
    belt.hurry()
    belt.work()
    assert belt.mailer.mails == []
    belt.answer("1 #1")
    [(_, _, content)] = belt.mailer.mails
    assert b"New signature" in content


def test_a_bare_retry_lifts_a_pause_and_resends_nothing_of_unknown_fate(belt: Belt) -> None:
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    belt.answer("1")
    belt.offered()
    belt.mailer.failures.append(AccountError("SMTP", "535", Trouble.CREDENTIALS))
    belt.answer("1 #2")
    belt.answer("retry")
    assert [belt.state(1), belt.state(2)] == [State.FAILED, State.REPLY_SENT]
    [question] = belt.answer("retry")
    assert "may be out already" in question
    assert len(belt.mailer.mails) == 1


def test_an_approval_whose_reply_may_be_out_cannot_be_undone(belt: Belt) -> None:
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.extend([UNKNOWN, TRANSIENT])
    belt.answer("1")
    belt.answer("retry #1")
    [answer] = belt.answer("undo #1")
    assert "on its way out" in answer
    assert belt.state(1) is State.USER_APPROVED


def test_closing_a_reply_of_unknown_fate_does_not_claim_to_know_it(belt: Belt) -> None:
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    belt.answer("1")
    [closed] = belt.answer("3 #1")
    [later] = belt.answer("1 #1")
    assert "not known" in closed
    assert "not known" in later
    assert "Nothing was sent" not in later


def test_a_notice_does_not_log_in_while_mail_rests(belt: Belt) -> None:
    refused = AccountError("SMTP", "535", Trouble.CREDENTIALS)
    belt.gateway.failures.extend([ServiceError("SMS Gateway", "422", Kind.PERMANENT)] * 2)
    belt.email()
    belt.mailer.failures.extend([refused] * 5)
    belt.poll()
    belt.keep_trying(4)
    assert len(belt.mailer.failures) == 4


def test_after_a_crash_sent_mail_is_looked_into_three_times_whatever_failed_before(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.extend([TRANSIENT, TRANSIENT, KeyboardInterrupt()])
    belt.answer("1")
    for _ in range(2):
        belt.hurry()
        try:
            belt.work()
        except KeyboardInterrupt:
            belt.lapse()
    belt.keep_trying(4)
    assert belt.sent_mail is not None
    assert len(belt.sent_mail.asked) == 3
    assert belt.mailer.mails == []


def test_an_approval_can_be_undone_until_it_is_handed_to_smtp(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    workflow = belt.offered()
    [answer] = belt.answer("1")
    assert 'in 60 s (#1). Text "undo #1" to stop it' in answer
    [answer] = belt.answer("undo")
    assert "not sent" in answer
    assert belt.state(workflow.id) is State.AWAITING_USER
    belt.hurry()
    belt.work()
    assert belt.mailer.mails == []
    belt.answer("1")
    belt.hurry()
    belt.work()
    [answer] = belt.answer("undo #1")
    assert "already sent" in answer
    assert len(belt.mailer.mails) == 1


@pytest.mark.parametrize(
    "failure",
    [
        ServiceError("SMTP server", "451 later", Kind.TRANSIENT),
        AccountError("SMTP server", "421 try again later", Trouble.BUSY),
    ],
)
@pytest.mark.parametrize("words", ["undo", "undo #1"])
def test_an_undo_while_smtp_is_spoken_to_counts_when_the_reply_is_not_taken(
    belt: Belt, monkeypatch: pytest.MonkeyPatch, failure: ServiceError, words: str
) -> None:
    belt.offered()

    def slow(*_: object) -> str:
        belt.text(words)
        assert answering.answer_one(belt.desk)
        raise failure

    belt.answer_with("1")
    with monkeypatch.context() as patched:
        patched.setattr(belt.mailer, "send", slow)
        assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.sql("UPDATE service_state SET value = jsonb_set(value, '{until}', to_jsonb(now())) WHERE key = 'mail_pause'")
    belt.keep_trying(2)
    assert (belt.state(1), belt.mailer.mails) == (State.AWAITING_USER, [])
    said = [text for text in belt.gateway.texts if text.startswith(("#1 is on its way out. If", "Taken back: #1"))]
    assert len(said) == 2
    # What was approved before is over; an approval from now on counts.
    belt.answer("1")
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)


def test_an_undo_while_smtp_is_spoken_to_comes_too_late_when_the_reply_is_taken(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.offered()
    send = belt.mailer.send

    def slow(*given: Any) -> str:
        belt.text("undo")
        assert answering.answer_one(belt.desk)
        return send(*given)

    belt.answer_with("1")
    monkeypatch.setattr(belt.mailer, "send", slow)
    belt.keep_trying(2)
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)
    assert belt.gateway.texts[-1] == "✅ Sent to john@example.com (#1)"


def asked_back_in_hand(belt: Belt, monkeypatch: pytest.MonkeyPatch, failure: ServiceError) -> None:
    """Have the owner text undo while the reply is being handed to SMTP, which then fails."""

    def slow(*_: object) -> str:
        belt.answer_with("undo")
        raise failure

    belt.answer_with("1")
    with monkeypatch.context() as patched:
        patched.setattr(belt.mailer, "send", slow)
        assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)


def test_an_undo_while_smtp_is_spoken_to_counts_also_when_the_reply_is_refused_for_good(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.offered()
    asked_back_in_hand(belt, monkeypatch, ServiceError("SMTP server", "550 no", Kind.PERMANENT))
    belt.work()
    assert belt.state(1) is State.AWAITING_USER
    assert belt.gateway.texts[-1].startswith("Taken back: #1")


@pytest.mark.parametrize(
    "failure",
    [
        ServiceError("SMTP server", "451 later", Kind.TRANSIENT),
        AccountError("SMTP server", "535 bad credentials", Trouble.CREDENTIALS),
    ],
)
def test_an_undo_is_over_once_the_owner_has_the_reply_tried_again(
    belt: Belt, monkeypatch: pytest.MonkeyPatch, failure: ServiceError
) -> None:
    belt.offered()
    asked_back_in_hand(belt, monkeypatch, UNKNOWN)
    belt.keep_trying(5)
    belt.sql("UPDATE workflow_state SET updated_at = updated_at - interval '5 s'")
    assert (belt.state(1), belt.workflow(1).error) == (State.FAILED, OUTCOME_UNKNOWN)
    belt.mailer.failures.append(failure)
    belt.answer("retry #1")
    assert belt.state(1) is State.USER_APPROVED
    assert belt.workflow(1).send_started_at is None, "it certainly was not sent"
    belt.answer("retry")
    belt.keep_trying(2)
    assert belt.state(1) is State.REPLY_SENT


def test_while_sent_mail_is_looked_into_nothing_is_promised_to_who_wants_a_reply_back(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    belt.answer("1")
    assert belt.state(1) is State.USER_APPROVED
    assert [text for text in belt.answer("undo") if "taken back" in text.lower()] == []


def test_an_undo_that_is_read_while_its_reply_is_put_back_is_not_lost(belt: Belt) -> None:
    belt.offered()
    belt.answer_with("1")
    plain = belt.desk

    def unread() -> bool:
        belt.answer_with("undo")
        return True

    belt.desk = replace(plain, unread=unread)
    assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.desk = plain
    belt.keep_trying(3)
    assert (belt.state(1), belt.mailer.mails) == (State.AWAITING_USER, [])


def test_an_undo_that_is_being_recorded_as_smtp_refuses_is_heard(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    belt.offered()
    belt.answer_with("1")
    ask_back, asked, others = workflows.ask_back, threading.Event(), list[threading.Thread]()

    def slowly(tx: Transaction, workflow: Workflow, at: datetime) -> None:
        ask_back(tx, workflow, at)
        tx.rows("moment")  # what is deferred goes out with it
        asked.set()
        deadline = time.monotonic() + 10
        while not belt.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert time.monotonic() < deadline

    def send(*_: object) -> str:
        belt.text("undo")
        other = threading.Thread(target=lambda: answering.answer_one(belt.desk))
        other.start()
        others.append(other)
        assert asked.wait(10)
        raise ServiceError("SMTP server", "451 later", Kind.TRANSIENT)

    with monkeypatch.context() as patched:
        patched.setattr(workflows, "ask_back", slowly)
        patched.setattr(belt.mailer, "send", send)
        assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
        others[0].join(10)
    belt.keep_trying(3)
    assert (belt.state(1), belt.mailer.mails) == (State.AWAITING_USER, [])


def test_an_approval_after_an_undo_in_hand_is_told_what_becomes_of_that(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.offered()

    def slow(*_: object) -> str:
        for seconds, words in ((2, "undo"), (4, "1 #1")):
            belt.text(words, at=datetime.now(UTC) + timedelta(seconds=seconds))
            assert answering.answer_one(belt.desk)
        raise ServiceError("SMTP server", "451 later", Kind.TRANSIENT)

    belt.answer_with("1")
    with monkeypatch.context() as patched:
        patched.setattr(belt.mailer, "send", slow)
        assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.work()
    assert belt.state(1) is State.AWAITING_USER
    assert [text for text in belt.gateway.texts if text.startswith("#1 is approved")] == []


def test_a_bare_undo_is_not_for_what_was_approved_after_it_was_written(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1", at=datetime.now(UTC) + timedelta(seconds=2))
    belt.answer("undo", at=datetime.now(UTC) - timedelta(seconds=30))
    assert belt.state(1) is State.USER_APPROVED


def test_a_reply_that_is_put_back_while_the_database_is_away_is_not_taken_for_one_that_may_be_out(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.offered()
    belt.answer_with("1")
    plain, transaction, away = belt.desk, Database.transaction, [1]

    def shaky(database: Database) -> AbstractContextManager[Transaction]:
        if belt.sql("SELECT 1 FROM workflow_state WHERE send_started_at IS NOT NULL") and away:
            away.pop()
            raise DatabaseUnavailable("The connection was lost.")
        return transaction(database)

    belt.desk = replace(plain, unread=lambda: True)
    with monkeypatch.context() as patched:
        patched.setattr(Database, "transaction", shaky)
        assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    assert away == []
    belt.desk = plain
    belt.keep_trying(2)
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)


def test_nothing_is_sent_while_the_owner_may_have_texted_something_that_was_not_read(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    belt.desk = replace(belt.desk, unread=lambda: True)
    belt.sql("UPDATE workflow_state SET next_attempt_at = now()")
    belt.work()
    assert (belt.state(1), belt.mailer.mails) == (State.USER_APPROVED, [])
    # What was not read was an undo.
    belt.answer("undo")
    belt.desk = replace(belt.desk, unread=lambda: False)
    belt.keep_trying(2)
    assert (belt.state(1), belt.mailer.mails) == (State.AWAITING_USER, [])


def test_a_reply_that_waited_for_what_was_not_read_goes_out_afterwards(belt: Belt) -> None:
    belt.offered()
    belt.desk = replace(belt.desk, unread=lambda: True)
    belt.answer("1")
    assert belt.mailer.mails == []
    belt.desk = replace(belt.desk, unread=lambda: False)
    belt.hurry()
    belt.work()
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)
    assert belt.workflow(1).attempts == 0


def test_quiet_success_means_no_confirmation(belt: Belt) -> None:
    belt.with_policy(confirm=False)
    belt.offered()
    assert belt.answer("1") == []
    assert len(belt.mailer.mails) == 1


def test_a_row_that_failed_in_a_state_of_its_own_can_be_retried(belt: Belt) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET current_state = 'failed', previous_state = 'awaiting_user'")
    belt.answer("retry #1")
    assert belt.state(1) is State.AWAITING_USER


def test_a_process_that_stood_still_between_lease_and_sending_sends_nothing(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = belt.offered()
    build, before = letters.build_message, clock.now

    def build_slowly(*given: Any) -> bytes:
        monkeypatch.setattr(clock, "now", lambda: before() + belt.desk.policy.lease_seconds)
        return build(*given)

    with monkeypatch.context() as slowly:
        slowly.setattr("email_orchestrator.workflow.replying.build_message", build_slowly)
        belt.answer("1")
    assert belt.mailer.mails == []
    assert belt.state(workflow.id) is State.USER_APPROVED
    belt.hurry()
    belt.work()
    assert belt.state(workflow.id) is State.REPLY_SENT


def test_a_fault_of_our_own_while_sending_is_an_unknown_outcome(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(RuntimeError("a fault"))
    belt.answer("1")
    belt.keep_trying(3)
    assert belt.workflow(1).error == "outcome unknown"
    assert belt.mailer.mails == []


def test_that_a_reply_is_out_is_recorded_however_long_the_database_is_away(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = belt.offered()
    belt.answer_with("1")
    reachable, send = Database.transaction, belt.mailer.send

    def away(_: Database) -> AbstractContextManager[Transaction]:
        raise DatabaseUnavailable("The database cannot be reached.")

    def send_and_lose_the_database(*given: Any) -> str:
        monkeypatch.setattr(Database, "transaction", away)
        return send(*given)

    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == 30:
            monkeypatch.setattr(Database, "transaction", reachable)
        return False

    monkeypatch.setattr(belt.mailer, "send", send_and_lose_the_database)
    belt.desk = replace(belt.desk, wait=wait)
    assert replying.reply_one(belt.desk, belt.mailer, None)
    assert belt.state(workflow.id) is State.REPLY_SENT


@pytest.fixture
def changed(belt: Belt) -> Belt:
    """A belt on which the fate of #1 is not known, and what it would say now is not what was approved."""
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.append(UNKNOWN)
    belt.answer("1")
    assert belt.state(1) is State.FAILED
    belt.with_policy(signature="New signature")
    return belt


def test_a_reply_of_unknown_fate_is_not_sent_again_by_a_bare_word_after_it_was_changed(changed: Belt) -> None:
    changed.answer("retry #1")
    changed.answer("1")
    assert changed.mailer.mails == []


def test_a_reply_of_unknown_fate_is_not_called_unsent_after_it_was_changed(changed: Belt) -> None:
    assert not any("was not sent" in text for text in changed.answer("retry #1"))


def test_a_retry_from_before_the_fate_became_unknown_does_not_send_again(belt: Belt) -> None:
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.append(PERMANENT)
    belt.answer("1")
    # The owner asks for a retry, which the webhook loses, and does it from a shell. Now the outcome is unknown.
    written = datetime.now(UTC) + timedelta(seconds=2)
    belt.mailer.failures.append(UNKNOWN)
    with belt.database.transaction() as tx:
        actions.retry(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.work()
    assert belt.workflow(1).error == "outcome unknown"
    belt.sql("UPDATE workflow_state SET updated_at = updated_at + interval '60 s'")
    belt.sql("UPDATE workflow_event SET at = at + interval '60 s' WHERE reason = 'outcome unknown'")
    belt.answer("retry #1", at=written)
    assert belt.mailer.mails == []


@pytest.mark.parametrize("lookups", [1, 3], ids=["looked up", "given up"])
def test_a_reply_that_smtp_accepted_counts_as_sent_though_its_lease_was_taken_over(belt: Belt, lookups: int) -> None:
    belt.offered()
    send = belt.mailer.send

    def slow(sender: str, recipient: str, message: bytes, until: float) -> str:
        answer = send(sender, recipient, message, until)
        # The database is away for longer than the lease, and another process is quicker when it is back.
        for _ in range(lookups):
            belt.lapse()
            belt.hurry()
            replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
        return answer

    belt.mailer.send = slow  # type: ignore[method-assign]
    belt.answer("1")
    assert belt.state(1) is State.REPLY_SENT


def test_a_reply_whose_record_was_committed_unheard_is_confirmed_once_and_alarms_nobody(
    belt: Belt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = belt.offered()
    belt.answer_with("1")
    real, begun = Database.transaction, itertools.count()

    @contextmanager
    def unheard(database: Database) -> Iterator[Transaction]:
        with real(database) as tx:
            yield tx
        if next(begun) == 1:
            raise DatabaseUnavailable("The connection was lost as the commit was answered.")

    monkeypatch.setattr(Database, "transaction", unheard)
    assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.work()
    assert belt.state(workflow.id) is State.REPLY_SENT
    assert len([text for text in belt.gateway.texts if text.startswith("✅ Sent")]) == 1
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_trouble_with_the_account_pauses_all_replies_whoever_has_the_lease_by_now(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.offered()
    belt.answer_with("1")

    def refused_too_late(*_: Any) -> str:
        belt.sql("UPDATE workflow_state SET claimed_by = 'somebody else'")
        raise AccountError("SMTP server", "535", Trouble.CREDENTIALS)

    monkeypatch.setattr(belt.mailer, "send", refused_too_late)
    assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    assert belt.sql("SELECT value ->> 'trouble' FROM service_state WHERE key = 'mail_pause'") == [("credentials",)]


# A reply that may be out stays so -----------------------------------------------------------------------------------


def test_a_later_refusal_does_not_make_known_what_became_of_the_first_attempt(belt: Belt) -> None:
    of_unknown_fate(belt)
    assert (belt.state(1), belt.workflow(1).doubt) == (State.FAILED, OUTCOME_UNKNOWN)
    belt.mailer.failures.append(PERMANENT)
    belt.answer("retry #1")
    assert belt.state(1) is State.FAILED
    belt.answer("retry")
    assert belt.mailer.mails == []
    assert "is not known" in belt.answer("3 #1")[0]
    assert "is not known" in belt.answer("1 #1")[0]


@pytest.fixture
def offered_anew(belt: Belt) -> Belt:
    """A draft that comes again because what was approved has changed since, and that may be out as it was."""
    of_unknown_fate(belt)
    belt.with_policy(signature="-- \nnew")
    belt.answer("retry #1")
    assert belt.state(1) is State.AWAITING_USER
    return belt


def test_what_may_be_out_goes_out_by_its_number_only_also_when_it_was_rewritten(offered_anew: Belt) -> None:
    offered_anew.answer("2 #1 shorter")
    offered_anew.answer("1")
    assert offered_anew.mailer.mails == []
    offered_anew.answer("1 #1")
    assert offered_anew.state(1) is State.REPLY_SENT


def test_of_what_may_be_out_no_timeout_says_that_nothing_was_sent(offered_anew: Belt) -> None:
    offered_anew.sql("UPDATE workflow_state SET timeout_at = now()")
    offered_anew.check_timeouts()
    offered_anew.work()
    assert offered_anew.state(1) is State.TIMEOUT
    assert "is not known" in offered_anew.gateway.texts[-1]
    assert "Nothing was sent" not in offered_anew.gateway.texts[-1]


def after_a_try(belt: Belt) -> None:
    belt.generator.failures.append(ServiceError("AI Reply Generator", "it answered 503", Kind.TRANSIENT))
    belt.answer("2 #1 shorter")
    belt.keep_trying(2)
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()


def after_a_retry(belt: Belt) -> None:
    belt.generator.failures.append(ServiceError("AI Reply Generator", "it answered 422", Kind.PERMANENT))
    belt.answer("2 #1 shorter")
    assert belt.state(1) is State.FAILED
    belt.answer("retry #1")
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()


def by_a_newer_email(belt: Belt) -> None:
    belt.email(thread_id=belt.workflow(1).thread_id)
    belt.poll()
    belt.work()


def elsewhere(belt: Belt) -> None:
    belt.answer_with("2 #1 shorter")
    belt.sql("UPDATE processed_emails SET status = 'sent'")
    belt.work()


def test_a_closed_workflow_whose_reply_may_be_out_says_why_it_was_closed(offered_anew: Belt) -> None:
    by_a_newer_email(offered_anew)
    [said] = offered_anew.answer("1 #1")
    assert "(superseded by #2). Whether a reply went out before is not known." in said


@pytest.mark.parametrize("closed", [after_a_try, after_a_retry, by_a_newer_email, elsewhere])
def test_of_what_may_be_out_no_end_says_that_nothing_was_sent(
    offered_anew: Belt, closed: Callable[[Belt], None]
) -> None:
    before = len(offered_anew.gateway.texts)
    closed(offered_anew)
    assert offered_anew.state(1) in (State.TIMEOUT, State.USER_IGNORED)
    said = [*offered_anew.gateway.texts[before:], *offered_anew.answer("3 #1")]
    assert not any("Nothing was sent" in text for text in said)
    assert "is not known" in said[-1]
