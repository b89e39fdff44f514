"""How many workflows are in each state is known without counting those that are closed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from email_orchestrator.core.states import State
from email_orchestrator.store.counting import counts_by_state
from email_orchestrator.store.transaction import Row, Transaction
from email_orchestrator.workflow import upkeep

if TYPE_CHECKING:
    from .conftest import Belt

CLOSING = {"1": State.REPLY_SENT, "3": State.USER_IGNORED}


def counted(belt: Belt) -> dict[State, int]:
    with belt.database.transaction() as tx:
        found = counts_by_state(tx)
    assert set(found) == set(State)
    return {state: count for state, count in found.items() if count}


def close(belt: Belt, answer: str) -> int:
    workflow = belt.offered()
    belt.answer(f"{answer} #{workflow.id}")
    assert belt.state(workflow.id) is CLOSING[answer]
    return workflow.id


def time_passes(belt: Belt, minutes: int = 10) -> None:
    """Let all that happened so far have happened some minutes earlier."""
    belt.sql("UPDATE workflow_event SET at = at - make_interval(mins => %s)", minutes)


@pytest.mark.parametrize("ago", [0, 10])
def test_what_is_closed_before_and_after_the_count_is_counted_once(belt: Belt, ago: int) -> None:
    close(belt, "1")
    close(belt, "3")
    time_passes(belt, ago)
    upkeep.count_closed(belt.desk)
    assert counted(belt) == {State.REPLY_SENT: 1, State.USER_IGNORED: 1}

    close(belt, "1")
    belt.offered()
    assert counted(belt) == {State.REPLY_SENT: 2, State.USER_IGNORED: 1, State.AWAITING_USER: 1}
    upkeep.count_closed(belt.desk)
    assert counted(belt) == {State.REPLY_SENT: 2, State.USER_IGNORED: 1, State.AWAITING_USER: 1}


def test_a_draft_that_is_taken_up_again_is_closed_no_more(belt: Belt) -> None:
    workflow = belt.offered()
    belt.sql("UPDATE workflow_state SET timeout_at = now()")
    belt.check_timeouts()
    time_passes(belt)
    upkeep.count_closed(belt.desk)
    assert counted(belt) == {State.TIMEOUT: 1}
    belt.answer(f"again #{workflow.id}")
    assert counted(belt) == {State.AWAITING_USER: 1}


def test_a_workflow_whose_email_was_removed_is_gone_from_the_next_count(belt: Belt) -> None:
    close(belt, "1")
    close(belt, "1")
    time_passes(belt)
    upkeep.count_closed(belt.desk)
    belt.sql("DELETE FROM processed_emails WHERE id = (SELECT min(id) FROM processed_emails)")
    assert counted(belt) == {State.REPLY_SENT: 2}
    upkeep.count_closed(belt.desk)
    assert counted(belt) == {State.REPLY_SENT: 1}


def test_what_was_closed_without_a_trace_by_then_is_in_the_count(belt: Belt) -> None:
    """As the rows of the first design are, which had no events."""
    close(belt, "1")
    belt.sql("DELETE FROM workflow_event")
    upkeep.count_closed(belt.desk)
    close(belt, "3")
    assert counted(belt) == {State.REPLY_SENT: 1, State.USER_IGNORED: 1}


def test_what_is_closed_during_the_count_is_counted_once(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    close(belt, "1")
    waiting = [belt.offered().id]
    ask = Transaction.rows

    def ask_and_be_overtaken(tx: Transaction, name: str, **values: Any) -> list[Row]:
        found = ask(tx, name, **values)
        if waiting:
            other = threading.Thread(target=belt.answer, args=(f"1 #{waiting.pop()}",))
            other.start()
            other.join()
        return found

    monkeypatch.setattr(Transaction, "rows", ask_and_be_overtaken)
    upkeep.count_closed(belt.desk)
    assert counted(belt) == {State.REPLY_SENT: 2}


@pytest.mark.parametrize("off", ["1 hour", "-3 hours"], ids=["the clock was set back", "no daemon runs any more"])
def test_a_count_of_another_time_is_of_no_use(belt: Belt, off: str) -> None:
    close(belt, "1")
    close(belt, "1")
    upkeep.count_closed(belt.desk)
    belt.sql("UPDATE workflow_event SET at = at + %s::interval", off)
    belt.sql(
        "UPDATE service_state SET value = value || jsonb_build_object('until', (value ->> 'until')::timestamptz"
        " + %s::interval) WHERE key = 'closed_counts'",
        off,
    )
    belt.sql("DELETE FROM processed_emails WHERE id = (SELECT min(id) FROM processed_emails)")
    close(belt, "3")
    assert counted(belt) == {State.REPLY_SENT: 1, State.USER_IGNORED: 1}
