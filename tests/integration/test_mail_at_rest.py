"""While all mail rests: what the owner approves waits, and the owner is told so, and how to stop it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from shell import ACCOUNT, Shell

from email_orchestrator.core.hours import show_time
from email_orchestrator.core.states import State
from email_orchestrator.demo.standins import MailStandIn
from email_orchestrator.errors import AccountError, Kind, ServiceError, Trouble
from email_orchestrator.workflow import replying

from .conftest import Belt

SHUT = AccountError("SMTP server", "it answered the AUTH with 535", Trouble.CREDENTIALS)
FULL = AccountError("SMTP server", "it answered with 550 5.4.5", Trouble.DAILY_LIMIT)
BUSY = ServiceError("SMTP server", "it answered with 451", Kind.TRANSIENT)


@pytest.fixture
def mail() -> Iterator[MailStandIn]:
    with MailStandIn(ACCOUNT["EMAIL_ADDRESS"], "another password") as made:
        yield made


def end_the_rest(belt: Belt) -> None:
    """Let the time pass for which mail rests, and do what is due then."""
    belt.sql("UPDATE service_state SET value = jsonb_set(value, '{until}', to_jsonb(now())) WHERE key = 'mail_pause'")
    belt.hurry()
    belt.work()


def at_rest(belt: Belt, trouble: AccountError) -> None:
    """Have mail rest because of #1, and a draft of #2 wait."""
    belt.offered()
    belt.mailer.failures.append(trouble)
    belt.answer("1")
    belt.offered(sender="maria@example.org")


@pytest.mark.parametrize("choices", [{}, {"send_delay": 30}, {"confirm": False}], ids=str)
def test_who_approves_hears_that_it_waits(belt: Belt, choices: dict[str, object]) -> None:
    at_rest(belt, SHUT)
    belt.with_policy(**choices)
    [said] = belt.answer("1 #2")
    assert said == (
        '#2 is approved, but the mail account does not let us in. Mend it, then text "retry". '
        'Text "undo #2" to stop it.'
    )
    assert belt.answer("1 #2") == [said]
    belt.with_policy(send_delay=0)
    belt.answer("undo #2")
    assert belt.state(2) is State.AWAITING_USER


@pytest.mark.parametrize("words", ["1", "#2", "more #2", "again"])
def test_who_asks_after_a_reply_hears_that_it_waits(belt: Belt, words: str) -> None:
    at_rest(belt, SHUT)
    [said] = belt.answer("1 #2")
    assert belt.answer(words)[0].removeprefix("No draft waits for you. ") == said


def test_who_approves_hears_until_when_it_waits(belt: Belt) -> None:
    belt.with_policy(timezone=ZoneInfo("Asia/Kolkata"))
    at_rest(belt, FULL)
    [said] = belt.answer("1 #2")
    [(until,)] = belt.sql("SELECT (value ->> 'until')::timestamptz FROM service_state WHERE key = 'mail_pause'")
    assert f"no mail goes out for now. It does by itself from {show_time(until, belt.desk.policy)}." in said
    assert until.astimezone(ZoneInfo("Asia/Kolkata")).strftime("%H:%M") in said


@pytest.mark.parametrize("words", ["1 #2", "#2"])
def test_a_rest_that_is_over_before_the_delay_is_hastens_nothing(belt: Belt, words: str) -> None:
    at_rest(belt, FULL)
    belt.with_policy(send_delay=86_400)
    answers = [belt.answer("1 #2"), belt.answer(words)]
    due = belt.workflow(2).next_attempt_at
    assert due is not None
    for [said] in answers:
        assert f"It does by itself from {show_time(due, belt.desk.policy)}." in said


def test_once_the_rest_is_over_nobody_hears_of_it(belt: Belt) -> None:
    at_rest(belt, FULL)
    belt.sql("""UPDATE service_state SET value = value || '{"until": "2020-01-01T00:00+00:00"}'""")
    assert belt.answer("1 #2") == ["✅ Sent to john@example.com (#1)", "✅ Sent to maria@example.org (#2)"]


@pytest.mark.parametrize("words", ["3 #1", "2 #1 shorter", "1 #1"])
def test_who_has_second_thoughts_hears_how_to_stop_a_reply(belt: Belt, words: str) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    assert belt.answer(words) == ['#1 is approved and on its way out. Text "undo #1" to stop it.']


def of_unknown_fate(belt: Belt) -> None:
    """Have a reply of #1 of which nobody knows whether it is out."""
    belt.sent_mail = None
    belt.offered()
    belt.mailer.failures.append(ServiceError("SMTP server", "no answer", Kind.UNKNOWN))
    belt.answer("1")


def test_nobody_is_told_to_stop_what_may_be_out(belt: Belt) -> None:
    of_unknown_fate(belt)
    belt.mailer.failures.append(BUSY)
    belt.answer("retry #1")
    for words in ("3 #1", "undo #1"):
        assert belt.answer(words) == ["#1 is approved and on its way out."]


def test_nobody_is_told_to_stop_what_comes_again_and_may_be_out(belt: Belt) -> None:
    of_unknown_fate(belt)
    belt.with_policy(signature="-- \nnew", send_delay=60)
    belt.answer("retry #1")
    assert belt.answer("1 #1") == ["Sending to john@example.com in 60 s (#1)."]
    assert belt.answer("undo #1") == ["#1 is approved and on its way out."]


@pytest.mark.parametrize("words", ["1 #1", "#1", "1"])
def test_what_may_be_out_is_said_to_rest_as_well(belt: Belt, words: str) -> None:
    of_unknown_fate(belt)
    belt.mailer.failures.append(SHUT)
    belt.answer("retry #1")
    [said] = belt.answer(words)
    assert said.endswith('#1 is approved, but the mail account does not let us in. Mend it, then text "retry".')


def test_what_a_shell_approved_meanwhile_leaves_as_soon_as_mail_works(
    belt: Belt, mail: MailStandIn, tmp_path: Path
) -> None:
    belt.offered()
    server = {"GMAIL_SMTP_SERVER": mail.host, "GMAIL_SMTP_PORT": str(mail.port)}
    shell = Shell(tmp_path, DATABASE_URL=belt.dsn, **ACCOUNT, **server)
    assert shell.run("approve", "1").exit_code == 75
    belt.offered(sender="maria@example.org")
    assert shell.run("approve", "2").exit_code == 75
    assert not replying.reply_one(belt.desk, belt.mailer, None)
    assert shell.run("retry", "2").exit_code == 0
    belt.work()
    assert [recipient for _, recipient, _ in belt.mailer.mails] == ["john@example.com", "maria@example.org"]


@pytest.mark.parametrize(
    "change",
    [
        "current_state = 'awaiting_user'",
        "reply_message_id = '<of another approval>'",
        "claimed_by = 'another'",
        "send_started_at = now()",
        "retry_count = 1",
    ],
)
def test_a_shell_lets_go_only_of_what_is_as_it_left_it(belt: Belt, change: str) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    reply = belt.workflow(1).reply_message_id
    belt.sql(f"UPDATE workflow_state SET {change}")
    with belt.database.transaction() as tx:
        tx.run("let_go", id=1, reply=reply)
    assert belt.workflow(1).next_attempt_at is not None


def test_what_a_shell_could_not_send_keeps_the_time_of_its_next_try(belt: Belt, tmp_path: Path) -> None:
    belt.offered()
    shell = Shell(tmp_path, DATABASE_URL=belt.dsn, GMAIL_SMTP_SERVER="127.0.0.1", GMAIL_SMTP_PORT="1", **ACCOUNT)
    assert shell.run("approve", "1").exit_code == 75
    workflow = belt.workflow(1)
    assert workflow.attempts == 1
    assert workflow.next_attempt_at is not None


def test_a_server_that_stays_busy_is_left_alone_for_longer_each_time_and_told_of_once(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.extend([AccountError("SMTP server", "it answered with 454", Trouble.BUSY)] * 3)
    belt.answer("1")
    for seconds in (120, 240):
        end_the_rest(belt)
        [(left,)] = belt.sql(
            "SELECT extract(epoch FROM (value ->> 'until')::timestamptz - updated_at)::int FROM service_state"
            " WHERE key = 'mail_pause'"
        )
        assert left == seconds
    assert sum("asks us to wait" in text for text in belt.gateway.texts) == 1
    end_the_rest(belt)
    assert belt.state(1) is State.REPLY_SENT


def test_trouble_with_the_account_uses_up_no_attempt_of_a_reply(belt: Belt) -> None:
    belt.with_policy(max_retry_attempts=1)
    belt.offered()
    busy = AccountError("SMTP server", "it answered with 454", Trouble.BUSY)
    belt.mailer.failures.extend([busy, busy, busy, BUSY])
    belt.answer("1")
    for _ in range(4):
        end_the_rest(belt)
    assert belt.state(1) is State.REPLY_SENT


def test_a_retry_of_one_reply_ends_the_rest_of_all(belt: Belt) -> None:
    belt.offered()
    belt.offered(sender="maria@example.org")
    belt.mailer.failures.append(ServiceError("SMTP server", "it answered with 550", Kind.PERMANENT))
    belt.answer("1 #1")
    belt.mailer.failures.append(SHUT)
    belt.answer("1 #2")
    belt.answer("retry #1")
    assert [belt.state(1), belt.state(2)] == [State.REPLY_SENT] * 2


def test_what_was_to_go_by_email_is_texted_while_mail_rests(belt: Belt) -> None:
    belt.gateway.failures.append(ServiceError("SMS Gateway", "it answered 422", Kind.PERMANENT))
    belt.mailer.failures.extend([SHUT] * 9)
    belt.email(sender="maria@example.org")
    belt.poll()
    belt.keep_trying(4)
    assert belt.mailer.mails == []
    assert any("Failed to prepare a reply to maria@example.org" in text for text in belt.gateway.texts)


def test_a_reply_that_may_be_out_is_looked_for_while_mail_rests_and_ends_no_rest(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(ServiceError("SMTP server", "the connection was lost", Kind.UNKNOWN))
    belt.answer("1")
    belt.offered(sender="maria@example.org")
    belt.mailer.failures.append(SHUT)
    belt.answer("1 #2")
    assert belt.sent_mail is not None
    belt.sent_mail.everything = True

    belt.keep_trying(2)

    assert (belt.state(1), belt.state(2)) == (State.REPLY_SENT, State.USER_APPROVED)
    assert belt.workflow(2).send_started_at is None
