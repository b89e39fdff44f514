"""What the owner can meet on the phone: which draft is meant, late and early answers, help, reminders, timeouts."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from email_orchestrator.core.commands import parse_command
from email_orchestrator.core.models import InboundText, TextStyle
from email_orchestrator.core.states import State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.store import inbox
from email_orchestrator.workflow import answering, conversation, drafting, receiving, upkeep

if TYPE_CHECKING:
    from .conftest import Belt

SENTENCE = "All work and no play makes a very long letter indeed. "
LONG = SENTENCE * 80


# Which draft is meant -----------------------------------------------------------------------------------------------


def test_an_unnamed_answer_with_several_waiting_does_nothing_and_asks(belt: Belt) -> None:
    belt.offered()
    belt.offered(sender="maria@example.org")
    [question] = belt.answer("1")
    assert "Nothing was done yet" in question
    assert "#1 john@example.com" in question
    assert "#2 maria@example.org" in question
    assert belt.mailer.mails == []


def test_a_number_alone_completes_the_question(belt: Belt) -> None:
    belt.offered()
    belt.offered()
    belt.answer("1")
    belt.answer("#2")
    assert [belt.state(1), belt.state(2)] == [State.AWAITING_USER, State.REPLY_SENT]


def test_a_number_alone_completes_an_edit_with_its_instructions(belt: Belt) -> None:
    belt.offered()
    belt.offered()
    belt.answer("2 much Shorter")
    belt.answer("#1")
    assert "much Shorter" in (belt.generator.asked[-1][1] or "")
    assert belt.workflow(1).edit_iteration == 1


def test_a_number_alone_says_which_approval_to_take_back(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    for seconds in (1, 2):
        number = belt.offered().id
        belt.answer(f"1 #{number}", at=datetime.now(UTC) + timedelta(seconds=seconds))
    assert belt.answer("undo", at=datetime.now(UTC) + timedelta(seconds=3))[0].startswith("Which one?")
    belt.answer("#1", at=datetime.now(UTC) + timedelta(seconds=4))
    assert (belt.state(1), belt.state(2)) == (State.AWAITING_USER, State.USER_APPROVED)


def test_a_number_alone_says_what_to_try_again(belt: Belt) -> None:
    for _ in range(2):
        number = belt.offered().id
        belt.mailer.failures.append(ServiceError("SMTP server", "no", Kind.PERMANENT))
        belt.answer(f"1 #{number}")
        assert belt.state(number) is State.FAILED
    assert belt.answer("retry")[0].startswith("Which one?")
    belt.answer("#2")
    assert (belt.state(1), belt.state(2)) == (State.FAILED, State.REPLY_SENT)


@pytest.mark.parametrize("between", ["Yes", "Liked “What shall I change in #1?”"])
def test_what_to_change_is_still_asked_after_a_text_that_is_no_answer(belt: Belt, between: str) -> None:
    belt.offered()
    belt.answer("2")
    belt.answer(between)
    belt.answer("shorter")
    assert belt.workflow(1).edit_iteration == 1
    assert "shorter" in str(belt.generator.asked[-1])


def test_a_number_alone_means_nothing_after_ten_minutes_or_another_command(belt: Belt) -> None:
    belt.offered()
    belt.offered()
    belt.answer("1")
    belt.sql(
        "UPDATE service_state SET value = jsonb_set(value, '{at}', to_jsonb(now() - interval '11 minutes'))"
        " WHERE key = 'dialogue'"
    )
    belt.answer("#2")
    belt.answer("1")
    belt.answer("list")
    belt.answer("#2")
    assert belt.mailer.mails == []


@pytest.mark.parametrize("words", ["1 #2", "#2 1", "1 2", "send #2", "Approve 2."])
def test_a_named_answer_means_the_one_it_names(belt: Belt, words: str) -> None:
    belt.offered()
    belt.offered()
    belt.answer(words)
    assert [belt.state(1), belt.state(2)] == [State.AWAITING_USER, State.REPLY_SENT]


@pytest.mark.parametrize("words", ["1", "2 shorter", "3", "more", "undo", "again", "retry"])
@pytest.mark.parametrize("number", ["99", "2147483648", "123456789012"])
def test_a_number_that_does_not_exist_is_said_so(belt: Belt, words: str, number: str) -> None:
    belt.offered()
    command, _, rest = words.partition(" ")
    assert belt.answer(f"{command} #{number} {rest}") == [f'There is no #{number}. Text "list" to see what waits.']
    assert belt.mailer.mails == []


def test_an_answer_with_nothing_waiting_is_answered(belt: Belt) -> None:
    assert belt.answer("1") == ["No draft waits for you."]


def test_an_answer_too_many_is_told_what_became_of_the_last_draft(belt: Belt) -> None:
    belt.offered()
    belt.answer("1")
    [answer] = belt.answer("1")
    assert "No draft waits for you. #1 was already sent to john@example.com on" in answer
    assert len(belt.mailer.mails) == 1


def test_an_answer_while_the_draft_is_rewritten_is_told_so(belt: Belt) -> None:
    belt.offered()
    belt.generator.failures.append(ServiceError("AI Reply Generator", "500", Kind.TRANSIENT))
    belt.answer("2 shorter")
    [answer] = belt.answer("1 #1")
    assert "still being written" in answer
    assert belt.mailer.mails == []


def test_a_bare_edit_asks_and_the_next_text_is_the_instruction(belt: Belt) -> None:
    belt.offered()
    [question] = belt.answer("2")
    assert "What shall I change in #1?" in question
    belt.answer("Tell him I'm\naway until MONDAY")
    assert "Tell him I'm\naway until MONDAY" in (belt.generator.asked[-1][1] or "")


def test_after_a_bare_edit_a_command_is_still_a_command(belt: Belt) -> None:
    belt.offered()
    belt.answer("2")
    belt.answer("1")
    assert belt.state(1) is State.REPLY_SENT
    assert len(belt.generator.asked) == 1


def test_a_tapback_is_not_taken_for_the_instruction(belt: Belt) -> None:
    belt.offered()
    belt.answer("2")
    belt.answer("Liked “What shall I change in #1? Text it now, for example: shorter and more friendly”")
    assert len(belt.generator.asked) == 1


# What was shown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["1", "1 #1"])
def test_a_draft_that_was_not_shown_whole_cannot_be_approved_until_it_was(belt: Belt, words: str) -> None:
    belt.with_policy(style=TextStyle(max_parts=3))
    belt.generator.texts.append(LONG)
    hidden = belt.offered().hidden_chars
    assert hidden
    assert f"{hidden}" in belt.gateway.texts[-1]
    [refusal] = belt.answer(words)
    assert f"the last {hidden} characters" in refusal
    assert belt.mailer.mails == []
    while belt.workflow(1).hidden_chars:
        belt.answer("more #1")
    shown = "".join(belt.gateway.texts)
    assert shown.count("makes a very long letter") >= 75
    belt.answer(words)
    assert belt.state(1) is State.REPLY_SENT


def test_more_of_a_draft_that_was_shown_whole_is_answered(belt: Belt) -> None:
    belt.offered()
    assert "You have seen all of #1" in belt.answer("more")[0]


# Early, late, twice, from elsewhere ---------------------------------------------------------------------------------


def test_an_answer_from_before_the_draft_does_not_count_for_it(belt: Belt) -> None:
    workflow = belt.offered()
    assert workflow.offered_at is not None
    [answer] = belt.answer("1", at=workflow.offered_at - timedelta(seconds=2))
    assert "crossed" in answer
    assert "1 #1" in answer
    assert belt.state(1) is State.AWAITING_USER


def test_an_answer_in_the_same_second_as_the_draft_counts(belt: Belt) -> None:
    workflow = belt.offered()
    assert workflow.offered_at is not None
    belt.answer("1", at=workflow.offered_at.replace(microsecond=0))
    assert belt.state(1) is State.REPLY_SENT


def test_an_answer_to_the_first_draft_does_not_approve_the_second(belt: Belt) -> None:
    first = belt.offered()
    belt.answer("2 shorter")
    belt.sql("UPDATE workflow_state SET offered_at = offered_at + interval '30 s'")
    assert first.offered_at is not None
    [answer] = belt.answer("1", at=first.offered_at + timedelta(seconds=5))
    assert "crossed" in answer
    assert belt.mailer.mails == []


def test_an_unnamed_answer_means_the_draft_that_was_there_when_it_was_written(belt: Belt) -> None:
    first = belt.offered()
    assert first.offered_at is not None
    belt.offered()
    belt.sql("UPDATE workflow_state SET offered_at = offered_at + interval '30 s' WHERE id = 2")
    belt.answer("1", at=first.offered_at + timedelta(seconds=5))
    assert [belt.state(1), belt.state(2)] == [State.REPLY_SENT, State.AWAITING_USER]


@pytest.mark.parametrize(
    ("number", "receipt"),
    [
        ("+15551234567", "kept"),
        ("5551234567", "kept"),
        ("+15551234568", "stranger"),
        ("40404", "stranger"),
        ("Bank", "stranger"),
    ],
)
def test_only_the_owners_number_counts_in_whichever_form(belt: Belt, number: str, receipt: str) -> None:
    belt.offered()
    before = len(belt.gateway.texts)
    assert str(belt.text("1", number=number)) == receipt
    belt.work()
    assert belt.state(1) is (State.REPLY_SENT if receipt == "kept" else State.AWAITING_USER)
    assert len(belt.gateway.texts) - before == (receipt == "kept")


def test_a_text_the_webhook_missed_is_fetched_and_acted_on_once(belt: Belt) -> None:
    receiving.fetch_missed_texts(belt.desk, belt.gateway)
    belt.offered()
    belt.gateway.inbound.append(InboundText("h1", "+15551234567", "1", datetime.now(UTC) + timedelta(seconds=1)))
    assert receiving.fetch_missed_texts(belt.desk, belt.gateway) == 1
    assert receiving.fetch_missed_texts(belt.desk, belt.gateway) == 0
    belt.work()
    assert len(belt.mailer.mails) == 1


@pytest.mark.parametrize("ago", [timedelta(days=2), timedelta(seconds=3)])
def test_texts_from_before_the_installation_are_left_alone_for_good(belt: Belt, ago: timedelta) -> None:
    """Those of the last minutes too, which every later round reads again."""
    belt.gateway.inbound.append(InboundText("h1", "+15551234567", "1", datetime.now(UTC) - ago))
    for _ in range(3):
        assert receiving.fetch_missed_texts(belt.desk, belt.gateway) == 0


# Help ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["ok", "1?", "1 but change the date", "👍", "Liked “1=Send 2=Edit 3=Ignore”", ""])
def test_anything_unclear_sends_nothing_and_gets_help(belt: Belt, words: str) -> None:
    belt.offered()
    [answer] = belt.answer(words)
    assert "Text 1 to send" in answer
    assert belt.state(1) is State.AWAITING_USER


def test_help_comes_at_most_once_a_minute_but_answers_to_commands_always(belt: Belt) -> None:
    assert len(belt.answer("what?")) == 1
    assert belt.answer("hello?") == []
    assert len(belt.answer("list")) == 1
    belt.sql(
        "UPDATE service_state SET value = jsonb_set(value, '{at}', to_jsonb(now() - interval '61 s'))"
        " WHERE key = 'help_given'"
    )
    assert len(belt.answer("hello?")) == 1


def test_a_word_that_carriers_act_on_is_noted_and_does_nothing(belt: Belt) -> None:
    belt.offered()
    [answer] = belt.answer("Stop")
    assert "carrier" in answer
    assert belt.sql("SELECT value ->> 'word' FROM service_state WHERE key = 'texting_blocked'") == [("STOP",)]
    belt.answer("START")
    assert belt.sql("SELECT count(*) FROM service_state WHERE key = 'texting_blocked'") == [(0,)]
    assert belt.state(1) is State.AWAITING_USER


def test_the_menu_is_sent_on_request(belt: Belt) -> None:
    assert belt.answer("?")[0].startswith("Text 1 to send")


def test_a_text_that_cannot_be_acted_on_does_not_block_the_next(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:

    def parse(text: str) -> object:
        if text == "poison":
            raise RuntimeError("a bug")
        return parse_command(text)

    monkeypatch.setattr(conversation, "parse_command", parse)
    belt.text("poison")
    answers = belt.answer("list")
    assert len(answers) == 2
    assert "could not act on" in answers[0]


def test_a_text_whose_end_the_database_refuses_is_tried_again_at_once_and_then_put_aside(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "done", lambda tx, received, outcome: tx.defer("remember", key=None, value="{}"))
    belt.text("list")
    assert [answering.answer_in_turn(belt.desk) for _ in range(4)] == [True, True, True, False]
    belt.work()
    assert ["could not act on" in text for text in belt.gateway.texts] == [True]


# Time ---------------------------------------------------------------------------------------------------------------


def test_a_reminder_comes_once_with_the_draft(belt: Belt) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET remind_at = now()")
    before = len(belt.gateway.texts)
    belt.check_timeouts()
    belt.check_timeouts()
    [reminder] = belt.gateway.texts[before:]
    assert "Reminder" in reminder
    assert "Draft number 1." in reminder
    belt.answer("1")
    assert belt.state(1) is State.REPLY_SENT


def seen_whole(belt: Belt, draft: str) -> None:
    """Have a draft of several texts offered, and shown whole."""
    belt.generator.texts.append(draft)
    belt.offered()
    for _ in range(20):
        if belt.workflow(1).hidden_chars:
            belt.answer("more")
    assert "1=Send" in belt.gateway.texts[-1]


def remind(belt: Belt) -> None:
    belt.sql("UPDATE workflow_state SET remind_at = now()")
    belt.check_timeouts()


def test_more_follows_on_a_reminder_that_does_not_show_the_whole_draft(belt: Belt) -> None:
    seen_whole(belt, SENTENCE * 200)
    remind(belt)
    assert 'text "more #1"' in belt.gateway.texts[-1]
    shown = belt.answer("more #1")
    assert "continued" in shown[0]
    assert "1=Send" in shown[-1]
    assert belt.answer("more #1") == ['You have seen all of #1. "again #1" texts it once more.']


@pytest.mark.parametrize("words", ["1", "1 #1"])
@pytest.mark.parametrize("shown", ["", "more #1", "again #1"])
def test_what_the_owner_has_seen_stays_seen(belt: Belt, words: str, shown: str) -> None:
    seen_whole(belt, SENTENCE * 500)
    remind(belt)
    if shown:
        belt.answer(shown)
        assert "more #1" in belt.gateway.texts[-1]
    belt.answer(words)
    assert belt.state(1) is State.REPLY_SENT


def test_an_approval_that_crosses_with_parts_seen_before_counts(belt: Belt) -> None:
    seen_whole(belt, SENTENCE * 200)
    belt.sql("UPDATE sms_outbox SET sent_at = sent_at - interval '1 min'")
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '2 min'")
    remind(belt)
    belt.answer("more #1")
    belt.answer("1 #1", at=datetime.now(UTC) - timedelta(seconds=5))
    assert belt.state(1) is State.REPLY_SENT


def test_an_approval_from_before_the_rest_was_shown_anew_does_not_count(belt: Belt) -> None:
    seen_whole(belt, SENTENCE * 200)
    belt.sql("UPDATE sms_outbox SET sent_at = sent_at - interval '1 hour'")
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()
    belt.answer("again #1")
    for column in ("offered_at", "user_responded_at"):
        belt.sql(f"UPDATE workflow_state SET {column} = {column} - interval '1 min'")
    belt.answer("more #1")
    belt.sql("UPDATE workflow_state SET user_responded_at = NULL")
    [answer] = belt.answer("1 #1", at=datetime.now(UTC) - timedelta(seconds=20))
    assert "crossed" in answer
    assert belt.state(1) is State.AWAITING_USER


def test_a_reminder_that_shows_all_of_a_draft_lets_it_be_approved(belt: Belt) -> None:
    belt.generator.texts.append(SENTENCE * 100)
    belt.offered()
    assert belt.workflow(1).hidden_chars
    belt.with_policy(style=TextStyle(max_parts=20))
    remind(belt)
    assert "1=Send" in belt.gateway.texts[-1]
    belt.answer("1")
    assert belt.state(1) is State.REPLY_SENT


def test_parts_that_went_by_email_are_texted_when_asked_for_again(belt: Belt) -> None:
    belt.generator.texts.append(SENTENCE * 200)
    belt.offered()
    belt.answer_with("more #1")
    belt.gateway.failures.extend([ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)] * 4)
    belt.keep_trying(6)
    assert [recipient for _, recipient, _ in belt.mailer.mails] == ["owner@example.com"]
    assert "continued" in belt.answer("more #1")[0]
    belt.answer("1 #1")
    assert belt.state(1) is State.REPLY_SENT


def test_more_of_a_draft_that_was_rewritten_begins_with_what_its_own_text_left_out(belt: Belt) -> None:
    belt.generator.texts.extend([SENTENCE * 400, "Yes, gladly."])
    belt.offered()
    belt.answer("2 shorter")
    belt.sql("UPDATE sms_outbox SET sent_at = now() + interval '1 s' WHERE revision = 1")
    assert belt.answer("more #1") == ['You have seen all of #1. "again #1" texts it once more.']


def test_more_is_reckoned_from_what_has_been_texted_and_not_from_what_is_going_to_be(belt: Belt) -> None:
    seen_whole(belt, SENTENCE * 200)
    belt.sql("UPDATE workflow_state SET remind_at = now()")
    upkeep.check_timeouts(belt.desk)
    assert "You have seen all" in belt.answer("more #1")[0]


def test_more_can_be_had_of_a_draft_whose_texts_are_gone(belt: Belt) -> None:
    belt.generator.texts.append(SENTENCE * 200)
    belt.offered()
    belt.sql("DELETE FROM sms_outbox")
    assert "continued" in belt.answer("more #1")[0]


def test_several_reminders_due_at_once_are_one_text(belt: Belt) -> None:
    belt.offered()
    belt.offered()
    belt.sql("UPDATE workflow_state SET remind_at = now()")
    before = len(belt.gateway.texts)
    belt.check_timeouts()
    [reminder] = belt.gateway.texts[before:]
    assert "#1" in reminder
    assert "#2" in reminder
    assert '"again #1" shows its draft.' in reminder


def test_a_draft_without_an_answer_times_out_and_the_owner_is_told(belt: Belt) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE workflow_state SET remind_at = NULL, timeout_at = now()")
    belt.check_timeouts()
    assert belt.state(1) is State.TIMEOUT
    assert belt.email_status(workflow.message_id) == "timeout"
    assert "Nothing was sent" in belt.gateway.texts[-1]


def test_a_late_approval_offers_the_draft_again_and_sends_nothing(belt: Belt) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()
    at = datetime.now(UTC) - timedelta(seconds=1)
    [offer] = belt.answer("1 #1", at=at)
    assert "Draft number 1." in offer
    assert belt.mailer.mails == []
    assert belt.state(1) is State.AWAITING_USER
    assert belt.email_status(workflow.message_id) == "orchestrating"
    [answer] = belt.answer("1  #1", at=at)
    assert "crossed" in answer, "a second text of the same moment was written before the draft came again"
    belt.answer("1 #1")
    assert belt.state(1) is State.REPLY_SENT
    assert belt.workflow(1).timeout_at is not None


def test_a_draft_that_waits_for_the_morning_is_not_said_to_come_now(belt: Belt) -> None:
    belt.with_policy(quiet_hours=(time(0, 0), time(23, 59, 59)))
    belt.email()
    belt.poll()
    belt.work()
    assert belt.answer("1 #1") == ["The draft of #1 is being texted to you, in quiet hours when they are over."]


def test_instructions_are_waited_for_ten_minutes(belt: Belt) -> None:
    belt.offered()
    belt.answer("2")
    belt.sql("UPDATE service_state SET value = jsonb_set(value, '{at}', to_jsonb(now() - interval '9 minutes'))")
    belt.answer("shorter please")
    assert len(belt.generator.asked) == 2


def test_whoever_would_change_a_reply_that_is_out_is_not_asked_how(belt: Belt) -> None:
    belt.offered()
    belt.answer("1")
    assert "already sent" in belt.answer("2 #1")[0]


def test_which_draft_to_text_again_is_asked_and_a_number_answers(belt: Belt) -> None:
    belt.offered()
    belt.offered()
    assert "Which one?" in belt.answer("again")[0]
    assert "Draft number 2." in belt.answer("#2")[0]


def test_whoever_asked_for_more_too_early_hears_how_to_ask_again(belt: Belt) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET offered_at = offered_at + interval '30 s'")
    assert "text more #1" in belt.answer("more #1")[0]


def test_again_texts_a_waiting_draft_once_more(belt: Belt) -> None:
    belt.offered()
    [offer] = belt.answer("again")
    assert "Draft number 1." in offer
    assert belt.state(1) is State.AWAITING_USER


def test_a_draft_without_a_text_on_its_way_is_texted_again(belt: Belt) -> None:
    belt.email()
    belt.poll()
    drafting.draft_one(belt.desk, belt.generator)
    belt.sql("DELETE FROM sms_outbox")
    assert upkeep.offer_stranded(belt.desk)
    belt.work()
    assert belt.state(1) is State.AWAITING_USER
    assert not upkeep.offer_stranded(belt.desk)


def test_reminders_of_the_night_are_one_text_in_the_morning(belt: Belt) -> None:
    belt.offered()
    belt.offered()
    night = (time(0, 0), time(23, 59, 59))
    before = len(belt.gateway.texts)
    for number in (1, 2):
        belt.sql("UPDATE workflow_state SET remind_at = now() WHERE id = %s", number)
        belt.with_policy(quiet_hours=night)
        belt.check_timeouts()
    assert len(belt.gateway.texts) == before
    belt.with_policy(quiet_hours=None)
    belt.check_timeouts()
    assert len(belt.gateway.texts) == before + 1


# Order --------------------------------------------------------------------------------------------------------------


def test_a_crossed_answer_is_told_to_repeat_what_it_was(belt: Belt) -> None:
    workflow = belt.offered()
    assert workflow.offered_at is not None
    before = workflow.offered_at - timedelta(seconds=5)
    assert "text 3 #1." in belt.answer("3", at=before)[0]
    assert "text 2 #1 <what to change>." in belt.answer("2 shorter", at=before)[0]


def test_an_older_approval_that_comes_after_an_undo_does_not_count(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.sql("UPDATE workflow_state SET offered_at = now() - interval '60 s'")
    now = datetime.now(UTC)
    belt.answer("1", at=now - timedelta(seconds=30))
    belt.answer("undo", at=now - timedelta(seconds=10))
    [answer] = belt.answer("1 #1", at=now - timedelta(seconds=20))
    assert "crossed" in answer
    assert belt.state(1) is State.AWAITING_USER


def test_an_undo_waits_behind_an_approval_that_waits(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.first_part_out()
    belt.text("1")
    belt.text("undo")
    belt.work()
    assert belt.state(1) is State.AWAITING_USER
    belt.hurry()
    belt.work()
    assert belt.mailer.mails == []


def test_a_question_survives_a_text_that_has_to_wait(belt: Belt) -> None:
    belt.with_policy(style=TextStyle("multipart"))
    belt.offered()
    belt.offered()
    belt.answer("1")
    belt.answer("2 #2 shorter")
    belt.answer("1")
    belt.sql("UPDATE workflow_state SET current_state = 'sms_sending' WHERE id = 2")
    belt.text("#2")
    assert answering.answer_one(belt.desk)
    belt.sql("UPDATE workflow_state SET current_state = 'awaiting_user' WHERE id = 2")
    belt.work()
    assert belt.state(2) is State.REPLY_SENT


def test_no_draft_times_out_while_a_text_of_the_owners_is_unread(belt: Belt) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.text("1")
    upkeep.check_timeouts(belt.desk)
    belt.work()
    assert belt.state(1) is State.REPLY_SENT


def test_an_unnamed_answer_that_could_have_meant_a_draft_since_closed_is_asked_about(belt: Belt) -> None:
    belt.offered()
    belt.offered(sender="maria@example.org")
    written = datetime.now(UTC) + timedelta(seconds=1)
    belt.sql("UPDATE workflow_state SET timeout_at = now() WHERE id = 1")
    upkeep.check_timeouts(belt.desk)
    belt.sql("UPDATE workflow_event SET at = now() + interval '5 s' WHERE to_state = 'timeout'")
    assert any("Nothing was done yet" in text for text in belt.answer("1", at=written))
    assert belt.mailer.mails == []


def test_an_older_email_that_is_taken_later_does_not_close_a_newer_one(belt: Belt) -> None:
    newer = belt.offered(thread_id="<t@x>")
    belt.offered(thread_id="<t@x>", received_at=datetime.now(UTC) - timedelta(hours=5))
    assert belt.state(newer.id) is State.AWAITING_USER


def test_a_sender_is_the_same_in_any_letter_case(belt: Belt) -> None:
    first = belt.offered(thread_id="<t@x>")
    belt.offered(thread_id="<t@x>", sender="John@Example.com")
    assert belt.state(first.id) is State.USER_IGNORED


def test_an_undone_draft_has_its_whole_time_again(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    belt.sql("UPDATE workflow_state SET timeout_at = now(), remind_at = now()")
    belt.answer("undo")
    belt.check_timeouts()
    assert belt.state(1) is State.AWAITING_USER


def test_an_instruction_loses_the_phones_signature(belt: Belt) -> None:
    belt.offered()
    belt.answer("2")
    belt.answer("much shorter\n\nSent from my iPhone")
    assert "iPhone" not in (belt.generator.asked[-1][1] or "")


@pytest.mark.parametrize(
    ("limit", "said"), [(0, "#1 may not be rewritten."), (1, "#1 was rewritten once, that is the")]
)
def test_who_may_not_edit_any_more_is_not_asked_for_instructions(belt: Belt, limit: int, said: str) -> None:
    belt.with_policy(max_edit_iterations=limit)
    belt.offered()
    for _ in range(limit):
        belt.answer("2 shorter")

    [answer] = belt.answer("2")

    assert answer.startswith(said)
    assert belt.answer("make it shorter")[0] != answer
