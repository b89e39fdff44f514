"""Approvals in the night, notices in an outage, a database away for a moment: nobody waits in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from email_orchestrator.core.models import InboundText, SentText, TextStyle
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import AccountError, DatabaseUnavailable, Kind, ServiceError, Trouble
from email_orchestrator.workflow import actions, answering, replying, texting, upkeep
from email_orchestrator.workflow.round import work_through

from .conftest import OWNER, Gateway, Generator, Mailer, SentMail

if TYPE_CHECKING:
    from .conftest import Belt

NIGHT = (time(0, 0), time(23, 59, 59))
UNHEARD = ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN)
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'email-orchestrator'"
)
DOWN = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)
SHUT = AccountError("SMTP server", "it answered the AUTH with 535", Trouble.CREDENTIALS)


@dataclass
class Outside:
    """What a round by hand speaks to."""

    generator: Generator
    gateway: Gateway
    mailer: Mailer
    sent_mail: SentMail | None
    monitor: None = None


def twenty_minutes_off(belt: Belt) -> None:
    """Let the machine be off for twenty minutes, and the night begin meanwhile."""
    belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '20 minutes'")
    belt.with_policy(quiet_hours=NIGHT)


def begin_a_long_list(belt: Belt) -> None:
    """Let the owner ask for a list of many drafts, of which the first part is out."""
    for number in range(10):
        belt.offered(sender=f"{number}{'n' * 60}@{'d' * 60}.example.com", subject="A rather long subject line " * 3)
    belt.text("list")
    answering.answer_one(belt.desk)
    texting.text_one(belt.desk, belt.gateway)
    assert belt.sql("SELECT parts_sent FROM sms_outbox WHERE status = 'queued'") == [(1,)]


def test_an_approval_in_the_night_does_not_wait_until_morning_for_a_text_of_unknown_fate(belt: Belt) -> None:
    belt.email()
    belt.poll()
    belt.gateway.failures.append(UNHEARD)
    belt.work()
    [(part,)] = belt.sql("SELECT parts[1] FROM sms_outbox")
    belt.gateway.history.append(SentText(OWNER, part, datetime.now(UTC)))
    belt.with_policy(quiet_hours=NIGHT)  # which begins before the second try
    belt.text("1")
    belt.hurry()
    belt.work()
    assert belt.state(1) is State.REPLY_SENT


def test_an_answer_begun_before_an_outage_does_not_silence_the_others_for_the_night(belt: Belt) -> None:
    begin_a_long_list(belt)
    twenty_minutes_off(belt)
    assert belt.answer("3 #1") != []


def test_a_round_by_hand_ends_in_the_night_too(belt: Belt) -> None:
    begin_a_long_list(belt)
    twenty_minutes_off(belt)
    rests: Iterator[int] = iter(range(100))
    belt.desk = replace(belt.desk, wait=lambda _: next(rests) >= 20)
    work_through(belt.desk, Outside(belt.generator, belt.gateway, belt.mailer, belt.sent_mail))
    assert next(rests) < 20, "it waits for a text that goes out in the morning"


def test_a_draft_that_could_not_be_texted_is_told_of_when_mail_rests_and_texting_is_back(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.extend([SHUT] * 9)
    belt.answer("1")
    belt.gateway.failures.extend([DOWN] * 4)
    belt.email(sender="maria@example.org")
    belt.poll()
    belt.keep_trying(9)
    assert belt.state(2) is State.FAILED
    belt.answer("list")
    belt.hurry()
    belt.work()
    assert any("maria@example.org" in text for text in belt.gateway.texts)


def test_a_draft_that_comes_again_as_it_is_now_has_time_to_be_answered(belt: Belt) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    # The account was shut for three days; with the new password came a new signature, and now it is night.
    belt.sql("UPDATE workflow_state SET remind_at = now() - interval '2 d', timeout_at = now() - interval '1 d'")
    belt.sql("UPDATE workflow_state SET user_responded_at = now() - interval '3 d', next_attempt_at = now()")
    belt.with_policy(send_delay=0, signature="New signature", quiet_hours=NIGHT)
    assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    upkeep.check_timeouts(belt.desk)
    belt.with_policy(quiet_hours=None)
    belt.work()
    assert belt.state(1) is State.AWAITING_USER


def test_a_bare_retry_is_not_swallowed_by_a_pause_that_is_over(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(AccountError("SMTP server", "454", Trouble.BUSY))
    belt.answer("1")
    belt.answer("undo")
    over = '{"until": "2020-01-01T00:00:00+00:00"}'
    belt.sql("UPDATE service_state SET value = value || %s::jsonb WHERE key = 'mail_pause'", over)
    belt.email(sender="maria@example.org")
    belt.poll()
    belt.generator.failures.append(ServiceError("AI Reply Generator", "422", Kind.PERMANENT))
    belt.work()
    assert belt.state(2) is State.FAILED
    belt.answer("retry")
    assert belt.state(2) is State.AWAITING_USER


def test_an_offer_in_the_night_whose_other_parts_are_late_can_be_answered(belt: Belt) -> None:
    belt.first_part_out()
    twenty_minutes_off(belt)
    belt.text("1")
    belt.work()
    assert belt.state(1) is State.REPLY_SENT or len(belt.gateway.texts) > 1, "not a word until the morning"


def test_a_database_that_restarts_while_a_text_goes_out_does_not_silence_the_next_ones(belt: Belt) -> None:
    belt.text("list")
    answering.answer_one(belt.desk)
    send = belt.gateway.send

    def cut_off(to: str, text: str) -> str:
        belt.sql(CUT)
        belt.gateway.send = send  # type: ignore[method-assign]
        return send(to, text)

    belt.gateway.send = cut_off  # type: ignore[method-assign]
    with suppress(DatabaseUnavailable):
        texting.text_one(belt.desk, belt.gateway)
    assert len(belt.answer("menu")) == 1, "for the length of a lease nothing is texted"


def test_a_reply_that_was_certainly_not_sent_is_tried_again_though_the_database_was_away(belt: Belt) -> None:
    belt.offered()
    send = belt.mailer.send

    def cut_off(sender: str, recipient: str, message: bytes, until: float) -> str:
        belt.sql(CUT)
        belt.mailer.send = send  # type: ignore[method-assign]
        raise ServiceError("SMTP server", "no connection; nothing was sent", Kind.TRANSIENT)

    belt.mailer.send = cut_off  # type: ignore[method-assign]
    belt.text("1")
    answering.answer_one(belt.desk)
    with suppress(DatabaseUnavailable):
        replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    for _ in range(4):
        belt.lapse()
        belt.hurry()
        belt.work()
    assert belt.state(1) is State.REPLY_SENT


@pytest.mark.parametrize("column", ["stored_at", "received_at"])
def test_an_answer_of_the_evening_does_not_have_the_rest_of_its_draft_texted_in_the_night(
    belt: Belt, column: str
) -> None:
    belt.first_part_out()
    belt.answer_with("1")
    belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '5 hours'")
    belt.sql("UPDATE workflow_state SET offered_at = offered_at - interval '6 hours'")
    belt.sql(f"UPDATE sms_inbox SET {column} = {column} - interval '5 hours'")
    belt.with_policy(quiet_hours=NIGHT)
    belt.work()
    assert len(belt.gateway.texts) == 1
    belt.with_policy(quiet_hours=None)
    belt.work()
    assert belt.state(1) is State.REPLY_SENT


def test_a_text_of_the_evening_that_is_fetched_at_night_is_not_answered_then(belt: Belt) -> None:
    belt.offered()
    belt.with_policy(quiet_hours=NIGHT)
    before = len(belt.gateway.texts)
    belt.answer("list", at=datetime.now(UTC) - timedelta(hours=3))
    assert len(belt.gateway.texts) == before


def test_who_approves_at_night_hears_at_once_that_it_could_not_be_sent(belt: Belt) -> None:
    belt.offered()
    belt.with_policy(quiet_hours=NIGHT)
    belt.mailer.failures.append(ServiceError("SMTP server", "it answered with 550", Kind.PERMANENT))
    assert "Failed to send" in belt.answer("1")[-1]


# Notices that are over before they go out ---------------------------------------------------------------------------


def morning(belt: Belt) -> list[str]:
    """Let the night end; returns what is texted then."""
    before = len(belt.gateway.texts)
    belt.with_policy(quiet_hours=None)
    belt.work()
    return belt.gateway.texts[before:]


def timed_out_at_night(belt: Belt) -> None:
    """Have the time of a draft be over in the night."""
    belt.offered()
    belt.with_policy(quiet_hours=NIGHT)
    belt.sql("UPDATE workflow_state SET remind_at = NULL, timeout_at = now()")
    belt.check_timeouts()


def brought_back_and_approved(belt: Belt) -> None:
    """Have the owner bring the draft back, and approve it."""
    for seconds in (1, 3):
        belt.answer("1 #1", at=datetime.now(UTC) + timedelta(seconds=seconds))


def test_a_timeout_of_the_night_is_not_told_once_the_draft_was_answered(belt: Belt) -> None:
    timed_out_at_night(belt)
    brought_back_and_approved(belt)
    assert belt.state(1) is State.REPLY_SENT
    assert morning(belt) == []


def test_a_timeout_of_the_night_is_told_in_the_morning(belt: Belt) -> None:
    timed_out_at_night(belt)
    assert [text[0] for text in morning(belt)] == ["⌛"]


def test_a_failure_is_not_told_once_it_was_tried_again(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(ServiceError("SMTP server", "no", Kind.PERMANENT))
    with belt.database.transaction() as tx:
        actions.approve(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.with_policy(quiet_hours=NIGHT)
    belt.work()
    assert belt.state(1) is State.FAILED
    with belt.database.transaction() as tx:
        actions.retry(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.work()
    assert morning(belt) == ["✅ Sent to john@example.com (#1)"]


def test_a_failure_that_was_to_be_emailed_is_not_once_it_was_tried_again(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(ServiceError("SMTP server", "no", Kind.PERMANENT))
    belt.answer_with("1")
    replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.sql("UPDATE sms_outbox SET channel = 'email' WHERE status = 'queued' AND kind = 'notice'")
    with belt.database.transaction() as tx:
        actions.retry(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    belt.work()
    assert [recipient for _, recipient, _ in belt.mailer.mails] == ["john@example.com"]


def test_a_round_by_hand_acts_on_an_approval_before_a_newer_email_overtakes_it(belt: Belt) -> None:
    first = belt.offered()
    outside = Outside(belt.generator, belt.gateway, belt.mailer, belt.sent_mail)
    work_through(belt.desk, outside)
    belt.gateway.inbound.append(InboundText("x1", OWNER, "1 #1", datetime.now(UTC) + timedelta(seconds=1)))
    belt.email(thread_id=first.message_id)
    work_through(belt.desk, outside)
    assert (belt.state(1), len(belt.mailer.mails)) == (State.REPLY_SENT, 1)


def test_after_a_timeout_that_was_not_told_since_it_was_over_a_bare_approval_is_for_the_next_draft(belt: Belt) -> None:
    timed_out_at_night(belt)
    brought_back_and_approved(belt)
    assert morning(belt) == []
    belt.sql("UPDATE workflow_event SET at = at - interval '10 h'")
    belt.sql("UPDATE sms_outbox SET created_at = created_at - interval '10 h', sent_at = sent_at - interval '10 h'")
    belt.sql("UPDATE workflow_state SET user_responded_at = user_responded_at - interval '10 h'")
    belt.offered(sender="mary@example.com")
    belt.answer("1", at=datetime.now(UTC) + timedelta(seconds=6))
    assert belt.state(2) is State.REPLY_SENT


def test_a_text_that_has_begun_while_mail_rests_is_tried_often_enough_to_hold_up_nothing_for_long(belt: Belt) -> None:
    belt.with_policy(style=TextStyle("multipart"))
    belt.offered()
    pause_for_ever = '{"until": "9000-01-01T00:00:00+00:00", "trouble": "credentials", "message": "535", "pauses": 1}'
    belt.sql("INSERT INTO service_state (key, value) VALUES ('mail_pause', %s)", pause_for_ever)
    belt.sql("UPDATE workflow_state SET remind_at = now()")
    upkeep.check_timeouts(belt.desk)
    texting.text_one(belt.desk, belt.gateway)
    belt.gateway.failures.extend([DOWN] * 10)
    belt.keep_trying(9)
    belt.work()
    assert not belt.gateway.failures
    [(soon,)] = belt.sql("SELECT next_attempt_at < now() + interval '1 min' FROM sms_outbox WHERE status = 'queued'")
    assert soon


def test_a_text_of_the_evening_that_cannot_be_acted_on_wakes_nobody(
    belt: Belt, monkeypatch: pytest.MonkeyPatch
) -> None:
    belt.with_policy(quiet_hours=NIGHT, timezone=UTC)
    monkeypatch.setattr("email_orchestrator.workflow.conversation.Conversation.act", lambda self: 1 / 0)
    belt.text("1", datetime.now(UTC) - timedelta(hours=6))
    answering.answer_all(belt.desk)
    belt.work()
    assert belt.sql("SELECT count(*) FROM sms_outbox WHERE status = 'queued'") == [(1,)]
    assert belt.gateway.texts == []
