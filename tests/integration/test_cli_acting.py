"""The commands that act: approve, edit, ignore, retry, timeout, undo; replies go to a real SMTP server."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from imap_standin import SentMailStandIn
from shell import ACCOUNT, Shell

from email_orchestrator.core.states import State
from email_orchestrator.demo.standins import Answer, GeneratorStandIn, MailStandIn
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.workflow import replying

if TYPE_CHECKING:
    from .conftest import Belt


@pytest.fixture
def mail() -> Iterator[MailStandIn]:
    with MailStandIn(ACCOUNT["EMAIL_ADDRESS"], ACCOUNT["EMAIL_PASSWORD"]) as made:
        yield made


@pytest.fixture
def shell(belt: Belt, mail: MailStandIn, tmp_path: Path) -> Shell:
    """A shell of the owner's, with everything that answering email needs."""
    server = {"GMAIL_SMTP_SERVER": mail.host, "GMAIL_SMTP_PORT": str(mail.port)}
    return Shell(tmp_path, DATABASE_URL=belt.dsn, **ACCOUNT, **server)


def actors(belt: Belt, to_state: State) -> list[str]:
    return [actor for (actor,) in belt.sql("SELECT actor FROM workflow_event WHERE to_state = %s", str(to_state))]


# approve ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1", "#1", "<m1@example.com>"])
def test_approve_sends_now_and_says_so(belt: Belt, shell: Shell, mail: MailStandIn, name: str) -> None:
    belt.offered(subject="Lunch?")
    result = shell.run("approve", name, EMAIL_FROM_NAME="Jo Doe", EMAIL_SIGNATURE=r"Jo\nLtd.")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Sent to john@example.com (#1).\n", "")
    [accepted] = mail.mails
    assert accepted.recipients == ("john@example.com",)
    message = email.message_from_bytes(accepted.content, policy=email.policy.default)
    assert (message["Subject"], message["From"]) == ("Re: Lunch?", "Jo Doe <owner@example.com>")
    assert message.get_content().splitlines() == ["Draft number 1.", "", "Jo", "Ltd."]
    assert belt.state(1) is State.REPLY_SENT
    assert belt.email_status("<m1@example.com>") == "sent"
    assert actors(belt, State.USER_APPROVED) == ["cli"]


def test_approve_does_not_wait_for_the_time_in_which_a_text_could_be_taken_back(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    belt.offered()
    assert shell.run("approve", "1", SEND_DELAY="3600").exit_code == 0
    assert len(mail.mails) == 1


def test_several_are_approved_over_one_connection_and_each_is_told(belt: Belt, shell: Shell, mail: MailStandIn) -> None:
    for sender in ("ann@example.com", "bob@example.com"):
        belt.offered(sender=sender)
    result = shell.run("approve", "2", "#1")
    assert result.stdout == "Sent to bob@example.com (#2).\nSent to ann@example.com (#1).\n"
    assert (len(mail.mails), mail.connections) == (2, 1)


def test_the_others_are_sent_when_one_cannot_be_and_the_exit_code_is_the_first_failures(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    for sender in ("ann@example.com", "bob@example.com", "cy@example.com"):
        belt.offered(sender=sender)
    belt.answer("3 #2")
    result = shell.run("approve", "1", "99", "2", "3")
    assert result.stdout == "Sent to ann@example.com (#1).\nSent to cy@example.com (#3).\n"
    first, second = result.stderr.splitlines()
    assert first.startswith("Error: There is no workflow 99")
    assert second.startswith("Error: #2 was closed on ")
    assert result.exit_code == 3
    assert len(mail.mails) == 2


def test_a_second_approval_sends_nothing_and_says_when_it_was_sent(belt: Belt, shell: Shell, mail: MailStandIn) -> None:
    belt.offered()
    result = shell.run("approve", "1", "1")
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: #1 was already sent to john@example.com on ")
    assert len(mail.mails) == 1


def test_of_two_approvals_at_the_same_moment_one_sends(belt: Belt, shell: Shell, mail: MailStandIn) -> None:
    belt.offered()
    both = [shell.process("approve", "1") for _ in range(2)]
    outputs = [process.communicate(timeout=20) for process in both]
    assert len(mail.mails) == 1
    assert sorted(process.returncode for process in both) == [0, 4]
    assert sorted(stdout for stdout, _ in outputs) == ["", "Sent to john@example.com (#1).\n"]


def test_a_reply_that_was_refused_has_failed_and_can_be_tried_again(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    belt.offered()
    mail.refuse("rcpt", "550 5.1.1 No such\x1b[31m user")
    result = shell.run("approve", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: #1 failed: ")
    assert "No such" in result.stderr
    assert "\x1b" not in result.stderr
    assert result.stderr.endswith(" `retry 1` tries again, `ignore 1` closes it.\n")
    assert belt.state(1) is State.FAILED
    assert shell.run("retry", "1").stdout == "#1 is tried again.\n"
    belt.work()
    assert belt.state(1) is State.REPLY_SENT


def test_while_the_mail_server_is_away_the_approval_stands_and_the_service_sends_it_once(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    belt.offered()
    mail.stop()
    result = shell.run("approve", "1")
    assert (result.exit_code, result.stdout) == (75, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: Mail: #1 is approved but not out yet (")
    assert line.endswith("`undo 1` takes it back.")
    assert belt.state(1) is State.USER_APPROVED
    belt.hurry()
    belt.work()
    assert belt.state(1) is State.REPLY_SENT
    assert len(belt.mailer.mails) == 1


def test_trouble_with_the_account_is_told_for_every_reply_that_rests_for_it(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    for sender in ("ann@example.com", "bob@example.com"):
        belt.offered(sender=sender)
    for number in ("1", "2"):
        result = shell.run("approve", number, EMAIL_PASSWORD="wrong-s3cret")
        assert result.exit_code == 75
        assert f"#{number} is approved but not out yet (" in result.stderr
        assert "535" in result.stderr
        assert "s3cret" not in result.output
    assert mail.refused_logins == 1
    assert belt.state(2) is State.USER_APPROVED
    assert shell.run("undo", "2").exit_code == 0
    assert "after `retry 2`" in shell.run("approve", "2").stderr
    assert shell.run("retry", "1").exit_code == 0
    belt.hurry()
    belt.work()
    assert belt.state(1) is State.REPLY_SENT
    assert shell.run("retry", "1").exit_code == 4


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent Mail is looked into again at once, not after seconds."""
    monkeypatch.setattr(replying, "LOOK_AGAIN_AFTER", (0, 0))


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.usefixtures("quickly")
def test_a_lost_answer_is_looked_up_in_sent_mail_before_anything_is_said(
    belt: Belt, shell: Shell, mail: MailStandIn, accepted: bool
) -> None:
    belt.offered()
    mail.cut_after_dot(accepted=accepted)
    with SentMailStandIn(mail) as sent_mail:
        imap = {"SENT_CHECK": "imap", "GMAIL_IMAP_SERVER": "127.0.0.1", "GMAIL_IMAP_PORT": str(sent_mail.port)}
        result = shell.run("approve", "1", **imap)
    if accepted:
        assert (result.exit_code, result.stdout) == (0, "Sent to john@example.com (#1).\n")
        assert len(sent_mail.searches) == 1
    else:
        assert (result.exit_code, result.stdout) == (1, "")
        assert "#1 may or may not have been sent, look into Sent Mail" in result.stderr
        assert len(sent_mail.searches) == 3
    assert len(mail.mails) == accepted


def test_without_sent_mail_a_lost_answer_is_told_at_once_and_nothing_is_sent_again(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    belt.offered()
    mail.cut_after_dot(accepted=True)
    result = shell.run("approve", "1")
    assert result.exit_code == 1
    assert "may or may not" in result.stderr
    assert (belt.state(1), len(mail.mails)) == (State.FAILED, 1)
    assert shell.run("ignore", "1").exit_code == 0
    assert belt.state(1) is State.USER_IGNORED


def test_an_email_that_was_dealt_with_elsewhere_is_not_answered(belt: Belt, shell: Shell, mail: MailStandIn) -> None:
    belt.offered()
    belt.sql("UPDATE processed_emails SET status = 'sent'")
    result = shell.run("approve", "1")
    assert result.exit_code == 1
    assert "dealt with elsewhere" in result.stderr
    assert mail.mails == []


def test_a_name_that_a_script_left_empty_names_nothing(belt: Belt, shell: Shell) -> None:
    belt.email(message_id="")
    belt.poll()
    assert belt.state(1) is State.USER_IGNORED
    assert shell.run("approve", "").exit_code == 3


# edit -------------------------------------------------------------------------------------------------------------


def test_edit_has_the_draft_rewritten_in_the_words_that_were_typed(belt: Belt, shell: Shell) -> None:
    belt.offered()
    result = shell.run("edit", "1", "  Say NO,\nbut 'kindly' ")
    assert result.stdout == "#1 is being rewritten; the new draft comes as a text.\n"
    belt.work()
    assert (belt.state(1), belt.workflow(1).revision) == (State.AWAITING_USER, 2)
    assert "1. Say NO,\nbut 'kindly'" in (belt.generator.asked[1][1] or "")
    assert actors(belt, State.USER_EDIT_REQUESTED) == ["cli"]


@pytest.mark.parametrize("words", [[], [""], [" \n"], ["make", "it", "shorter"]])
def test_an_edit_without_proper_instructions_is_a_mistake(belt: Belt, shell: Shell, words: list[str]) -> None:
    belt.offered()
    assert shell.run("edit", "1", *words).exit_code == 2
    assert belt.state(1) is State.AWAITING_USER


def test_an_edit_too_many_changes_nothing_and_names_the_limit(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET edit_iteration = 2")
    result = shell.run("edit", "1", "shorter", MAX_EDIT_ITERATIONS="2")
    assert result.exit_code == 4
    assert "that is the limit" in result.stderr
    assert belt.state(1) is State.AWAITING_USER


# ignore, retry, timeout, undo -------------------------------------------------------------------------------------


def test_several_are_ignored_and_each_is_told(belt: Belt, shell: Shell) -> None:
    for _ in range(3):
        belt.offered()
    result = shell.run("ignore", "1", "#3", "<other@x>")
    assert (result.exit_code, result.stdout) == (3, "#1 is left unanswered.\n#3 is left unanswered.\n")
    assert [belt.state(number) for number in (1, 2, 3)] == [
        State.USER_IGNORED,
        State.AWAITING_USER,
        State.USER_IGNORED,
    ]
    assert belt.email_status("<m1@example.com>") == "ignored"


def test_retry_offers_a_draft_again_that_timed_out(belt: Belt, shell: Shell) -> None:
    belt.offered()
    assert shell.run("timeout", "1").exit_code == 0
    assert shell.run("retry", "1").stdout == "#1 is tried again.\n"
    belt.work()
    assert "Draft number 1." in belt.gateway.texts[-1]
    assert belt.state(1) is State.AWAITING_USER


def test_retry_goes_on_where_it_failed(belt: Belt, shell: Shell) -> None:
    belt.generator.failures.extend([RuntimeError("broken")])
    belt.email()
    belt.poll()
    belt.work()
    assert belt.state(1) is State.FAILED
    assert shell.run("retry", "#1").stdout == "#1 is tried again.\n"
    belt.work()
    assert belt.state(1) is State.AWAITING_USER


def test_timeout_closes_a_draft(belt: Belt, shell: Shell) -> None:
    belt.offered()
    assert shell.run("timeout", "1").stdout == "#1 is closed. Nothing was sent.\n"
    assert (belt.state(1), belt.email_status("<m1@example.com>")) == (State.TIMEOUT, "timeout")


def test_undo_takes_an_approval_back(belt: Belt, shell: Shell) -> None:
    belt.with_policy(send_delay=60)
    belt.offered()
    belt.answer("1")
    assert belt.state(1) is State.USER_APPROVED
    assert shell.run("undo", "1").stdout == "#1 was not sent and waits for the owner again.\n"
    belt.hurry()
    belt.work()
    assert (belt.state(1), belt.mailer.mails) == (State.AWAITING_USER, [])


def sent(belt: Belt) -> None:
    belt.offered()
    belt.answer("1")


def ignored(belt: Belt) -> None:
    belt.offered()
    belt.answer("3")


def pending(belt: Belt) -> None:
    belt.email()
    belt.poll()


@pytest.mark.parametrize(
    ("bring", "command"),
    [
        (sent, ("approve", "1")),
        (sent, ("edit", "1", "shorter")),
        (sent, ("ignore", "1")),
        (sent, ("retry", "1")),
        (sent, ("timeout", "1")),
        (sent, ("undo", "1")),
        (ignored, ("approve", "1")),
        (ignored, ("undo", "1")),
        (pending, ("approve", "1")),
        (pending, ("retry", "1")),
        (pending, ("timeout", "1")),
        (lambda belt: belt.offered(), ("retry", "1")),
        (lambda belt: belt.offered(), ("undo", "1")),
    ],
)
def test_what_the_state_does_not_allow_is_refused_with_what_happened(
    belt: Belt, shell: Shell, mail: MailStandIn, bring: Callable[[Belt], Any], command: tuple[str, ...]
) -> None:
    bring(belt)
    before = belt.state(1)
    result = shell.run(*command)
    assert (result.exit_code, result.stdout) == (4, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "#1" in line
    assert (belt.state(1), mail.mails) == (before, [])


# What each command may do, by the table of transitions; everywhere else it is refused.
ALLOWED: dict[str, set[State]] = {
    "approve 1": {State.AWAITING_USER},
    "edit 1 shorter": {State.AWAITING_USER},
    "timeout 1": {State.AWAITING_USER},
    "undo 1": {State.USER_APPROVED},
    "retry 1": {State.FAILED, State.TIMEOUT},
    "ignore 1": set(State) - {State.USER_APPROVED, State.REPLY_SENT, State.USER_IGNORED, State.TIMEOUT},
}


@pytest.mark.parametrize("state", list(State))
def test_in_every_state_each_command_works_or_says_what_happened_instead(
    belt: Belt, shell: Shell, mail: MailStandIn, state: State
) -> None:
    belt.offered()
    for command, states in ALLOWED.items():
        if state in states:
            continue
        belt.sql("UPDATE workflow_state SET current_state = %s, previous_state = 'awaiting_user'", str(state))
        result = shell.run(*command.split())
        assert (result.exit_code, result.stdout) == (4, ""), command
        [line] = result.stderr.splitlines()
        assert line.startswith("Error: ")
        assert "#1" in line
        assert belt.state(1) is state
    for command, states in ALLOWED.items():
        if state in states:
            belt.sql("UPDATE workflow_state SET current_state = %s, previous_state = 'awaiting_user'", str(state))
            assert shell.run(*command.split()).exit_code == 0, command
            assert belt.state(1) is not state


def test_what_there_is_not_is_not_found(shell: Shell) -> None:
    for command in ("approve 9", "edit 9 x", "ignore 9", "retry 9", "timeout 9", "undo 9"):
        result = shell.run(*command.split())
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr == "Error: There is no workflow 9. `email-orchestrator list` shows what there is.\n"


# What becomes of a reply that may be out, and of drafts -----------------------------------------------------------


def of_unknown_fate(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(ServiceError("SMTP server", "no answer", Kind.UNKNOWN))
    belt.answer("1")
    belt.keep_trying(3)
    assert belt.state(1) is State.FAILED


def test_ignore_does_not_claim_to_know_what_became_of_a_reply(belt: Belt, shell: Shell) -> None:
    of_unknown_fate(belt)
    said = "#1 is closed. Whether a reply went out before is not known.\n"
    assert shell.run("ignore", "1").stdout == said


def test_timeout_does_not_claim_to_know_what_became_of_a_reply(belt: Belt, shell: Shell) -> None:
    of_unknown_fate(belt)
    # It comes back for a new approval, as it is not what was approved any more.
    belt.with_policy(signature="Jo")
    belt.answer("retry #1")
    assert belt.state(1) is State.AWAITING_USER
    said = "#1 is closed. Whether a reply went out before is not known.\n"
    assert shell.run("timeout", "1").stdout == said


def test_the_generator_is_told_what_becomes_of_its_drafts(belt: Belt, shell: Shell) -> None:
    for _ in range(3):
        belt.offered()
    with GeneratorStandIn(belt.dsn) as generator:
        for words in (("approve", "1"), ("edit", "2", "shorter"), ("ignore", "3")):
            assert shell.run(*words, AI_REPLY_GENERATOR_URL=generator.url).exit_code == 0
        told = [call for call in generator.calls if "/action" in call]
    names = [row[0] for row in belt.sql("SELECT ai_draft_id FROM draft WHERE revision = 1 ORDER BY workflow_id")]
    assert told == [f"PUT /drafts/{name}/action" for name in names]


def test_a_generator_that_is_away_is_asked_once_and_holds_no_command_up(
    belt: Belt, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        belt.offered()
    with GeneratorStandIn(belt.dsn) as generator:
        monkeypatch.setattr(generator, "answer", lambda _: Answer(500))
        result = shell.run("ignore", "1", "2", "3", AI_REPLY_GENERATOR_URL=generator.url)
        assert len([call for call in generator.calls if "/action" in call]) == 1
    assert (result.exit_code, result.stderr) == (0, "")
