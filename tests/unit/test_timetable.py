"""The main loop's timetable under clocks that are set, hours that come twice, and jobs that fail."""

from __future__ import annotations

import datetime as real
import logging
import threading
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
import schedule

from email_orchestrator import timetable as module
from email_orchestrator.errors import DatabaseUnavailable, Kind, ServiceError
from email_orchestrator.timetable import Timetable
from email_orchestrator.workers import Outage


class Clocks:
    """A wall clock that can be set, and a monotonic one that cannot; time passes only when it is told to."""

    def __init__(self, wall: real.datetime) -> None:
        self.wall = wall
        self.monotonic = 1000.0

    def sleep(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall = (self.wall.astimezone(real.UTC) + real.timedelta(seconds=seconds)).astimezone(self.wall.tzinfo)

    def set_wall(self, hours: float) -> None:
        self.wall += real.timedelta(hours=hours)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks(real.datetime(2026, 6, 1, 12, 0, tzinfo=real.UTC))

    class Now(real.datetime):
        @classmethod
        def now(cls, tz: real.tzinfo | None = None) -> real.datetime:  # type: ignore[override]
            assert tz is None, "the jobs go by local time, whatever that is worth"
            return made.wall.replace(tzinfo=None)

    class FakeDatetimeModule:
        datetime = Now
        timedelta = real.timedelta

    class FakeTime:
        @staticmethod
        def monotonic() -> float:
            return made.monotonic

    monkeypatch.setattr(schedule, "datetime", FakeDatetimeModule)
    monkeypatch.setattr(module, "time", FakeTime)
    return made


@pytest.fixture
def table(clocks: Clocks) -> Timetable:
    return Timetable(Outage(), threading.Event())


def run_for(table: Timetable, clocks: Clocks, seconds: float) -> None:
    """Turn as the daemon does: at least once a second."""
    until = clocks.monotonic + seconds
    while clocks.monotonic < until:
        clocks.sleep(max(0.05, min(1.0, table.turn())))


def counted(table: Timetable, every: int) -> Callable[[], int]:
    times: list[None] = []
    table.every(every, "count", lambda: times.append(None))
    return lambda: len(times)


@pytest.mark.parametrize("hours", [-24, -1, 0, 1, 24])
def test_a_clock_that_is_set_changes_nothing_about_how_often_a_job_comes_round(
    table: Timetable, clocks: Clocks, hours: float
) -> None:
    times = counted(table, every=30)
    table.run_all()
    run_for(table, clocks, 600)
    clocks.set_wall(hours)
    run_for(table, clocks, 600)
    assert 38 <= times() <= 42


@pytest.mark.parametrize(
    "eve",
    [
        real.datetime(2026, 10, 25, 2, 50, tzinfo=ZoneInfo("Europe/Vienna")),  # 2:59 is followed by 2:00
        real.datetime(2026, 3, 29, 1, 50, tzinfo=ZoneInfo("Europe/Vienna")),  # 1:59 is followed by 3:00
    ],
)
def test_the_hour_that_comes_twice_and_the_one_that_is_left_out_are_hours_like_others(
    table: Timetable, clocks: Clocks, eve: real.datetime
) -> None:
    clocks.wall = eve
    times = counted(table, every=60)
    table.run_all()
    before = clocks.wall.utcoffset()
    run_for(table, clocks, 3600)
    assert clocks.wall.utcoffset() != before, "the change is in this hour"
    assert 58 <= times() <= 62


def test_a_job_that_is_put_off_comes_at_the_next_turn_and_says_nothing_of_the_database(
    clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    outage = Outage()
    table = Timetable(outage, threading.Event())
    times: list[float] = []

    def wait_twice() -> None:
        times.append(clocks.monotonic)
        if len(times) < 3:
            raise module.NotYet

    table.every(300, "wait", wait_twice)
    counted(table, every=3600)
    outage.noticed(DatabaseUnavailable("The database cannot be reached."))
    table.run("wait")
    assert "The database is back." not in caplog.messages
    run_for(table, clocks, 100)
    assert len(times) == 3
    assert times[2] - times[0] < 3
    assert "The database is back." in caplog.messages


def test_a_clock_that_is_set_back_again_and_again_starves_no_job(table: Timetable, clocks: Clocks) -> None:
    times = counted(table, every=10)
    for _ in range(20):
        clocks.set_wall(-1)
        run_for(table, clocks, 12)
    assert times() >= 15


def test_a_job_that_raises_comes_round_again_in_its_time_and_delays_no_other(
    table: Timetable, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[None] = []

    def fail() -> None:
        tries.append(None)
        raise RuntimeError("a bug")

    table.every(10, "bad", fail)
    times = counted(table, every=10)
    run_for(table, clocks, 100)
    assert 9 <= len(tries) <= 11
    assert 9 <= times() <= 11
    assert "bad stumbled" in caplog.text


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (ServiceError("Email Monitor", "no connection", Kind.TRANSIENT), "no connection"),
        (DatabaseUnavailable("The database cannot be reached."), "cannot be reached"),
    ],
)
def test_something_that_is_away_is_said_once_and_once_that_it_is_back(
    table: Timetable, clocks: Clocks, caplog: pytest.LogCaptureFixture, trouble: Exception, words: str
) -> None:
    caplog.set_level(logging.INFO)
    away = True

    def act() -> None:
        if away:
            raise trouble

    table.every(1, "poll", act)
    run_for(table, clocks, 20)
    away = False
    run_for(table, clocks, 5)
    assert [words in record.message for record in caplog.records] == [True, False]
    assert "is back" in caplog.text


def test_after_the_stop_no_job_begins(clocks: Clocks) -> None:
    stop = threading.Event()
    table = Timetable(Outage(), stop)
    done: list[str] = []

    def stopping() -> None:
        done.append("first")
        stop.set()

    table.every(1, "first", stopping)
    table.every(1, "second", lambda: done.append("second"))
    table.run_all()
    run_for(table, clocks, 5)
    assert done == ["first"]


def test_a_turn_never_asks_for_a_negative_rest(table: Timetable, clocks: Clocks) -> None:
    assert table.turn() >= 0, "without a job"
    table.every(5, "slow", lambda: clocks.sleep(60))
    clocks.sleep(30)
    assert table.turn() >= 0


def test_the_real_clocks_are_those_that_count() -> None:
    table = Timetable(Outage(), threading.Event())
    times = counted(table, every=1)
    deadline = time.monotonic() + 5
    while times() < 1 and time.monotonic() < deadline:
        time.sleep(min(0.05, table.turn()))
    assert times() == 1
