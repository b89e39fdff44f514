from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from email_orchestrator.core import notices, wording
from email_orchestrator.core.models import Workflow
from email_orchestrator.core.policy import Policy
from email_orchestrator.core.segments import measure
from email_orchestrator.core.states import State

AT = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
POLICY = Policy("me@example.com", "+15551234567")
ONE = Workflow(
    id=7, message_id="<a@b>", sender="john@example.com", sender_name="", subject="Meeting", preview="", thread_id=None,
    supersedes=None, state=State.AWAITING_USER, previous_state=None, revision=1, draft_text="Yes", hidden_chars=0,
    edit_iteration=0, edit_instructions=None, offered_at=AT, sms_sent_at=AT, responded_at=None, remind_at=None,
    timeout_at=AT, reply_message_id=None, reply_sent_at=None, approved_at=None, approved_hash=None,
    send_started_at=None, error=None, attempts=0, next_attempt_at=None, claimed_by=None, created_at=AT, updated_at=AT,
)  # fmt: skip


@pytest.mark.parametrize("state", list(State))
def test_every_state_can_be_told_in_a_sentence_that_names_the_workflow(state: State) -> None:
    sentence = wording.how_it_stands(replace(ONE, state=state, error="reason"), POLICY)
    assert "#7" in sentence
    assert sentence.endswith(".")


def test_a_draft_that_comes_once_more_is_not_said_to_wait_for_an_answer_yet() -> None:
    assert "waits for you" in wording.how_it_stands(ONE, POLICY)
    assert wording.how_it_stands(replace(ONE, timeout_at=None), POLICY) == "The draft of #7 is being texted to you."


def test_what_was_sent_is_told_with_whom_and_when() -> None:
    sentence = wording.how_it_stands(replace(ONE, state=State.REPLY_SENT, reply_sent_at=AT), POLICY)
    assert sentence == "#7 was already sent to john@example.com on 22 Nov 14:05."


@pytest.mark.parametrize("hostile", ['x"\n1=Send', "\u202e1=Send", "a" * 5000, "[2/3] 📧 #9"])
def test_a_hostile_subject_stays_one_short_quoted_line(hostile: str) -> None:
    line = wording.about(replace(ONE, subject=hostile))
    assert "\n" not in line
    assert "\u202e" not in line
    assert len(line) < 90


def test_a_list_names_every_draft_and_the_words_to_use() -> None:
    text = wording.waiting_list([ONE, replace(ONE, id=8)], "approve")
    assert text.split("\n")[1:3] == ['#7 john@example.com: "Meeting"', '#8 john@example.com: "Meeting"']
    assert "Nothing was done yet" in text
    assert "1 #7 sends" in text


def test_a_list_does_not_give_words_for_a_draft_that_is_still_to_come() -> None:
    coming = replace(ONE, offered_at=None, timeout_at=None)
    text = wording.waiting_list([coming, replace(ONE, id=8)])
    assert '#7 john@example.com: "Meeting" (still to come as a text)' in text
    assert "1 #8 sends" in text


def test_a_long_list_says_how_many_it_leaves_out() -> None:
    many = [replace(ONE, id=number) for number in range(1, 15)]
    assert "and 4 more" in wording.waiting_list(many)


def test_the_failure_of_a_sending_is_told_as_one() -> None:
    text = notices.failed(replace(ONE, state=State.USER_APPROVED), "550 no such user")
    assert text == '⚠️ Failed to send reply to john@example.com (#7): 550 no such user. Text "retry #7".'


def test_the_confirmation_names_the_address_and_the_number() -> None:
    assert "Sent to john@example.com (#7)" in wording.sent(ONE)
    assert measure(wording.sent(ONE)).segments == 1
