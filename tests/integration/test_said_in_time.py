"""What the owner said in time counts, however late it is acted on: before the clock, a newer email, an older word."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from email_orchestrator.core.models import TextStyle
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.workflow import actions, answering, replying, texting
from email_orchestrator.workflow.desk import Room

if TYPE_CHECKING:
    from .conftest import Belt

DOWN = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)


def ago(seconds: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds)


def time_to_send(belt: Belt, number: int) -> None:
    """Have a reply's delay be over, and the daemon look for replies that are due."""
    belt.sql("UPDATE workflow_state SET next_attempt_at = now() WHERE id = %s", number)
    replying.reply_in_turn(belt.desk, belt.mailer, belt.sent_mail)


def test_an_undo_that_is_stored_is_acted_on_before_the_reply_goes_out(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    belt.text("undo")

    time_to_send(belt, 1)

    assert belt.mailer.mails == []
    belt.work()
    assert belt.state(1) is State.AWAITING_USER


def test_an_undo_that_waits_for_its_turn_holds_the_replies(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1 #1")
    belt.first_part_out()
    belt.gateway.failures.append(DOWN)
    texting.text_one(belt.desk, belt.gateway)
    for words in ("3 #2", "undo"):
        belt.text(words)
        answering.answer_all(belt.desk)

    time_to_send(belt, 1)

    assert belt.mailer.mails == []
    belt.keep_trying(3)
    assert (belt.state(1), belt.state(2)) == (State.AWAITING_USER, State.USER_IGNORED)


def test_once_a_text_is_acted_on_the_replies_that_rested_for_it_are_called(belt: Belt) -> None:
    belt.text("list")
    belt.woken.clear()
    answering.answer_all(belt.desk)
    assert Room.REPLYING in belt.woken


def test_an_undo_that_could_mean_two_gives_the_owner_time_to_say_which(belt: Belt) -> None:
    belt.with_policy(send_delay=5)
    for number in (1, 2):
        belt.offered()
        belt.answer(f"1 #{number}")

    asked = belt.answer("undo")

    assert asked[0].endswith('Text "undo #1" within a minute.')
    waits = belt.sql("SELECT next_attempt_at > now() + interval '50 s' FROM workflow_state ORDER BY id")
    assert waits == [(True,), (True,)]


def test_a_bare_undo_means_the_one_that_can_be_taken_back(belt: Belt) -> None:
    belt.offered()
    belt.offered(sender="maria@example.org")
    belt.mailer.failures.append(ServiceError("SMTP", "lost", Kind.UNKNOWN))
    belt.answer("1 #1")
    assert belt.workflow(1).doubt
    belt.with_policy(send_delay=60)
    belt.answer("1 #2")

    belt.answer("undo")

    assert belt.state(2) is State.AWAITING_USER


def test_an_old_undo_takes_no_newer_approval_back(belt: Belt) -> None:
    belt.with_policy(send_delay=600)
    belt.offered()
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '10 min'")
    belt.answer("1 #1", ago(50))
    belt.answer("undo #1", ago(30))
    belt.answer("1 #1", ago(20))

    belt.answer("undo #1", ago(40))

    assert belt.state(1) is State.USER_APPROVED


def test_an_approval_that_waits_for_its_draft_to_arrive_is_not_lost_to_a_newer_email(belt: Belt) -> None:
    belt.with_policy(style=TextStyle("multipart"))
    belt.email(thread_id="<t>")
    belt.poll()
    belt.draft()
    texting.text_one(belt.desk, belt.gateway)
    belt.text("1 #1")
    answering.answer_all(belt.desk)
    belt.email(thread_id="<t>")

    belt.poll()
    belt.work()

    assert belt.state(1) is State.REPLY_SENT


def test_an_approval_that_is_stored_is_not_lost_to_a_newer_email(belt: Belt) -> None:
    belt.offered(thread_id="<t>")
    belt.text("1")
    belt.email(thread_id="<t>")

    belt.poll()
    belt.work()

    assert belt.state(1) is State.REPLY_SENT


def test_a_timeout_by_hand_is_told_and_until_then_a_bare_approval_is_asked_about(belt: Belt) -> None:
    belt.offered()
    belt.offered(sender="maria@example.org")
    with belt.desk.database.transaction() as tx:
        actions.time_out(tx, belt.desk, actions.find(tx, "2"), Actor.CLI)

    belt.sql("UPDATE workflow_event SET at = at - interval '1 min'")
    belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '1 min'")

    belt.answer_with("1")

    assert belt.state(1) is State.AWAITING_USER
    before = len(belt.gateway.texts)
    belt.work()
    assert [text for text in belt.gateway.texts[before:] if text.startswith("⌛ #2")]
    belt.sql("UPDATE sms_outbox SET sent_at = sent_at - interval '1 min'")
    belt.answer("1")
    assert belt.state(1) is State.REPLY_SENT


def test_a_text_held_until_morning_holds_no_reply_that_was_approved_after_it(belt: Belt) -> None:
    belt.offered()
    belt.first_part_out()
    belt.gateway.failures.append(DOWN)
    texting.text_one(belt.desk, belt.gateway)
    belt.text("3 #2")
    answering.answer_all(belt.desk)
    belt.with_policy(quiet_hours=(time(0, 0), time(23, 59, 59)))
    belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '20 min'")
    belt.sql(
        "UPDATE sms_inbox SET received_at = received_at - interval '20 min', stored_at = stored_at - interval '20 min'"
    )
    belt.keep_trying(3)
    assert belt.sql("SELECT count(*) FROM sms_inbox WHERE processed_at IS NULL") == [(1,)]

    belt.answer("1 #1")

    assert belt.state(1) is State.REPLY_SENT


def test_a_bare_undo_of_what_may_be_out_is_told_how_that_stands(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(ServiceError("SMTP", "lost", Kind.UNKNOWN))
    belt.answer("1")
    assert "#1" in belt.answer("undo")[0]


def test_a_plain_answer_to_a_draft_by_its_number_holds_no_reply(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    belt.offered(sender="maria@example.org")
    belt.text("1 #2")

    time_to_send(belt, 1)

    assert belt.state(1) is State.REPLY_SENT
