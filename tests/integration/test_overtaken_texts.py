"""What was written before something happened, and read after it, does no harm; nor do two who act at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg2
import pytest
from house import wait_until

from email_orchestrator.core.models import TextStyle
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.store import emails
from email_orchestrator.store.connection import Database
from email_orchestrator.store.emails import Taking
from email_orchestrator.workflow import actions, answering, intake, texting

from .conftest import SENDER

if TYPE_CHECKING:
    from .conftest import Belt

BLOCKED = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def seconds_ago(seconds: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)


def on_the_phone_for_a_minute(belt: Belt) -> None:
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '1 minute'")


@pytest.mark.parametrize("rewritten", [False, True], ids=["the first draft", "a rewritten one"])
def test_a_text_from_before_a_draft_was_on_its_way_does_not_close_it_between_its_parts(
    belt: Belt, rewritten: bool
) -> None:
    belt.with_policy(style=TextStyle(format="multipart"))
    if rewritten:
        belt.offered()
        on_the_phone_for_a_minute(belt)
        belt.text("2 yes, but on Friday", seconds_ago(20))
        assert answering.answer_one(belt.desk)
    else:
        belt.email()
        belt.poll()
    belt.draft()
    while belt.workflow(1).offered_at is None or belt.state(1) is not State.SMS_SENDING:
        assert texting.text_one(belt.desk, belt.gateway)
    belt.answer("3", seconds_ago(30))
    assert belt.state(1) is State.AWAITING_USER


def test_a_text_from_before_an_edit_does_not_close_what_is_being_rewritten(belt: Belt) -> None:
    belt.offered()
    on_the_phone_for_a_minute(belt)
    belt.text("2 #1 accept, but on Friday", seconds_ago(10))
    assert answering.answer_one(belt.desk)
    belt.answer("3 #1", seconds_ago(20))
    assert belt.state(1) is State.AWAITING_USER
    assert belt.workflow(1).edit_iteration == 1


def test_a_text_from_before_an_approval_does_not_close_it_when_its_sending_failed(belt: Belt) -> None:
    belt.offered()
    on_the_phone_for_a_minute(belt)
    belt.mailer.failures.append(ServiceError("SMTP", "550 no", Kind.PERMANENT))
    belt.answer("1 #1", seconds_ago(10))
    belt.answer("3 #1", seconds_ago(20))
    assert belt.state(1) is State.FAILED


def test_an_approval_from_before_it_was_taken_back_by_hand_sends_nothing(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    on_the_phone_for_a_minute(belt)
    belt.text("1", seconds_ago(20))
    assert answering.answer_one(belt.desk)
    with belt.database.transaction() as tx:
        actions.undo(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.answer("1", seconds_ago(10))
    belt.hurry()
    belt.work()
    assert belt.mailer.mails == []


def test_an_undo_without_a_number_counts_also_for_an_approval_that_is_still_on_its_way(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.offered(sender="maria@example.org")
    on_the_phone_for_a_minute(belt)
    belt.answer("1 #1", seconds_ago(30))
    belt.answer("undo", seconds_ago(10))
    belt.answer("1 #2", seconds_ago(20))
    belt.hurry()
    belt.work()
    assert belt.mailer.mails == []


@pytest.mark.parametrize("refused", [False, True], ids=["not handed over again yet", "refused once"])
def test_a_bare_approval_is_not_for_another_draft_while_one_that_may_be_on_the_phone_is_texted_again(
    belt: Belt, refused: bool
) -> None:
    belt.offered(sender="maria@example.org")
    belt.gateway.failures.extend([ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN)] * 4)
    belt.email(sender="john@example.com")
    belt.poll()
    belt.keep_trying(5)
    assert belt.state(2) is State.FAILED
    belt.text("retry #2")
    assert answering.answer_one(belt.desk)
    if refused:
        belt.gateway.failures.append(ServiceError("SMS Gateway", "the text was not sent", Kind.TRANSIENT))
        belt.work()
    belt.text("1")
    assert answering.answer_one(belt.desk)
    assert [belt.state(1), belt.state(2)] == [State.AWAITING_USER, State.SMS_SENDING]


def a_day_later(belt: Belt) -> None:
    """Let a day pass over all that was done and texted."""
    for table, column in (("workflow_event", "at"), ("workflow_state", "offered_at"), ("sms_outbox", "sent_at")):
        belt.sql(f"UPDATE {table} SET {column} = {column} - interval '1 day'")


@pytest.mark.parametrize("polls", [1, 2])
def test_a_draft_replaces_the_one_that_the_owner_saw_though_another_came_between(belt: Belt, polls: int) -> None:
    belt.offered(thread_id="<t@x>")
    belt.email(thread_id="<t@x>")
    if polls == 2:
        belt.poll()
    belt.email(thread_id="<t@x>")
    belt.poll()
    belt.work()
    assert "Replaces #1" in belt.gateway.texts[-1]
    a_day_later(belt)
    belt.answer("1")
    assert belt.state(3) is State.REPLY_SENT


@pytest.mark.parametrize("how", ["rewritten", "texted once more"])
def test_a_draft_that_the_owner_saw_is_the_one_replaced_though_it_is_just_coming_anew(belt: Belt, how: str) -> None:
    belt.offered(thread_id="<t@x>")
    belt.offered(thread_id="<t@x>")
    if how == "rewritten":
        belt.answer_with("2 #2 shorter")
        belt.draft()
    else:
        belt.sql("UPDATE workflow_state SET timeout_at = now()")
        belt.check_timeouts()
        belt.answer_with("again #2")
    belt.email(thread_id="<t@x>")
    belt.poll()
    belt.work()
    assert "Replaces #2" in belt.gateway.texts[-1]
    a_day_later(belt)
    belt.answer("1")
    assert belt.state(3) is State.REPLY_SENT, "that #1 was replaced was told with #2"


def test_a_draft_replaces_the_one_that_the_owner_saw_though_it_overtakes_another_as_well(belt: Belt) -> None:
    belt.offered(thread_id="<t@x>", received_at=seconds_ago(20))
    belt.email(thread_id="<t@x>", received_at=seconds_ago(30))
    belt.poll()
    assert belt.state(2) is State.PENDING, "it came before the one that waits"
    belt.email(thread_id="<t@x>", received_at=seconds_ago(10))
    belt.poll()
    belt.work()
    assert [belt.state(number) for number in (1, 2)] == [State.USER_IGNORED, State.USER_IGNORED]
    assert "Replaces #1" in belt.gateway.texts[-1]


def test_an_email_that_the_monitor_is_just_sorting_out_stays_sorted_out(belt: Belt) -> None:
    message_id = belt.email()
    sorting = psycopg2.connect(belt.dsn)
    try:
        with sorting.cursor() as cursor:
            cursor.execute("UPDATE processed_emails SET status = 'filtered'")
        poll = threading.Thread(target=belt.poll)
        poll.start()
        wait_until(lambda: belt.sql(BLOCKED))
        sorting.commit()
        poll.join()
    finally:
        sorting.close()
    belt.work()
    assert belt.email_status(message_id) == "filtered"
    assert belt.gateway.texts == []


def test_a_draft_that_moves_on_just_then_is_overtaken_all_the_same(belt: Belt) -> None:
    belt.email(thread_id="<thread@example.com>")
    belt.poll()
    belt.email(thread_id="<thread@example.com>")

    def poll() -> None:
        belt.poll()
        belt.database.close()

    poller = threading.Thread(target=poll)
    worker = psycopg2.connect(belt.dsn)
    with worker, worker.cursor() as cursor:
        cursor.execute("UPDATE workflow_state SET current_state = 'ai_generating' WHERE id = 1")
        poller.start()
        assert wait_until(lambda: belt.sql(BLOCKED) != [])
    worker.close()
    poller.join()
    assert [belt.state(1), belt.state(2)] == [State.USER_IGNORED, State.PENDING]


def test_an_email_that_another_process_is_just_taking_is_overtaken_by_the_next_of_its_thread(belt: Belt) -> None:
    first = belt.email(thread_id="<thread@example.com>")
    another = replace(belt.desk, database=Database(belt.dsn))

    def poll() -> None:
        intake.poll(another, None)
        another.database.close()

    with belt.database.transaction() as tx:
        emails.take(tx, [Taking(first, "Meeting", SENDER, "", "Hello", "<thread@example.com>", State.PENDING)])
        second = belt.email(thread_id="<thread@example.com>")
        poller = threading.Thread(target=poll)
        poller.start()
        assert wait_until(lambda: belt.sql(BLOCKED))
    poller.join()
    assert (belt.state(first), belt.state(second)) == (State.USER_IGNORED, State.PENDING)
