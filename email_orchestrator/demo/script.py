"""The script of `demo --auto`, and the account of what became of somebody's own emails."""

from __future__ import annotations

import email
import email.policy
import time
from collections import Counter

import click

from ..core.states import State
from ..store import emails, standing, texts, workflows
from . import inbox, screen
from .stage import OWNER_ADDRESS, DemoFailed, Stage
from .standins import AcceptedMail, SentMessage

PATIENCE = 20.0
SETTLED = {State.AWAITING_USER, State.USER_IGNORED, State.REPLY_SENT, State.FAILED, State.TIMEOUT}
AT_REST = SETTLED - {State.FAILED}


def perform(stage: Stage) -> int:
    """Play the script: approve one draft, edit another twice and approve it, ignore a third; check everything.

    Raises DemoFailed at the first thing that is not as it should be.
    """
    _approve_one(stage)
    _edit_twice_then_approve(stage)
    _ignore_one(stage)
    _leave_a_machine_alone(stage)
    _check(len(stage.mail.mails) == 2, "exactly two replies went out")
    _check(stage.generator.health_calls == 0, "no paid health call was made")
    screen.say("Everything was as it should be.")
    return 0


def _approve_one(stage: Stage) -> None:
    draft = _new_draft(stage, 0)
    mail = _approve(stage, mails_before=0)
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    _check(mail.recipients == ("john@example.com",), "the reply went to the sender alone")
    _check(message["Subject"] == "Re: Meeting tomorrow at 2pm?", "its subject is a reply's")
    _check(message["In-Reply-To"] == "<sample.0@example.com>", "it is threaded under the original")
    _check(OWNER_ADDRESS in str(message["From"]), "it comes from the owner")
    _check(_body(mail) == _current_draft(stage, 1).splitlines(), "its text is what was approved")
    _check("1=Send" in draft.message, "the text said how to answer")
    _confirmed(stage, "Sent to john@example.com (#1)")


def _edit_twice_then_approve(stage: Stage) -> None:
    _new_draft(stage, 1)
    for wish in ("2 shorter", "2 say that it is paid on Friday"):
        before = len(stage.gateway.sent)
        _text(stage, wish)
        _wait_for_text(stage, "1=Send", before)
    mail = _approve(stage, mails_before=1)
    body = "\n".join(_body(mail))
    _check("paid on Friday" in body, "the second wish is in the reply")
    _check("read it with care" not in body, "the first wish was not forgotten")
    _check(_body(mail) == _current_draft(stage, 2).splitlines(), "its text is the last draft")
    _confirmed(stage, "Sent to maria@example.org (#2)")


def _ignore_one(stage: Stage) -> None:
    _new_draft(stage, 2)
    before = len(stage.gateway.sent)
    _text(stage, "3")
    _wait_for_text(stage, "Left unanswered", before)
    _check(_state(stage, 3) is State.USER_IGNORED, "the ignored email is closed")


def _leave_a_machine_alone(stage: Stage) -> None:
    before = len(stage.generator.requests)
    inbox.deliver(stage, 3)
    screen.say("An email from a machine came in.")
    wait_until_all_are_settled(stage, 4)
    _check(_state(stage, 4) is State.USER_IGNORED, "the machine's email is recorded as left alone")
    _check(len(stage.generator.requests) == before, "it cost no AI call")


def wait_until_all_are_settled(stage: Stage, count: int) -> None:
    """Wait until so many emails have each become a text to the owner, or a recorded reason why not."""
    deadline = time.monotonic() + PATIENCE + count
    while time.monotonic() < deadline:
        with stage.database.transaction() as tx:
            found = standing.listed(tx, None, 1_000_000)
        if len(found) >= count and all(workflow.state in SETTLED for workflow in found):
            return
        time.sleep(0.05)
    raise DemoFailed(f"after {PATIENCE + count:.0f} s not every email had become a text or a recorded reason")


def busy(stage: Stage) -> bool:
    """Say whether the daemon still has something to do."""
    with stage.database.transaction() as tx:
        waiting = texts.are_pending(tx, within=60) or emails.new_ids(tx, ids=None, since=None, limit=1)
        found = standing.listed(tx, None, 1000)
    return bool(waiting) or any(workflow.state not in AT_REST for workflow in found)


def report_mailbox(stage: Stage) -> int:
    """Say what became of each email of a mailbox; returns 1 when one of them failed, else 0."""
    with stage.database.transaction() as tx:
        found = sorted(standing.listed(tx, None, 1_000_000), key=lambda w: w.id)
    for workflow in found:
        line = f"#{workflow.id:<4} {workflow.state:<14} {workflow.sender[:34]:<34} {workflow.subject[:40]:<40}"
        click.echo(f"{line} {workflow.error or ''}".rstrip())
    states = Counter(workflow.state for workflow in found)
    screen.say(
        f"{len(found)} emails: {states[State.AWAITING_USER]} texted, {states[State.USER_IGNORED]} skipped, "
        f"{states[State.FAILED]} failed; {len(stage.gateway.sent)} text messages in all."
    )
    return 1 if states[State.FAILED] else 0


def _new_draft(stage: Stage, number: int) -> SentMessage:
    before = len(stage.gateway.sent)
    sample = inbox.deliver(stage, number)
    screen.say(f'An email from {sample.sender} came in: "{sample.subject}"')
    return _wait_for_text(stage, "1=Send", before)


def _approve(stage: Stage, mails_before: int) -> AcceptedMail:
    _text(stage, "1")
    try:
        return stage.mail.wait_for_mail(timeout=PATIENCE, after=mails_before)
    except TimeoutError as error:
        raise DemoFailed(f"no reply went out: {error}") from error


def _text(stage: Stage, words: str) -> None:
    screen.show_typed(words)
    _check(stage.gateway.text_from_owner(words) == 200, "the daemon took the text")


def _wait_for_text(stage: Stage, part: str, before: int) -> SentMessage:
    try:
        return stage.gateway.wait_for_text(lambda text: part in text.message, timeout=PATIENCE, after=before)
    except TimeoutError as error:
        raise DemoFailed(f"no text with {part!r} came: {error}") from error


def _confirmed(stage: Stage, words: str) -> None:
    _wait_for_text(stage, words, 0)


def _body(mail: AcceptedMail) -> list[str]:
    """Return the lines of a mail's text."""
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    return str(message.get_content()).rstrip().splitlines()


def _current_draft(stage: Stage, workflow_id: int) -> str:
    with stage.database.transaction() as tx:
        workflow = workflows.get(tx, workflow_id)
    return workflow.draft_text or "" if workflow else ""


def _state(stage: Stage, workflow_id: int) -> State | None:
    with stage.database.transaction() as tx:
        workflow = workflows.get(tx, workflow_id)
    return workflow.state if workflow else None


def _check(holds: bool, claim: str) -> None:
    if not holds:
        raise DemoFailed(f"it should be so that {claim}")
    screen.say(f"✓ {claim}")
