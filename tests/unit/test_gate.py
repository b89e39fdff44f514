"""Who goes to the database, who waits, and who is sent away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from email_orchestrator.errors import DatabaseUnavailable
from email_orchestrator.store.connection import Database
from email_orchestrator.web.gate import IMPATIENCE, PATIENCE, Gate


@contextmanager
def somebody_inside(gate: Gate, *, answered: bool = True) -> Iterator[None]:
    """Have another thread hold a place meanwhile, and in the end be answered by the database or not."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with gate.place():
                entered.set()
                assert leave.wait(10)
                if not answered:
                    raise DatabaseUnavailable("The connection was lost.")
        except DatabaseUnavailable:
            assert not answered

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    try:
        yield
    finally:
        leave.set()
        holder.join()


def seconds_to_be_sent_away(gate: Gate) -> float:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable), gate.place():
        pass
    return time.monotonic() - began


@pytest.fixture
def gate() -> Gate:
    """A gate with one place, before a database that nobody asks anything."""
    return Gate(Database("host=/nonexistent dbname=none"), 1, 3.0)


def test_once_somebody_has_waited_in_vain_the_others_are_sent_away_at_once(gate: Gate) -> None:
    with somebody_inside(gate):
        assert seconds_to_be_sent_away(gate) >= PATIENCE
        assert seconds_to_be_sent_away(gate) < PATIENCE


def test_when_somebody_is_answered_the_others_wait_their_turn_again(gate: Gate) -> None:
    with somebody_inside(gate):
        seconds_to_be_sent_away(gate)
    with somebody_inside(gate):
        assert seconds_to_be_sent_away(gate) >= PATIENCE


def test_who_left_without_an_answer_is_no_sign_that_the_database_answers(gate: Gate) -> None:
    assert IMPATIENCE > 5 * PATIENCE
    with somebody_inside(gate, answered=False):
        seconds_to_be_sent_away(gate)
    with somebody_inside(gate):
        assert seconds_to_be_sent_away(gate) < PATIENCE
