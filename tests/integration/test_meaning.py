"""What a text of the owner's can have meant when it was written, and what it must not be taken for."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from email_orchestrator.core.models import TextStyle
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.workflow import actions, answering, drafting, texting

if TYPE_CHECKING:
    from .conftest import Belt

ALL_DAY = (time(0, 0), time(23, 59, 59))
DOWN = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)
UNHEARD = ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN)
LONG = "All work and no play makes a very long letter indeed. " * 80


@pytest.fixture
def two(belt: Belt) -> Belt:
    """A belt on which #1 of Maria and #2 of John wait for the owner."""
    belt.offered(sender="maria@example.org")
    belt.offered(sender="john@example.com", thread_id="<t@x>")
    return belt


def long_ago(belt: Belt) -> datetime:
    """Let all drafts have been on the phone for two minutes; returns a moment at which they were."""
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '120 s'")
    return datetime.now(UTC) - timedelta(seconds=90)


# Texts that the webhook lost and the history brings later -----------------------------------------------------------


def test_a_missed_bare_approval_is_judged_by_the_drafts_that_waited_when_it_was_written(two: Belt) -> None:
    written = long_ago(two)
    # The webhook lost a bare "1". The owner hears nothing, texts it again and is asked which.
    two.answer("1", at=written + timedelta(seconds=20))
    two.answer("#2", at=written + timedelta(seconds=30))
    assert two.state(2) is State.REPLY_SENT
    two.answer("1", at=written)
    assert two.state(1) is State.AWAITING_USER, "two drafts waited when it was written, and nothing said which"


def test_a_missed_bare_approval_is_not_for_the_draft_that_another_was_sent_beside_by_hand(two: Belt) -> None:
    written = long_ago(two)
    with two.database.transaction() as tx:
        actions.approve(tx, two.desk, actions.find(tx, "2"), Actor.CLI)
    two.work()
    two.answer("1", at=written)
    assert two.state(1) is State.AWAITING_USER, "two drafts waited when it was written, and nothing said which"


@pytest.mark.parametrize("since", [("1 #2", "undo #2"), ("2 #2 shorter",)])
def test_a_missed_bare_approval_is_not_for_the_draft_that_the_owner_said_nothing_about_since(
    two: Belt, since: tuple[str, ...]
) -> None:
    two.with_policy(send_delay=60)
    written = long_ago(two)
    for seconds, words in enumerate(since, 20):
        two.answer(words, at=written + timedelta(seconds=seconds))
    assert two.state(2) is State.AWAITING_USER
    two.answer("1", at=written)
    assert two.state(1) is State.AWAITING_USER, "two drafts waited when it was written, and nothing said which"


@pytest.mark.parametrize("words", ["1", "2 shorter"])
def test_a_number_does_not_turn_an_answer_to_one_draft_into_one_to_the_next(two: Belt, words: str) -> None:
    two.answer(words)
    with two.database.transaction() as tx:
        actions.edit(tx, two.desk, actions.find(tx, "1"), Actor.CLI, "say no")
    two.work()
    two.sql(
        "UPDATE service_state SET value = jsonb_set(value, '{said_at}', to_jsonb(now() - interval '10 s'))"
        " WHERE key = 'dialogue'"
    )
    answer = two.answer("#1")
    assert (two.state(1), two.workflow(1).revision) == (State.AWAITING_USER, 2)
    assert answer[0].startswith("Your text crossed with a newer draft of #1")


def test_a_missed_number_does_not_complete_a_question_that_was_asked_after_it(two: Belt) -> None:
    written = long_ago(two)
    two.answer("3", at=written)
    two.answer("1", at=written + timedelta(seconds=30))
    # The answer to the first question, which would have left #2.
    two.answer("#2", at=written + timedelta(seconds=5))
    assert two.state(2) is State.AWAITING_USER


@pytest.mark.parametrize(("undo", "approval"), [("undo #1", "1 #1"), ("undo", "1")])
def test_a_missed_approval_does_not_count_once_the_owner_has_taken_it_back(
    belt: Belt, undo: str, approval: str
) -> None:
    belt.offered()
    written = long_ago(belt)
    belt.answer(undo, at=written + timedelta(seconds=20))
    belt.answer(approval, at=written)
    assert belt.mailer.mails == []


def test_an_approval_from_before_the_rest_of_a_draft_was_shown_does_not_count(belt: Belt) -> None:
    belt.with_policy(style=TextStyle("multipart", max_parts=3))
    belt.generator.texts.append(LONG)
    belt.offered()
    written = long_ago(belt)
    while belt.workflow(1).hidden_chars:
        belt.answer("more", at=written + timedelta(seconds=20))
    belt.answer("1", at=written)
    assert belt.mailer.mails == []


# Drafts of which the owner cannot know that they wait no more -------------------------------------------------------


@pytest.mark.parametrize("is_drafted", [False, True])
def test_a_bare_approval_is_asked_about_while_the_owner_cannot_know_that_a_draft_was_overtaken(
    two: Belt, is_drafted: bool
) -> None:
    # The newer email closes #2 without a word; its own draft, which says so, takes the AI half a minute.
    two.email(sender="john@example.com", thread_id="<t@x>")
    two.poll()
    if is_drafted:
        two.draft()
    two.sql("UPDATE workflow_event SET at = at - interval '1 min'")
    two.sql("UPDATE sms_outbox SET created_at = created_at - interval '1 min'")
    assert two.state(2) is State.USER_IGNORED
    two.text("1")  # to what the phone shows last: #2
    answering.answer_one(two.desk)
    assert two.state(1) is State.AWAITING_USER


def test_a_bare_approval_is_asked_about_while_the_notice_of_a_timeout_waits_for_the_morning(two: Belt) -> None:
    two.with_policy(quiet_hours=ALL_DAY)
    two.sql("UPDATE workflow_state SET timeout_at = now() WHERE id = 2")
    two.check_timeouts()
    two.sql("UPDATE workflow_event SET at = at - interval '20 minutes'")
    two.sql("UPDATE sms_outbox SET created_at = created_at - interval '20 minutes'")
    two.answer("1")
    assert two.state(1) is State.AWAITING_USER


def test_a_bare_approval_is_asked_about_while_a_draft_on_the_phone_counts_as_not_texted(belt: Belt) -> None:
    belt.offered(sender="maria@example.org")
    # Every try reached the phone, but the gateway's answers were lost, and its history with them.
    belt.gateway.failures.extend([UNHEARD] * 4)
    belt.email(sender="john@example.com")
    belt.poll()
    belt.keep_trying(5)
    assert belt.state(2) is State.FAILED, "of which the owner was told by email"
    belt.answer("1")
    assert belt.state(1) is State.AWAITING_USER


@pytest.mark.parametrize("texting_is_down_for", ["the notice", "the draft that is asked for again"])
def test_a_bare_approval_is_for_the_one_that_waits_once_an_email_told_of_the_end_of_the_other(
    two: Belt, texting_is_down_for: str
) -> None:
    two.sql("UPDATE workflow_state SET timeout_at = now() WHERE id = 2")
    if texting_is_down_for != "the notice":
        two.check_timeouts()
        two.text("1 #2")
    two.gateway.failures.extend([DOWN] * 4)
    two.check_timeouts()
    two.keep_trying(6)
    assert two.state(2) is State.TIMEOUT
    assert [recipient for _, recipient, _ in two.mailer.mails] == ["owner@example.com"]
    for table, column in (("workflow_event", "at"), ("sms_outbox", "sent_at"), ("sms_outbox", "created_at")):
        two.sql(f"UPDATE {table} SET {column} = {column} - interval '1 minute'")
    two.answer("1")
    assert two.state(1) is State.REPLY_SENT


def test_a_draft_that_could_not_be_texted_a_week_ago_is_not_meant_any_more(belt: Belt) -> None:
    belt.gateway.failures.extend([UNHEARD] * 4)
    belt.email(sender="john@example.com")
    belt.poll()
    belt.keep_trying(5)
    assert belt.state(1) is State.FAILED
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '7 days'")
    belt.offered(sender="maria@example.org")
    belt.answer("1")
    assert belt.state(2) is State.REPLY_SENT


def test_a_bare_approval_is_asked_about_while_the_draft_asked_for_just_now_is_on_its_way(two: Belt) -> None:
    two.sql("UPDATE workflow_state SET timeout_at = now() WHERE id = 2")
    two.check_timeouts()
    for table, column in (("workflow_event", "at"), ("sms_outbox", "sent_at"), ("workflow_state", "offered_at")):
        two.sql(f"UPDATE {table} SET {column} = {column} - interval '1 minute'")  # its end was told of in time
    two.text("1 #2")
    answering.answer_one(two.desk)
    assert two.state(2) is State.AWAITING_USER, "it is offered again"
    # The gateway takes half a minute for that; the owner sees nothing and texts once more.
    two.text("1", at=datetime.now(UTC) + timedelta(seconds=5))
    answering.answer_one(two.desk)
    assert two.state(1) is State.AWAITING_USER, "two drafts wait"


# Clocks -------------------------------------------------------------------------------------------------------------


def test_a_text_that_was_stored_before_a_draft_was_handed_over_is_no_answer_to_it(belt: Belt) -> None:
    belt.offered()
    # By a clock two minutes fast; it is here already, and acted on only after the next draft is out.
    belt.text("1 #1", at=datetime.now(UTC) + timedelta(minutes=2))
    with belt.database.transaction() as tx:
        actions.edit(tx, belt.desk, actions.find(tx, "1"), Actor.CLI, "shorter")
    drafting.draft_one(belt.desk, belt.generator)
    texting.text_one(belt.desk, belt.gateway)
    belt.sql("UPDATE workflow_state SET offered_at = offered_at + interval '1 s'")
    belt.work()
    assert belt.mailer.mails == []
