"""The stop: told from a signal handler, which runs in the midst of whatever the main thread does."""

from __future__ import annotations

import time

from email_orchestrator.stop_sign import StopSign


def test_a_stop_is_heard_and_its_time_is_kept() -> None:
    stop = StopSign()
    before = time.monotonic()
    stop.put_up(15, None)
    assert stop.wait(5)
    assert before <= stop.at <= time.monotonic()


def test_a_signal_that_comes_as_the_main_thread_waits_does_not_wait_for_itself() -> None:
    stop = StopSign()
    with stop._cond:  # type: ignore[attr-defined]  # held for a moment in every wait
        stop.put_up()
    assert stop.wait(5)


def test_a_second_signal_is_as_good_as_one() -> None:
    stop = StopSign()
    stop.put_up()
    stop.put_up()
    assert stop.wait(5)
