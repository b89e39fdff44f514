"""Worker threads: what they make of trouble, and that an outage is said once however many of them notice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from email_orchestrator import workers
from email_orchestrator.errors import DatabaseUnavailable
from email_orchestrator.store.connection import Database
from email_orchestrator.workers import Bell, Outage, Staff, Worker

AWAY = DatabaseUnavailable("The database cannot be reached.")
BACK = "The database is back."
Hire = Callable[..., Worker]


@pytest.fixture
def outage() -> Outage:
    return Outage()


@pytest.fixture
def hire(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hire]:
    """A function that starts a worker with a step; all end with the test."""
    monkeypatch.setattr(workers, "REST_AFTER_TROUBLE", 0.01)
    stop, staff = threading.Event(), Staff()

    def start(step: Callable[[], bool], rest: float = 0.01, bell: Bell | None = None) -> Worker:
        worker = Worker("one", step, Database(""), outage, stop, bell or staff.bell("room"), rest)
        staff.add(worker)
        worker.start()
        return worker

    yield start
    stop.set()
    assert staff.stop(5) == []


def test_an_outage_is_said_once_and_once_that_it_is_over(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        outage.noticed(AWAY)
    for _ in range(3):
        outage.over()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_whoever_found_nothing_to_do_without_asking_the_database_does_not_say_that_it_is_back(
    outage: Outage, hire: Hire, caplog: pytest.LogCaptureFixture
) -> None:
    outage.noticed(AWAY)
    turns = threading.Semaphore(0)

    def wait_for_reports() -> bool:
        turns.release()
        return False

    hire(wait_for_reports, rest=0.0)
    for _ in range(20):
        assert turns.acquire(timeout=5)
    assert BACK not in caplog.messages


def test_whoever_asked_the_database_says_that_it_is_back(
    outage: Outage, hire: Hire, caplog: pytest.LogCaptureFixture
) -> None:
    outage.noticed(AWAY)
    turns = threading.Semaphore(0)

    def look() -> bool:
        turns.release()
        return False

    hire(look)
    assert turns.acquire(timeout=5)
    assert turns.acquire(timeout=5)
    assert BACK in caplog.messages


@pytest.mark.parametrize("trouble", [AWAY, RuntimeError("a bug")])
def test_trouble_ends_no_thread(hire: Hire, trouble: Exception) -> None:
    turns = threading.Semaphore(0)

    def stumble() -> bool:
        turns.release()
        raise trouble

    worker = hire(stumble)
    for _ in range(3):
        assert turns.acquire(timeout=5)
    assert worker.alive()


def test_a_bell_that_was_rung_while_everyone_was_busy_is_heard_by_the_next_who_rests(hire: Hire) -> None:
    bell, turns = Bell(), threading.Semaphore(0)
    rung = threading.Event()

    def look() -> bool:
        turns.release()
        if not rung.is_set():
            rung.set()
            bell.ring()
        return False

    hire(look, rest=60.0, bell=bell)
    assert turns.acquire(timeout=5)
    assert turns.acquire(timeout=5), "it looked again long before its rest was over"
    bell.ring_out()
