from __future__ import annotations

import pytest

from email_orchestrator.core.retry import pause_length, retry_delay
from email_orchestrator.errors import Kind, Trouble


def test_delays_double_from_ten_seconds_up_to_an_hour() -> None:
    delays = [retry_delay(n, Kind.TRANSIENT, None, 0.5, None) for n in range(1, 12)]
    assert delays == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]


def test_so_many_further_tries_and_no_more() -> None:
    outcome = [retry_delay(n, Kind.TRANSIENT, 3, 0.5, None) is not None for n in range(1, 6)]
    assert outcome == [True, True, True, False, False]


def test_a_permanent_failure_is_not_tried_again() -> None:
    assert retry_delay(1, Kind.PERMANENT, None, 0.5, 5) is None


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 8), (1.0, 12)])
def test_jitter_spreads_the_delay_by_a_fifth(jitter: float, delay: float) -> None:
    assert retry_delay(1, Kind.TRANSIENT, 3, jitter, None) == pytest.approx(delay)


@pytest.mark.parametrize(("asked", "delay"), [(5, 10), (90, 90), (86_400, 3600)])
def test_what_the_service_asked_for_is_honoured_within_reason(asked: float, delay: float) -> None:
    assert retry_delay(1, Kind.TRANSIENT, 3, 0.5, asked) == delay


def test_a_busy_account_rests_a_minute_doubling_up_to_an_hour() -> None:
    assert [pause_length(Trouble.BUSY, n) for n in range(8)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_daily_limit_rests_an_hour_at_a_time_and_bad_credentials_until_a_person_acts() -> None:
    assert pause_length(Trouble.DAILY_LIMIT, 5) == 3600
    assert pause_length(Trouble.CREDENTIALS, 0) is None
