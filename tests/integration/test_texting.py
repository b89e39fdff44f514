"""The outbox: in order, in parts, once, and another way when texting is down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from email_orchestrator.core.models import SentText, TextStyle
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.workflow import actions, answering, drafting, texting
from email_orchestrator.workflow.desk import Room

from .conftest import OWNER

if TYPE_CHECKING:
    from .conftest import Belt

TOO_MANY = ServiceError("SMS Gateway", "it answered 429", Kind.TRANSIENT, retry_after=600)
DOWN = ServiceError("SMS Gateway", "503", Kind.TRANSIENT)
UNKNOWN = ServiceError("SMS Gateway", "timed out", Kind.UNKNOWN)
REFUSED = ServiceError("SMS Gateway", "422", Kind.PERMANENT)


def one_part(belt: Belt) -> bool:
    return texting.text_one(belt.desk, belt.gateway)


@pytest.fixture
def parts(belt: Belt) -> Belt:
    """A belt on which a draft of three parts waits to be texted."""
    belt.with_policy(style=TextStyle("multipart"))
    belt.email()
    belt.poll()
    belt.gateway.failures.append(DOWN)
    belt.work()
    belt.hurry()
    return belt


def test_a_retry_resumes_at_the_part_that_failed(parts: Belt) -> None:
    one_part(parts)
    parts.gateway.failures.append(DOWN)
    one_part(parts)
    assert parts.state(1) is State.SMS_SENDING
    parts.hurry()
    parts.work()
    marks = [text[:5] for text in parts.gateway.texts]
    assert marks == ["[1/3]", "[2/3]", "[3/3]"]
    assert parts.state(1) is State.AWAITING_USER


def test_parts_keep_their_distance(parts: Belt) -> None:
    parts.with_policy(part_gap=2.0)
    assert one_part(parts)
    assert not one_part(parts), "the second part is not due yet"
    parts.hurry()
    assert one_part(parts)


def test_no_other_draft_comes_between_the_parts_of_one(parts: Belt) -> None:
    one_part(parts)
    parts.email()
    parts.poll()
    parts.work()
    numbers = [text[:5] for text in parts.gateway.texts]
    assert numbers == ["[1/3]", "[2/3]", "[3/3]"] * 2


def test_an_answer_does_not_wait_for_the_parts_of_a_draft(parts: Belt) -> None:
    parts.with_policy(part_gap=2.0)
    one_part(parts)
    [answer] = parts.answer("list")
    assert not answer.startswith("[")


def test_a_text_found_in_the_gateways_history_after_a_crash_is_not_sent_again(parts: Belt) -> None:
    parts.gateway.failures.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        one_part(parts)
    [(first,)] = parts.sql("SELECT parts[1] FROM sms_outbox")
    parts.gateway.history.append(SentText("+15551234567", first, datetime.now(UTC)))
    parts.lapse()
    parts.work()
    assert [text[:5] for text in parts.gateway.texts] == ["[2/3]", "[3/3]"]
    assert parts.state(1) is State.AWAITING_USER


def test_a_text_with_an_unknown_outcome_is_sent_again_when_the_history_does_not_have_it(parts: Belt) -> None:
    parts.gateway.failures.append(UNKNOWN)
    one_part(parts)
    parts.hurry()
    parts.work()
    assert [text[:5] for text in parts.gateway.texts] == ["[1/3]", "[2/3]", "[3/3]"]


def test_when_texting_stays_down_the_draft_fails_and_the_owner_hears_by_email(parts: Belt) -> None:
    parts.gateway.failures.extend([DOWN] * 3)
    for _ in range(3):
        parts.hurry()
        parts.work()
    assert parts.state(1) is State.FAILED
    [(sender, recipient, content)] = parts.mailer.mails
    assert sender == recipient == "owner@example.com"
    assert b"Auto-Submitted: auto-generated" in content
    parts.answer("retry #1")
    assert parts.state(1) is State.AWAITING_USER
    assert len(parts.generator.asked) == 1, "the draft was not written anew"


def test_a_refused_text_fails_at_once(parts: Belt) -> None:
    parts.gateway.failures.append(REFUSED)
    one_part(parts)
    assert parts.state(1) is State.FAILED


def test_an_answer_outlasts_any_outage(belt: Belt) -> None:
    belt.gateway.failures.extend([DOWN] * 12)
    belt.text("list")
    belt.keep_trying(13)
    assert [text for text in belt.gateway.texts if "No draft waits" in text]


def test_the_first_text_that_goes_out_has_those_follow_that_failed_before(belt: Belt) -> None:
    belt.offered()
    belt.gateway.failures.append(DOWN)
    belt.answer_with("1")
    belt.work()
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)
    assert "✅ Sent to john@example.com (#1)" not in belt.gateway.texts
    # The outage was long.
    belt.sql("UPDATE sms_outbox SET next_attempt_at = now() + interval '40 min' WHERE status = 'queued'")
    belt.answer("list")
    assert "✅ Sent to john@example.com (#1)" in belt.gateway.texts


def but_no_drafts(belt: Belt, failure: ServiceError, tried: list[str] | None = None) -> Callable[[str, str], str]:
    """Make a gateway that fails with every draft, noting it in `tried`, and sends all else."""
    send = belt.gateway.send

    def picky(to: str, text: str) -> str:
        if "Draft: " not in text:
            return send(to, text)
        if tried is not None:
            tried.append(text)
        raise failure

    return picky


def test_what_the_gateway_refuses_is_not_given_up_because_others_go_out(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(belt.gateway, "send", but_no_drafts(belt, TOO_MANY))
        belt.email()
        belt.poll()
        belt.work()
        for _ in range(6):
            belt.answer("list")
    assert belt.state(1) is State.SMS_SENDING
    belt.answer("list")
    assert belt.state(1) is State.AWAITING_USER


def test_what_the_gateway_goes_on_refusing_is_given_up_in_the_end(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(belt.gateway, "send", but_no_drafts(belt, TOO_MANY))
    belt.email()
    belt.poll()
    belt.work()
    for _ in range(8):
        belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '20 min'")
        belt.answer("list")
    assert belt.state(1) is State.FAILED
    assert [recipient for _, recipient, _ in belt.mailer.mails] == ["owner@example.com"]


def test_what_may_be_out_is_not_texted_again_and_again_because_others_go_out(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[str] = []
    monkeypatch.setattr(belt.gateway, "send", but_no_drafts(belt, UNKNOWN, copies))
    belt.email()
    belt.poll()
    belt.work()
    for _ in range(12):
        belt.sql("UPDATE sms_outbox SET next_attempt_at = now() + interval '40 s' WHERE status = 'queued'")
        belt.answer("list")
    assert len(copies) <= 1 + belt.desk.policy.max_retry_attempts


def test_when_the_gateway_is_back_everything_goes_out_at_once(belt: Belt) -> None:
    belt.gateway.failures.extend([DOWN] * 4)
    for _ in range(3):
        belt.text("list")
    belt.work()
    belt.sql("UPDATE sms_outbox SET next_attempt_at = now() WHERE id = 1")
    belt.work()
    belt.sql("UPDATE sms_outbox SET next_attempt_at = now() WHERE id = 1")
    belt.work()
    assert len(belt.gateway.texts) == 3


def test_a_draft_that_was_closed_meanwhile_is_not_texted(parts: Belt) -> None:
    one_part(parts)
    parts.sql("UPDATE workflow_state SET current_state = 'user_ignored'")
    parts.work()
    assert len(parts.gateway.texts) == 1
    assert parts.sql("SELECT status FROM sms_outbox") == [("unwanted",)]


def test_an_answer_between_the_parts_is_kept_and_acted_on_once_the_sending_is_recorded(parts: Belt) -> None:
    one_part(parts)
    parts.text("1")
    assert answering.answer_one(parts.desk)
    assert not answering.answer_one(parts.desk), "it waits"
    assert parts.mailer.mails == []
    parts.work()
    assert parts.state(1) is State.REPLY_SENT


def test_in_quiet_hours_only_answers_go_out(belt: Belt) -> None:
    now = datetime.now(UTC)
    span = (
        (now - timedelta(hours=1)).time().replace(tzinfo=None),
        (now + timedelta(hours=1)).time().replace(tzinfo=None),
    )
    belt.with_policy(quiet_hours=span)
    belt.email()
    belt.poll()
    belt.work()
    assert belt.state(1) is State.SMS_SENDING
    assert len(belt.answer("list")) == 1
    belt.with_policy(quiet_hours=(time(0, 0), time(0, 0)))
    belt.work()
    assert belt.state(1) is State.AWAITING_USER


def test_two_that_text_at_once_do_not_stop_the_outbox(parts: Belt) -> None:
    parts.email()
    parts.poll()
    drafting.draft_one(parts.desk, parts.generator)
    # As two processes would leave it that leased at the same moment.
    parts.sql("UPDATE sms_outbox SET parts_sent = 1")
    parts.work()
    assert [parts.state(1), parts.state(2)] == [State.AWAITING_USER] * 2


def test_an_answer_from_before_a_draft_that_a_crash_kept_back_is_not_an_answer_to_it(belt: Belt) -> None:
    first = belt.offered()
    belt.answer("2 shorter")
    belt.sql("UPDATE workflow_state SET current_state = 'sms_sending', offered_at = NULL")
    belt.sql("UPDATE sms_outbox SET status = 'queued', parts_sent = 0 WHERE kind = 'offer' AND revision = 2")
    belt.gateway.failures.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        one_part(belt)
    assert first.offered_at is not None
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '60 s'")
    belt.sql("UPDATE sms_outbox SET in_doubt_since = in_doubt_since - interval '60 s' WHERE in_doubt_since IS NOT NULL")
    belt.sql("UPDATE workflow_state SET user_responded_at = user_responded_at - interval '90 s'")
    belt.text("1", at=datetime.now(UTC) - timedelta(seconds=30))
    belt.lapse()
    belt.work()
    assert belt.mailer.mails == []
    assert any("crossed" in text for text in belt.gateway.texts)


@pytest.mark.parametrize("failure", [DOWN, REFUSED])
def test_a_draft_asked_for_again_in_vain_can_still_be_approved(belt: Belt, failure: ServiceError) -> None:
    belt.offered()
    belt.gateway.failures.extend([failure] * 4)
    belt.text("again")
    belt.keep_trying(4)
    belt.answer("1 #1")
    assert belt.state(1) is State.REPLY_SENT


def test_a_draft_that_timed_out_and_could_not_be_texted_again_is_closed_again(belt: Belt) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()
    belt.gateway.failures.append(REFUSED)
    belt.answer("1 #1")
    assert belt.state(1) is State.TIMEOUT
    assert b"again #1" in belt.mailer.mails[0][2]
    belt.answer("1 #1")
    assert belt.state(1) is State.AWAITING_USER


def test_an_answer_that_the_night_overtook_waits_for_the_morning(belt: Belt) -> None:
    belt.gateway.failures.append(DOWN)
    belt.answer("list")
    belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '20 minutes'")
    belt.hurry()
    belt.with_policy(quiet_hours=(time(0, 0), time(23, 59, 59)))
    belt.work()
    assert belt.gateway.texts == []
    belt.with_policy(quiet_hours=None)
    belt.work()
    assert len(belt.gateway.texts) == 1


def test_a_text_that_was_missed_for_hours_wakes_nobody(belt: Belt) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE workflow_state SET offered_at = now() - interval '6 hours'")
    belt.with_policy(quiet_hours=(time(0, 0), time(23, 59, 59)))
    assert belt.answer(f"1 #{workflow.id}", at=datetime.now(UTC) - timedelta(hours=5)) == []
    assert belt.state(1) is State.REPLY_SENT, "it is acted on, and confirmed in the morning"


def test_asking_again_at_night_is_answered_at_night(belt: Belt) -> None:
    belt.offered()
    belt.with_policy(quiet_hours=(time(0, 0), time(23, 59, 59)))
    assert len(belt.answer("again")) == 1


def edited_while_it_comes_once_more(belt: Belt, monkeypatch: pytest.MonkeyPatch, outcome: ServiceError | None) -> None:
    """Have a shell edit #1, and the new draft be written, while the gateway has the old one in hand once more."""
    belt.offered()
    with belt.database.transaction() as tx:
        actions.offer_again(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    accept = belt.gateway.send

    def send(to: str, text: str) -> str:
        with belt.database.transaction() as tx:
            actions.edit(tx, belt.desk, actions.find(tx, "1"), Actor.CLI, "shorter")
        belt.draft()
        if outcome:
            raise outcome
        return accept(to, text)

    monkeypatch.setattr(belt.gateway, "send", send)
    texting.text_one(belt.desk, belt.gateway)
    monkeypatch.undo()


@pytest.mark.parametrize("outcome", [None, ServiceError("SMS Gateway", "it answered 422", Kind.PERMANENT)], ids=str)
def test_what_becomes_of_an_older_drafts_text_says_nothing_of_the_newer(
    belt: Belt, monkeypatch: pytest.MonkeyPatch, outcome: ServiceError | None
) -> None:
    edited_while_it_comes_once_more(belt, monkeypatch, outcome)
    assert belt.state(1) is State.SMS_SENDING
    belt.work()
    assert "Draft number 2." in belt.gateway.texts[-1]


def texted_but_unheard(belt: Belt, seconds_ago: int) -> None:
    """Have the gateway send a text whose answer is lost; its clock is some seconds behind."""
    belt.email()
    belt.poll()
    belt.draft()
    belt.gateway.failures.append(ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN))
    belt.work()
    [(part,)] = belt.sql("SELECT parts[1] FROM sms_outbox")
    belt.gateway.history.append(SentText(OWNER, part, datetime.now(UTC) - timedelta(seconds=seconds_ago)))


def test_a_text_is_found_in_the_history_of_a_gateway_whose_clock_is_behind(belt: Belt) -> None:
    texted_but_unheard(belt, seconds_ago=30)
    belt.keep_trying(2)
    assert belt.gateway.texts == []
    assert belt.state(1) is State.AWAITING_USER


def test_a_text_of_unknown_fate_is_looked_for_until_the_history_can_be_read(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    texted_but_unheard(belt, seconds_ago=0)
    away = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)
    monkeypatch.setattr(belt.gateway, "outgoing", lambda *_: (_ for _ in ()).throw(away))
    belt.keep_trying(2)
    monkeypatch.undo()
    belt.keep_trying(2)
    assert belt.gateway.texts == []
    assert belt.state(1) is State.AWAITING_USER


def test_an_answer_between_the_parts_of_a_draft_is_acted_on_as_soon_as_the_last_is_out(belt: Belt) -> None:
    belt.first_part_out()
    belt.answer_with("1")
    texting.text_one(belt.desk, belt.gateway)
    belt.woken.clear()
    texting.text_one(belt.desk, belt.gateway)
    assert belt.woken == [Room.ANSWERING]
    belt.work()
    assert belt.state(1) is State.REPLY_SENT
