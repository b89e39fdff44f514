"""The belt step by step on a real database: the plain path, edits, ignoring, and what is never answered."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from email_orchestrator.core.states import State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.workflow import drafting, intake

if TYPE_CHECKING:
    from .conftest import Belt


def test_an_approved_draft_goes_out_threaded_under_the_original(belt: Belt) -> None:
    workflow = belt.offered(
        subject="Quarterly review", message_id="<c@example.com>", thread_id="<a@x>", in_reply_to="<b@x>"
    )
    belt.generator.texts.append("unused")
    answers = belt.answer("1")
    assert answers == ["✅ Sent to john@example.com (#1)"]
    [(sender, recipient, content)] = belt.mailer.mails
    assert (sender, recipient) == ("owner@example.com", "john@example.com")
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert message["Subject"] == "Re: Quarterly review"
    assert message["In-Reply-To"] == "<c@example.com>"
    assert message["References"] == "<a@x> <b@x> <c@example.com>"
    assert message["Message-ID"] == belt.workflow(workflow.id).reply_message_id
    assert message["Auto-Submitted"] is None
    assert message.get_content().strip() == "Draft number 1."
    assert belt.email_status("<c@example.com>") == "sent"
    assert belt.reports == [(workflow.id, 1, "approve")]


def test_every_transition_leaves_its_event(belt: Belt) -> None:
    workflow = belt.offered()
    belt.answer("2 shorter")
    belt.answer("1")
    assert belt.events(workflow.id) == [
        *("pending", "ai_generating", "ai_generated", "sms_sending", "sms_sent", "awaiting_user"),
        *("user_edit_requested", "ai_generating", "ai_generated", "sms_sending", "sms_sent", "awaiting_user"),
        *("user_approved", "reply_sent"),
    ]
    actors = belt.sql("SELECT to_state, actor FROM workflow_event WHERE from_state = 'awaiting_user' ORDER BY id")
    assert actors == [("user_edit_requested", "sms"), ("user_approved", "sms")]


def test_an_edit_carries_the_draft_and_every_instruction_so_far(belt: Belt) -> None:
    belt.generator.texts.extend(["First draft.", "Second draft.", "Third draft."])
    workflow = belt.offered()
    belt.answer("2 Reject the meeting\nbut be KIND")
    belt.answer('2 #1 say "sorry"')
    context = belt.generator.asked[2][1] or ""
    assert "Second draft." in context
    assert "First draft." not in context
    assert context.index("1. Reject the meeting\nbut be KIND") < context.index('2. say "sorry"')
    assert "Third draft." in belt.gateway.texts[-1]
    kept = belt.sql("SELECT revision, text, instructions FROM draft ORDER BY revision")
    assert kept == [
        (1, "First draft.", None),
        (2, "Second draft.", "Reject the meeting\nbut be KIND"),
        (3, "Third draft.", 'say "sorry"'),
    ]
    assert belt.state(workflow.id) is State.AWAITING_USER


def test_after_the_last_allowed_edit_the_draft_stays_and_can_be_sent(belt: Belt) -> None:
    belt.with_policy(max_edit_iterations=2)
    workflow = belt.offered()
    belt.answer("2 shorter")
    belt.answer("2 longer")
    [refusal] = belt.answer("2 once more")
    assert "limit" in refusal
    assert belt.state(workflow.id) is State.AWAITING_USER
    assert len(belt.generator.asked) == 3
    belt.answer("1")
    assert belt.state(workflow.id) is State.REPLY_SENT


def test_an_ignored_email_is_closed_and_nothing_is_sent(belt: Belt) -> None:
    workflow = belt.offered()
    [answer] = belt.answer("3")
    assert "Left unanswered" in answer
    assert belt.state(workflow.id) is State.USER_IGNORED
    assert belt.email_status(workflow.message_id) == "ignored"
    assert belt.mailer.mails == []


@pytest.mark.parametrize(
    ("sender", "reason"),
    [("no-reply@shop.example", "machine"), ("owner@example.com", "own"), ("not an address", "address")],
)
def test_machines_cost_neither_a_draft_nor_a_text(belt: Belt, sender: str, reason: str) -> None:
    message_id = belt.email(sender=sender)
    belt.poll()
    belt.work()
    workflow = belt.workflow(message_id)
    assert workflow.state is State.USER_IGNORED
    assert reason in (workflow.error or "")
    assert belt.events(message_id) == ["pending", "user_ignored"]
    assert belt.email_status(message_id) == "ignored"
    assert (belt.generator.asked, belt.gateway.texts) == ([], [])


def test_an_email_without_a_message_id_is_recorded_as_left_alone(belt: Belt) -> None:
    belt.email(message_id="")
    assert belt.poll() == 1
    assert belt.sql("SELECT current_state FROM workflow_state") == [("user_ignored",)]


def test_an_email_without_subject_and_body_still_reaches_the_owner(belt: Belt) -> None:
    workflow = belt.offered(subject=None, body=None)
    assert "john@example.com" in belt.gateway.texts[0]
    belt.answer("1")
    message = email.message_from_bytes(belt.mailer.mails[0][2], policy=email.policy.default)
    assert message["Subject"] == "Re: (no subject)"
    assert belt.state(workflow.id) is State.REPLY_SENT


def test_emails_are_taken_oldest_first_and_so_many_a_poll(belt: Belt) -> None:
    belt.with_policy(max_emails_per_poll=2)
    now = datetime.now(UTC)
    newest, oldest, middle = (belt.email(received_at=now - timedelta(hours=hours)) for hours in (1, 3, 2))
    assert belt.poll() == 2
    assert belt.sql("SELECT message_id FROM workflow_state ORDER BY id") == [(oldest,), (middle,)]
    assert belt.poll() == 1
    assert belt.workflow(newest).state is State.PENDING


def test_polling_again_takes_nothing_twice(belt: Belt) -> None:
    belt.email()
    assert [belt.poll(), belt.poll()] == [1, 0]


def test_no_new_draft_is_written_while_enough_are_waiting(belt: Belt) -> None:
    belt.with_policy(max_awaiting=2)
    for _ in range(3):
        belt.email()
    belt.poll()
    belt.work()
    assert [belt.state(number) for number in (1, 2, 3)] == [State.AWAITING_USER] * 2 + [State.PENDING]
    belt.answer("3 #1")
    assert belt.state(3) is State.AWAITING_USER


def test_old_emails_are_left_alone_but_an_outage_loses_none(belt: Belt) -> None:
    now = datetime.now(UTC)
    old = belt.email(received_at=now - timedelta(hours=60))
    assert belt.poll() == 0
    belt.sql("UPDATE service_state SET value = jsonb_set(value, '{at}', to_jsonb(now() - interval '70 hours'))")
    assert belt.poll() == 1
    assert belt.state(old) is State.PENDING


def test_what_the_limit_left_over_does_not_fall_out_of_the_window(belt: Belt) -> None:
    belt.with_policy(max_emails_per_poll=1)
    edge = datetime.now(UTC) - timedelta(hours=24) + timedelta(minutes=5)
    belt.email(received_at=edge - timedelta(minutes=1))
    second = belt.email(received_at=edge)
    assert belt.poll() == 1
    belt.sql("UPDATE processed_emails SET received_at = received_at - interval '2 hours' WHERE message_id = %s", second)
    belt.sql(
        "UPDATE service_state SET value = jsonb_build_object('at', (value ->> 'at')::timestamptz - interval '2 hours',"
        " 'unfinished_since', (value ->> 'unfinished_since')::timestamptz - interval '2 hours')"
        " WHERE key = 'last_poll'"
    )
    assert belt.poll() == 1


def test_a_newer_email_of_the_thread_overtakes_a_waiting_draft(belt: Belt) -> None:
    first = belt.offered(thread_id="<thread@x>")
    second = belt.offered(thread_id="<thread@x>")
    closed = belt.workflow(first.id)
    assert (closed.state, closed.error) == (State.USER_IGNORED, f"superseded by #{second.id}")
    assert f"#{first.id}" in belt.gateway.texts[-1]
    [answer] = belt.answer(f"1 #{first.id}")
    assert "superseded" in answer
    assert belt.mailer.mails == []


def test_a_sender_who_gets_too_many_replies_is_left_and_the_owner_told_once(belt: Belt) -> None:
    belt.with_policy(max_replies_per_sender=1)
    belt.offered()
    belt.answer("1")
    for _ in range(2):
        message_id = belt.email()
        belt.poll()
        belt.work()
        assert belt.state(message_id) is State.USER_IGNORED
    assert sum("may be a machine" in text for text in belt.gateway.texts) == 1


def test_replies_of_some_hours_ago_make_nobody_a_machine(belt: Belt) -> None:
    belt.with_policy(max_replies_per_sender=1)
    belt.offered()
    belt.answer("1")
    belt.sql("UPDATE workflow_state SET reply_sent_at = reply_sent_at - interval '4 hours'")
    belt.offered()


def test_emails_without_a_thread_overtake_nothing(belt: Belt) -> None:
    belt.offered(thread_id="")
    belt.offered(thread_id="")
    assert belt.state(1) is State.AWAITING_USER


@pytest.mark.parametrize("status", ["sent", "ignored", "pending"])
def test_nothing_is_sent_once_somebody_else_dealt_with_the_email(belt: Belt, status: str) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE processed_emails SET status = %s", status)
    belt.answer("1")
    assert belt.mailer.mails == []
    assert belt.state(workflow.id) is State.FAILED
    assert "dealt with elsewhere" in (belt.workflow(workflow.id).error or "")
    assert belt.email_status(workflow.message_id) == status


def test_an_email_that_is_dealt_with_elsewhere_gets_no_draft(belt: Belt) -> None:
    message_id = belt.email()
    belt.poll()
    belt.sql("UPDATE processed_emails SET status = 'sent'")
    belt.work()
    assert belt.state(message_id) is State.USER_IGNORED
    assert belt.gateway.texts == []


def test_an_owner_who_waits_for_a_rewritten_draft_hears_that_none_comes(belt: Belt) -> None:
    belt.offered()
    belt.with_policy(quiet_hours=(time(0, 0), time(23, 59, 59)))
    belt.answer_with("2 shorter")
    belt.sql("UPDATE processed_emails SET status = 'sent'")
    belt.work()
    assert belt.state(1) is State.USER_IGNORED
    assert "dealt with elsewhere" in belt.gateway.texts[-1]


def test_an_owner_who_had_a_first_draft_tried_again_hears_that_none_comes(belt: Belt) -> None:
    belt.generator.failures.append(ServiceError("AI Reply Generator", "it answered with 422", Kind.PERMANENT))
    belt.email()
    belt.poll()
    belt.work()
    belt.answer_with("retry #1")
    belt.sql("UPDATE processed_emails SET status = 'sent'")
    belt.work()
    assert belt.state(1) is State.USER_IGNORED
    assert "dealt with elsewhere" in belt.gateway.texts[-1]


def test_the_monitors_clean_up_takes_everything_about_an_email_along(belt: Belt) -> None:
    belt.offered()
    belt.answer("1")
    belt.sql("DELETE FROM processed_emails")
    for table in ("workflow_state", "workflow_event", "draft"):
        assert belt.sql(f"SELECT count(*) FROM {table}") == [(0,)]


def test_several_copies_of_an_answer_are_one_answer(belt: Belt) -> None:
    belt.offered()
    at = datetime.now(UTC) + timedelta(seconds=1)
    receipts = [belt.text("1", at), belt.text("1", at)]
    belt.work()
    assert [str(receipt) for receipt in receipts] == ["kept", "repeated"]
    assert len(belt.mailer.mails) == 1


def test_only_an_email_that_came_in_since_the_last_look_calls_for_a_poll(belt: Belt) -> None:
    belt.email()
    arrivals = intake.Arrivals(belt.desk)
    assert not arrivals.any(), "the first poll takes what is there already"
    assert not arrivals.any()
    belt.email()
    assert arrivals.any()
    assert not arrivals.any()


def test_an_edit_is_drafted_before_new_emails(belt: Belt) -> None:
    belt.email()
    belt.poll()
    belt.sql("UPDATE workflow_state SET next_attempt_at = now() + interval '1 hour'")
    belt.offered()
    belt.answer_with("2 #2 shorter")
    belt.hurry()
    drafting.draft_one(belt.desk, belt.generator)
    assert belt.generator.asked[-1][0] == belt.workflow(2).message_id


def test_replies_go_out_in_the_order_of_their_approval(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    for sender in ("ann@example.com", "bob@example.com"):
        belt.offered(sender=sender)
    belt.answer("1 #2")
    belt.answer("1 #1")
    belt.hurry()
    belt.work()
    assert [recipient for _, recipient, _ in belt.mailer.mails] == ["bob@example.com", "ann@example.com"]
