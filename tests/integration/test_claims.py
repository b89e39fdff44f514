"""Leases and compare-and-set: of two who want the same row one gets it, and whoever is late changes nothing."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from datetime import time as clock_time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from email_orchestrator.core.models import TextStyle, Workflow
from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import AccountError, Kind, ServiceError, Trouble
from email_orchestrator.store import texts, workflows
from email_orchestrator.store.texts import Outgoing
from email_orchestrator.workflow import actions, replying, texting

if TYPE_CHECKING:
    from .conftest import Belt

LEASE = 120
DOWN = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)
UNHEARD = ServiceError("SMS Gateway", "no answer", Kind.UNKNOWN)


def everything(belt: Belt) -> list[object]:
    """All that a move could change, to be compared with what it was."""
    return [belt.sql(f"SELECT * FROM {table}") for table in ("workflow_state", "workflow_event", "processed_emails")]


def move(belt: Belt, workflow: Workflow, *path: State, claim: str | None = None) -> bool:
    with belt.database.transaction() as tx:
        changes = {"user_command": "moved"}
        return workflows.move(tx, workflow, path, actor=Actor.CLI, claim=claim, changes=changes) is not None


@pytest.mark.parametrize("stale", ["current_state = 'user_approved'", "draft_revision = draft_revision + 1"])
def test_a_move_from_what_is_no_longer_so_changes_nothing(belt: Belt, stale: str) -> None:
    read = belt.offered()
    belt.sql(f"UPDATE workflow_state SET {stale}")
    before = everything(belt)
    assert not move(belt, read, State.USER_IGNORED)
    assert everything(belt) == before


def test_a_move_under_a_lease_that_somebody_else_took_over_changes_nothing(belt: Belt) -> None:
    workflow = belt.offered()
    belt.answer_with("1")
    ours = claim_reply(belt, "ours")
    belt.lapse()
    theirs = claim_reply(belt, "theirs")
    assert ours is not None
    assert theirs is not None
    before = everything(belt)
    assert not move(belt, ours, State.REPLY_SENT, claim="ours")
    assert everything(belt) == before
    assert move(belt, theirs, State.REPLY_SENT, claim="theirs")
    assert belt.state(workflow.id) is State.REPLY_SENT


@pytest.mark.parametrize(
    "path",
    [(State.REPLY_SENT,), (State.USER_APPROVED, State.USER_IGNORED), (State.AI_GENERATED, State.SMS_SENDING)],
)
def test_a_move_that_the_table_does_not_allow_is_an_error_and_changes_nothing(
    belt: Belt, path: tuple[State, ...]
) -> None:
    workflow = belt.offered()
    before = everything(belt)
    with pytest.raises(ValueError, match="cannot go from"):
        move(belt, workflow, *path)
    assert everything(belt) == before


def claim_draft(belt: Belt, claim: str) -> Workflow | None:
    with belt.database.transaction() as tx:
        claimed = workflows.claim_drafting(tx, claim, LEASE, max_awaiting=10)
        return claimed.workflow if claimed else None


def claim_reply(belt: Belt, claim: str) -> Workflow | None:
    with belt.database.transaction() as tx:
        leased = workflows.claim_replying(tx, claim, LEASE)
        return leased[0].workflow if leased else None


def claim_text(belt: Belt, claim: str) -> Outgoing | None:
    with belt.database.transaction() as tx:
        return texts.claim_text(tx, claim, LEASE, quiet=False)


def new_email(belt: Belt) -> None:
    belt.email()
    belt.poll()


def approved_draft(belt: Belt) -> None:
    belt.offered()
    belt.answer_with("1")


def draft_to_text(belt: Belt) -> None:
    new_email(belt)
    belt.draft()


@pytest.mark.parametrize(
    ("prepare", "claim"), [(new_email, claim_draft), (approved_draft, claim_reply), (draft_to_text, claim_text)]
)
def test_what_is_leased_is_leased_to_nobody_else_until_the_lease_is_over(
    belt: Belt, prepare: Callable[[Belt], None], claim: Callable[[Belt, str], object | None]
) -> None:
    prepare(belt)
    assert claim(belt, "first") is not None
    assert claim(belt, "second") is None
    belt.lapse()
    assert claim(belt, "third") is not None


def test_of_two_who_text_at_the_same_moment_one_waits_and_the_drafts_do_not_mix(belt: Belt) -> None:
    draft_to_text(belt)
    draft_to_text(belt)
    second: list[Outgoing | None] = []
    other = threading.Thread(target=lambda: second.append(claim_text(belt, "second")))
    with belt.database.transaction() as tx:
        first = texts.claim_text(tx, "first", LEASE, quiet=False)
        other.start()
        deadline = time.monotonic() + 10
        while not belt.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            assert other.is_alive(), "it did not wait"
            assert time.monotonic() < deadline
    other.join(10)
    assert first is not None
    assert second == [None]


def long_draft(belt: Belt) -> None:
    """Have a draft of several parts written, and not texted yet."""
    belt.with_policy(style=TextStyle("multipart"))
    draft_to_text(belt)


def are_in_one_piece(texted: list[str]) -> bool:
    """Say whether each part of several is followed by the next of the same text: only the first has a number."""
    marks = [tuple(map(int, found.groups())) for text in texted if (found := re.match(r"\[(\d)/(\d)\]", text))]
    return all(after == (part + 1, parts) for (part, parts), after in pairwise(marks) if part < parts)


def test_a_draft_whose_first_part_may_be_out_is_not_mixed_with_another(belt: Belt) -> None:
    long_draft(belt)
    belt.gateway.failures.append(UNHEARD)
    assert texting.text_one(belt.desk, belt.gateway)
    long_draft(belt)
    belt.work()
    assert belt.gateway.texts == []
    belt.keep_trying(3)
    assert [belt.state(1), belt.state(2)] == [State.AWAITING_USER] * 2
    assert are_in_one_piece(belt.gateway.texts)


def test_a_rewritten_draft_is_not_mixed_with_a_new_one(belt: Belt) -> None:
    belt.offered()
    long_draft(belt)
    assert texting.text_one(belt.desk, belt.gateway)
    belt.answer_with("2 #1 shorter")
    belt.draft()
    # Who texts answers would go first.
    texting.text_in_turn(belt.desk, belt.gateway, urgent=True)
    belt.work()
    assert [belt.state(1), belt.state(2)] == [State.AWAITING_USER] * 2
    assert are_in_one_piece(belt.gateway.texts)


def test_an_answer_does_not_wait_for_a_draft_that_has_begun(belt: Belt) -> None:
    long_draft(belt)
    assert texting.text_one(belt.desk, belt.gateway)
    belt.answer_with("list")
    with belt.database.transaction() as tx:
        assert texts.claim_text(tx, "other", LEASE, quiet=False, urgent=True) is not None


def test_a_draft_that_is_held_for_the_night_does_not_hold_up_the_one_that_the_owner_waits_for(belt: Belt) -> None:
    belt.offered()
    long_draft(belt)
    belt.gateway.failures.append(UNHEARD)
    assert texting.text_one(belt.desk, belt.gateway)
    belt.with_policy(quiet_hours=(clock_time(0, 0), clock_time(23, 59, 59)))
    belt.answer_with("2 #1 shorter")
    belt.keep_trying(4)
    assert belt.state(1) is State.AWAITING_USER


def test_a_text_of_one_part_that_may_be_out_holds_nothing_up(belt: Belt) -> None:
    belt.offered()
    belt.mailer.failures.append(AccountError("SMTP server", "535 no", Trouble.CREDENTIALS))
    with belt.database.transaction() as tx:
        actions.approve(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.gateway.failures.append(UNHEARD)
    assert texting.text_one(belt.desk, belt.gateway)
    assert belt.sql("SELECT kind, in_doubt_since IS NOT NULL FROM sms_outbox WHERE status = 'queued'") == [
        ("notice", True)
    ]
    draft_to_text(belt)
    belt.work()
    assert belt.state(2) is State.AWAITING_USER


@pytest.mark.parametrize("seed", range(6))
def test_no_text_is_held_up_for_ever_whatever_happens_to_the_others(belt: Belt, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    belt.with_policy(max_awaiting=50, max_emails_per_poll=50)
    commands = ("2 #{} shorter", "again #{}", "more #{}", "list", "1 #{}", "undo #{}", "retry #{}")
    happenings: list[Callable[[], object]] = [
        lambda: new_email(belt),
        belt.draft,
        lambda: belt.answer_with(chance.choice(commands).format(chance.randint(1, 5))),
        lambda: belt.gateway.failures.append(chance.choice((UNHEARD, DOWN))),
        belt.hurry,
        belt.lapse,
        lambda: texting.text_in_turn(belt.desk, belt.gateway, urgent=True),
        lambda: texting.text_one(belt.desk, belt.gateway),
    ]
    for _ in range(60):
        belt.with_policy(style=TextStyle(chance.choice(("multipart", "condensed"))))
        chance.choice(happenings)()
    belt.gateway.failures.clear()
    belt.lapse()
    belt.keep_trying(20)
    assert belt.sql("SELECT id, kind, parts_sent FROM sms_outbox WHERE status = 'queued'") == []
    assert belt.sql("SELECT id FROM workflow_state WHERE current_state = 'sms_sending'") == []
