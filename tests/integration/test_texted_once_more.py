"""A draft that is texted once more: no answer counts for it before it is out, and none of it waits for ever."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import psycopg2
import pytest
from shell import Shell

from email_orchestrator.core.models import SentText, TextStyle
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.workflow import actions, answering, replying, texting, upkeep
from email_orchestrator.workflow.desk import Room

from .conftest import Belt

ALL_DAY = (time(0, 0), time(23, 59, 59))
DOWN = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)
REFUSED = ServiceError("SMS Gateway", "it answered 422", Kind.PERMANENT)
UNHEARD = ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN)


def timed_out(belt: Belt) -> None:
    """Let the draft of #1 wait for so long that it is closed, and the owner told."""
    belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()
    assert belt.state(1) is State.TIMEOUT


def first_part_out_again(belt: Belt) -> None:
    """Have the draft of #1 time out and be asked for again, and the first of its parts be out."""
    belt.with_policy(style=TextStyle("multipart"))
    timed_out(belt)
    belt.answer_with("1 #1")
    texting.text_one(belt.desk, belt.gateway)


def answer_now(belt: Belt, words: str) -> None:
    """Have the owner text something, well after all that was said before, and everybody but the texter at work."""
    belt.text(words, at=datetime.now(UTC) + timedelta(seconds=3))
    answering.answer_one(belt.desk)
    replying.reply_one(belt.desk, belt.mailer, None)


def test_an_answer_waits_while_the_gateway_has_the_draft_in_hand(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    timed_out(belt)
    belt.answer_with("1 #1")
    accept = belt.gateway.send

    def slow(to: str, text: str) -> str:
        answer_now(belt, "1 #1")
        assert belt.mailer.mails == []
        return accept(to, text)

    monkeypatch.setattr(belt.gateway, "send", slow)
    texting.text_one(belt.desk, belt.gateway)
    monkeypatch.undo()
    belt.work()
    assert [recipient for _, recipient, _ in belt.mailer.mails] == ["john@example.com"]


def test_an_answer_waits_until_the_last_part_is_out(belt: Belt) -> None:
    first_part_out_again(belt)
    assert belt.gateway.texts[-1].startswith("[1/3]")
    answer_now(belt, "1 #1")
    assert belt.mailer.mails == []
    texting.text_one(belt.desk, belt.gateway)
    belt.woken.clear()
    texting.text_one(belt.desk, belt.gateway)
    assert "[3/3]" in belt.gateway.texts[-1]
    assert belt.woken == [Room.ANSWERING]
    belt.work()
    assert belt.state(1) is State.REPLY_SENT


def test_what_depends_on_an_answer_that_waits_waits_with_it(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    first_part_out_again(belt)
    answer_now(belt, "1 #1")
    answer_now(belt, "undo")
    belt.work()
    assert belt.gateway.texts[-1].startswith("Taken back: #1")


def test_what_is_no_longer_what_was_approved_is_sent_only_when_it_was_shown_whole(belt: Belt) -> None:
    belt.with_policy(style=TextStyle("multipart"), send_delay=60)
    belt.offered()
    belt.answer("1")
    words = "Totally other words, that nobody has seen. " * 220
    belt.sql("UPDATE workflow_state SET ai_reply_text = %s, next_attempt_at = now()", words)
    belt.with_policy(send_delay=0)
    replying.reply_one(belt.desk, belt.mailer, None)
    texting.text_one(belt.desk, belt.gateway)
    texting.text_one(belt.desk, belt.gateway)
    assert belt.gateway.texts[-1].startswith("[1/6]")
    answer_now(belt, "1 #1")
    belt.work()
    assert belt.mailer.mails == []
    assert "you have not seen" in belt.gateway.texts[-1]


@pytest.mark.parametrize("failure", [DOWN, UNHEARD], ids=["refused", "unheard"])
@pytest.mark.parametrize("parts_before", [0, 1])
def test_one_that_cannot_be_texted_does_not_wait_for_ever(belt: Belt, failure: ServiceError, parts_before: int) -> None:
    belt.with_policy(style=TextStyle("multipart"), max_awaiting=1)
    timed_out(belt)
    belt.answer_with("1 #1")
    for _ in range(parts_before):
        texting.text_one(belt.desk, belt.gateway)
    belt.gateway.failures.extend([failure] * 4)
    belt.keep_trying(6)
    assert belt.state(1) is State.TIMEOUT
    assert belt.email_status(belt.workflow(1).message_id) == "timeout"
    assert belt.mailer.mails[-1][1] == "owner@example.com"
    belt.offered(sender="maria@example.org")


def test_an_answer_to_what_could_not_be_texted_whole_has_it_texted_again(belt: Belt) -> None:
    first_part_out_again(belt)
    answer_now(belt, "1 #1")
    belt.gateway.failures.extend([DOWN] * 4)
    belt.keep_trying(6)
    assert belt.state(1) is State.AWAITING_USER
    assert "[3/3]" in belt.gateway.texts[-1]
    assert belt.mailer.mails == [], "that it could not be texted is over before it was told"


def test_one_whose_text_got_lost_is_texted_again(belt: Belt) -> None:
    timed_out(belt)
    belt.answer_with("1 #1")
    belt.sql("DELETE FROM sms_outbox")
    assert upkeep.offer_stranded(belt.desk)
    belt.work()
    assert belt.workflow(1).timeout_at is not None
    assert not upkeep.offer_stranded(belt.desk)


@pytest.mark.parametrize("texted_meanwhile", [True, False])
def test_one_that_a_shell_approved_and_took_back_before_it_was_out_is_texted(
    belt: Belt, texted_meanwhile: bool
) -> None:
    timed_out(belt)
    with belt.database.transaction() as tx:
        actions.offer_again(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    with belt.database.transaction() as tx:
        actions.approve(tx, belt.desk, actions.find(tx, "1"), Actor.CLI, delay=120)
    if texted_meanwhile:
        texting.text_one(belt.desk, belt.gateway)  # finds that it is not wanted any more
    with belt.database.transaction() as tx:
        actions.undo(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    assert belt.workflow(1).is_on_its_way
    before = len(belt.gateway.texts)
    belt.with_policy(quiet_hours=ALL_DAY)
    belt.work()
    assert len(belt.gateway.texts) == before, "a shell is no text of the owner's, and the night is quiet"
    belt.with_policy(quiet_hours=None)
    belt.work()
    [offer] = belt.gateway.texts[before:]
    assert "Draft number 1." in offer
    answer_now(belt, "1 #1")
    assert belt.state(1) is State.REPLY_SENT


@pytest.fixture
def held_by_the_night(belt: Belt) -> Belt:
    """A draft of #1 that timed out, and that a shell has texted once more, in quiet hours."""
    timed_out(belt)
    belt.with_policy(quiet_hours=ALL_DAY)
    with belt.database.transaction() as tx:
        actions.retry(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.work()
    return belt


@pytest.mark.parametrize("words", ["1 #1", "1", "2 #1 shorter", "more #1", "#1"])
def test_who_speaks_of_one_that_the_night_holds_hears_that(held_by_the_night: Belt, words: str) -> None:
    before = len(held_by_the_night.gateway.texts)
    answer_now(held_by_the_night, words)
    held_by_the_night.work()
    assert held_by_the_night.gateway.texts[before:] == [
        "The draft of #1 is being texted to you, in quiet hours when they are over."
    ]
    assert held_by_the_night.state(1) is State.AWAITING_USER


def test_one_that_the_night_holds_is_listed_as_still_to_come(held_by_the_night: Belt) -> None:
    assert held_by_the_night.answer("list") == [
        '1 draft waits:\n#1 john@example.com: "Meeting" (still to come as a text)\n3 #1 leaves it.'
    ]
    held_by_the_night.with_policy(quiet_hours=None)
    held_by_the_night.offered(sender="maria@example.org")
    assert "1 #1 sends" in held_by_the_night.answer("list")[0]


def test_an_undo_of_one_that_the_night_holds_has_it_texted(held_by_the_night: Belt) -> None:
    with held_by_the_night.database.transaction() as tx:
        actions.approve(tx, held_by_the_night.desk, actions.find(tx, "1"), Actor.CLI, delay=120)
    draft, answer = held_by_the_night.answer("undo #1")
    assert "Draft number 1." in draft
    assert answer == "Taken back: #1 was not sent. Its draft comes once more as a text."


def test_one_that_the_night_holds_can_be_left_by_its_number(held_by_the_night: Belt) -> None:
    assert held_by_the_night.answer("3") == [
        "The draft of #1 is being texted to you, in quiet hours when they are over. 3 #1 leaves it."
    ]
    answer_now(held_by_the_night, "3 #1")
    assert held_by_the_night.state(1) is State.USER_IGNORED


def test_a_text_from_before_it_came_again_does_not_close_it(held_by_the_night: Belt) -> None:
    held_by_the_night.answer("3 #1", at=datetime.now(UTC) - timedelta(seconds=5))
    assert held_by_the_night.state(1) is State.AWAITING_USER


def test_a_later_word_about_it_outranks_one_that_left_it(held_by_the_night: Belt) -> None:
    held_by_the_night.sql("UPDATE workflow_state SET updated_at = updated_at - interval '1 min'")
    now = datetime.now(UTC)
    held_by_the_night.answer("undo #1", at=now - timedelta(seconds=10))
    held_by_the_night.answer("3 #1", at=now - timedelta(seconds=20))
    assert held_by_the_night.state(1) is State.AWAITING_USER


@pytest.mark.parametrize(("seconds", "sends"), [(-30, False), (5, True)], ids=["from before", "an answer"])
def test_one_that_two_texts_offer_is_answered_by_what_was_written_since_the_first(
    held_by_the_night: Belt, seconds: int, sends: bool
) -> None:
    belt = held_by_the_night
    belt.with_policy(quiet_hours=None)
    belt.sql("UPDATE workflow_state SET updated_at = updated_at - interval '1 min'")
    belt.sql("UPDATE workflow_event SET at = at - interval '1 min'")
    belt.gateway.failures.append(UNHEARD)
    belt.work()
    belt.answer_with("again #1")
    texting.text_one(belt.desk, belt.gateway)
    assert belt.workflow(1).timeout_at is not None
    belt.gateway.failures.append(DOWN)
    belt.hurry()
    belt.work()
    belt.answer("1 #1", at=datetime.now(UTC) + timedelta(seconds=seconds))
    assert bool(belt.mailer.mails) is sends


@pytest.fixture
def unheard_of(belt: Belt) -> Belt:
    """A draft of #1 that timed out, and of whose coming again nobody knows; what was said is a minute ago."""
    timed_out(belt)
    belt.answer_with("1 #1")
    belt.gateway.failures.append(UNHEARD)
    belt.work()
    for column in ("offered_at", "user_responded_at", "updated_at"):
        belt.sql(f"UPDATE workflow_state SET {column} = {column} - interval '1 min'")
    return belt


def test_an_answer_to_a_text_that_nobody_knows_of_is_none_to_the_one_that_replaces_it(unheard_of: Belt) -> None:
    unheard_of.text("1 #1", at=datetime.now(UTC) - timedelta(seconds=20))
    answering.answer_one(unheard_of.desk)
    unheard_of.text("again #1", at=datetime.now(UTC) - timedelta(seconds=10))
    unheard_of.work()
    assert unheard_of.mailer.mails == []
    assert "The draft of #1 is being texted to you." in unheard_of.gateway.texts[-2:]


def test_only_the_last_of_the_texts_that_offer_a_draft_goes_out(unheard_of: Belt) -> None:
    before = len(unheard_of.gateway.texts)
    unheard_of.answer_with("again #1")
    unheard_of.answer_with("again #1")
    unheard_of.keep_trying(2)
    assert len(unheard_of.gateway.texts) == before + 1


@pytest.mark.parametrize("waits", ["reminder", "again"])
def test_a_text_of_other_words_that_still_waits_does_not_count_for_what_is_offered_as_it_is_now(
    belt: Belt, waits: str
) -> None:
    belt.offered()
    if waits == "again":
        belt.answer_with("again #1")
    else:
        belt.sql("UPDATE workflow_state SET remind_at = now()")
        upkeep.check_timeouts(belt.desk)
    belt.gateway.failures.append(DOWN)
    texting.text_one(belt.desk, belt.gateway)
    belt.with_policy(send_delay=60)
    belt.answer_with("1 #1")
    belt.sql("UPDATE workflow_state SET ai_reply_text = %s, next_attempt_at = now()", "Words nobody has seen. " * 300)
    replying.reply_one(belt.desk, belt.mailer, None)
    belt.keep_trying(2)
    answer_now(belt, "1 #1")
    belt.keep_trying(2)
    assert belt.mailer.mails == []
    assert "you have not seen" in belt.gateway.texts[-1]


def test_one_that_was_taken_back_when_half_of_it_was_out_is_still_to_come(belt: Belt) -> None:
    first_part_out_again(belt)
    with belt.database.transaction() as tx:
        actions.approve(tx, belt.desk, actions.find(tx, "1"), Actor.CLI, delay=120)
    texting.text_one(belt.desk, belt.gateway)
    with belt.database.transaction() as tx:
        actions.undo(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    assert belt.workflow(1).is_still_to_come
    answer_now(belt, "1 #1")
    belt.work()
    assert belt.mailer.mails == []


def test_one_whose_text_got_lost_half_way_is_still_to_come(belt: Belt) -> None:
    first_part_out_again(belt)
    belt.sql("DELETE FROM sms_outbox")
    assert upkeep.offer_stranded(belt.desk)
    assert belt.workflow(1).is_still_to_come


def test_a_page_tells_that_one_waits_for_the_morning(held_by_the_night: Belt, tmp_path: Path) -> None:
    shell = Shell(tmp_path, DATABASE_URL=held_by_the_night.dsn, TIMEZONE="UTC", QUIET_HOURS="00:00-23:59")
    assert "is texted to the owner when the quiet hours are over, at 23:59\n" in shell.run("show", "1").stdout


@pytest.mark.parametrize("failure", [None, REFUSED, DOWN], ids=["accepted", "refused", "down"])
def test_a_text_in_the_gateways_hand_that_was_withdrawn_does_not_count_and_is_waited_for(
    belt: Belt, monkeypatch: pytest.MonkeyPatch, failure: ServiceError | None
) -> None:
    timed_out(belt)
    belt.answer_with("1 #1")
    accept = belt.gateway.send

    def withdrawn_meanwhile(to: str, text: str) -> str:
        monkeypatch.undo()
        belt.answer_with("again #1")
        assert not texting.text_one(belt.desk, belt.gateway), "no other of this draft goes out beside it"
        if failure:
            raise failure
        return accept(to, text)

    monkeypatch.setattr(belt.gateway, "send", withdrawn_meanwhile)
    texting.text_one(belt.desk, belt.gateway)
    assert belt.workflow(1).is_still_to_come
    belt.work()
    assert "Once more" in belt.gateway.texts[-1]
    assert belt.workflow(1).timeout_at is not None


def test_a_text_that_was_withdrawn_while_the_gateways_history_was_read_is_not_sent(
    unheard_of: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(unheard_of.gateway.texts)

    def withdrawn_meanwhile(number: str | None, since: datetime) -> list[SentText]:
        monkeypatch.undo()
        unheard_of.answer_with("again #1")
        return []

    monkeypatch.setattr(unheard_of.gateway, "outgoing", withdrawn_meanwhile)
    unheard_of.hurry()
    texting.text_one(unheard_of.desk, unheard_of.gateway)
    assert len(unheard_of.gateway.texts) == before


@pytest.mark.parametrize("words", ["again #1", "more #1"])
def test_what_a_shell_texts_in_place_of_what_the_owner_asked_for_at_night_comes_at_night(
    belt: Belt, words: str
) -> None:
    belt.generator.texts.append("All work and no play makes a very long letter indeed. " * 200)
    belt.offered()
    belt.with_policy(quiet_hours=ALL_DAY)
    belt.answer_with(words)
    before = len(belt.gateway.texts)
    with belt.database.transaction() as tx:
        actions.offer_again(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.work()
    assert len(belt.gateway.texts) > before


def test_an_undo_of_another_does_not_wait_for_a_draft_that_is_on_its_way(belt: Belt) -> None:
    belt.offered(sender="maria@example.org")
    belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now() WHERE id = 2")
    belt.check_timeouts()
    belt.answer_with("1 #2")
    belt.gateway.failures.append(UNHEARD)
    texting.text_one(belt.desk, belt.gateway)
    belt.answer_with("1 #2")
    belt.with_policy(send_delay=60)
    belt.answer_with("1 #1")
    belt.answer_with("undo #1")
    assert belt.state(1) is State.AWAITING_USER


def test_nobody_waits_for_the_lock_of_a_text_that_is_just_leased(belt: Belt) -> None:
    timed_out(belt)
    belt.answer_with("1 #1")
    leasing = psycopg2.connect(belt.dsn)
    try:
        with leasing.cursor() as cursor:
            cursor.execute("SELECT FROM sms_outbox WHERE status = 'queued' FOR UPDATE")
            belt.answer_with("again #1")
    finally:
        leasing.close()
    assert belt.sql("SELECT count(*) FROM sms_outbox WHERE status = 'queued'") == [(2,)]


def test_a_text_that_was_withdrawn_while_its_fate_was_looked_up_holds_up_no_other(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.offered()
    belt.gateway.failures.append(ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN))
    belt.answer_with("again #1")
    texting.text_one(belt.desk, belt.gateway)
    belt.hurry()

    def outgoing(*_: object) -> list[SentText]:
        monkeypatch.undo()
        belt.answer_with("again #1")
        return []

    monkeypatch.setattr(belt.gateway, "outgoing", outgoing)
    before = len(belt.gateway.texts)
    texting.text_one(belt.desk, belt.gateway)
    belt.work()
    assert len(belt.gateway.texts) > before
