"""Texts that the webhook could not store: who waits for them, and for how long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from email_orchestrator import unread as module
from email_orchestrator.errors import DatabaseUnavailable, Kind, ServiceError
from email_orchestrator.unread import AGAIN, PATIENCE, UnreadTexts

GATEWAY_AWAY = ServiceError("SMS Gateway", "no connection", Kind.TRANSIENT)
DATABASE_AWAY = DatabaseUnavailable("The database cannot be reached.")


class Clock:
    """A monotonic clock that goes when it is told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def failing(error: Exception) -> Callable[[], None]:
    def read() -> None:
        raise error

    return read


def state(unread: UnreadTexts) -> tuple[bool, bool]:
    return unread.are_due(), unread.are_waited_for()


def test_nobody_waits_for_texts_that_were_never_missed(clock: Clock) -> None:
    assert state(UnreadTexts(lambda: None)) == (False, False)


def test_what_was_noted_is_waited_for_until_it_was_read(clock: Clock) -> None:
    unread = UnreadTexts(lambda: None)
    unread.note()
    assert state(unread) == (True, True)
    unread.read()
    assert state(unread) == (False, False)


def test_what_is_noted_during_the_reading_is_read_next(clock: Clock) -> None:
    unread = UnreadTexts(lambda: unread.note() if not unread.are_due() else None)
    unread.read()
    assert state(unread) == (True, True)
    unread.read()
    assert state(unread) == (False, False)


def test_while_the_database_is_away_they_are_waited_for_however_long_that_is(clock: Clock) -> None:
    unread = UnreadTexts(failing(DATABASE_AWAY))
    unread.note()
    for _ in range(10):
        with pytest.raises(DatabaseUnavailable):
            unread.read()
        clock.now += 60
        assert state(unread) == (True, True)


def test_while_the_gateway_is_away_it_is_asked_again_and_nothing_waits_for_long(clock: Clock) -> None:
    unread = UnreadTexts(failing(GATEWAY_AWAY))
    unread.note()
    asked = 0
    while unread.are_waited_for():
        if unread.are_due():
            asked += 1
            with pytest.raises(ServiceError):
                unread.read()
        clock.now += 0.5
        assert clock.now < 1000 + 2 * PATIENCE
    assert asked == 1 + PATIENCE // AGAIN
    clock.now += AGAIN
    assert unread.are_due(), "it is still asked"


def test_another_one_that_is_noted_is_waited_for_anew(clock: Clock) -> None:
    unread = UnreadTexts(failing(GATEWAY_AWAY))
    unread.note()
    with pytest.raises(ServiceError):
        unread.read()
    clock.now += PATIENCE
    assert not unread.are_waited_for()
    unread.note()
    assert state(unread) == (True, True)


def test_a_fault_of_ours_holds_nothing_up_for_long(clock: Clock) -> None:
    unread = UnreadTexts(failing(ValueError("a fault")))
    unread.note()
    with pytest.raises(ValueError, match="a fault"):
        unread.read()
    clock.now += PATIENCE
    assert not unread.are_waited_for()
