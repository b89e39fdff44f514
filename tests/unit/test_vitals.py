"""The vital signs of a process."""

from __future__ import annotations

import threading

import pytest

from email_orchestrator.vitals import BOUNDS, Durations, Vitals


def test_a_service_that_was_never_called_has_no_vital_signs() -> None:
    assert Vitals().snapshot().services == {}


@pytest.mark.parametrize(
    ("outcomes", "answers"),
    [
        (["ok"], True),
        (["transient"], False),
        (["unknown"], False),
        (["permanent"], True),  # a refusal is an answer too
        (["ok", "transient"], False),
        (["transient", "ok"], True),
    ],
)
def test_a_service_answers_when_its_last_call_was_answered(outcomes: list[str], answers: bool) -> None:
    vitals = Vitals()
    for outcome in outcomes:
        vitals.called("SMS Gateway", outcome, 0.1, "" if outcome == "ok" else "no connection")
    assert vitals.snapshot().services["SMS Gateway"].answers is answers


def test_a_success_does_not_wipe_out_the_last_error() -> None:
    vitals = Vitals()
    vitals.called("Gmail", "transient", 1.0, "no connection")
    vitals.called("Gmail", "ok", 1.0)
    service = vitals.snapshot().services["Gmail"]
    assert (service.last_error_kind, service.last_error_message) == ("transient", "no connection")
    assert service.last_error is not None
    assert service.last_success is not None
    assert service.last_success >= service.last_error


def test_a_failure_does_not_wipe_out_the_last_success() -> None:
    vitals = Vitals()
    vitals.called("Gmail", "ok", 1.0)
    vitals.called("Gmail", "unknown", 1.0)
    assert vitals.snapshot().services["Gmail"].last_success is not None


@pytest.mark.parametrize(
    ("seconds", "place"),
    [(0.0, 0), (BOUNDS[0], 0), (0.011, 1), (0.3, 5), (BOUNDS[-1], len(BOUNDS) - 1), (9999.0, len(BOUNDS))],
)
def test_a_duration_is_counted_in_the_first_bucket_that_holds_it(seconds: float, place: int) -> None:
    durations = Durations().with_one_more(seconds)
    assert [n for n, count in enumerate(durations.buckets) if count] == [place]
    assert durations.total == seconds


def test_calls_from_many_threads_are_all_counted() -> None:
    vitals = Vitals()

    def call() -> None:
        for _ in range(500):
            vitals.called("AI Reply Generator", "ok", 0.2)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(vitals.snapshot().durations["AI Reply Generator", "ok"].buckets) == 4000


def test_a_thread_is_alive_as_long_as_it_says_so() -> None:
    vitals, alive = Vitals(), [True]
    vitals.thread("texting", lambda: alive[0])
    assert vitals.snapshot().threads == {"texting": True}
    alive[0] = False
    assert vitals.snapshot().threads == {"texting": False}


def test_the_main_loop_is_measured_from_its_last_turn() -> None:
    vitals = Vitals()
    before = vitals.seconds_since_turn()
    assert vitals.seconds_since_turn() > before
    vitals.turned()
    assert vitals.seconds_since_turn() < 1
