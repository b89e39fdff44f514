from __future__ import annotations

from datetime import UTC, datetime, timedelta

from email_orchestrator.core.lookback import MARGIN, window_start

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ago(hours: float) -> str:
    return (NOW - hours * HOUR).isoformat()


def test_a_new_installation_looks_back_as_far_as_it_was_told() -> None:
    assert window_start(None, NOW, 24) == NOW - 24 * HOUR


def test_a_recent_poll_changes_nothing() -> None:
    assert window_start({"at": ago(1), "unfinished_since": None}, NOW, 24) == NOW - 24 * HOUR


def test_an_outage_widens_the_window_to_before_the_last_poll() -> None:
    assert window_start({"at": ago(70)}, NOW, 24) == NOW - 70 * HOUR - MARGIN


def test_what_the_last_round_left_over_stays_in_the_window() -> None:
    assert window_start({"at": ago(0), "unfinished_since": ago(30)}, NOW, 24) == NOW - 30 * HOUR
