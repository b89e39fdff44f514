from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from email_orchestrator.core.hours import is_answer, is_quiet, show_time
from email_orchestrator.core.policy import Policy

VIENNA = ZoneInfo("Europe/Vienna")


def policy(span: tuple[time, time] | None, zone: ZoneInfo = VIENNA) -> Policy:
    return Policy("me@example.com", "+431234567", quiet_hours=span, timezone=zone)


NIGHT = (time(22), time(7))
NOON = (time(12), time(13, 30))


@pytest.mark.parametrize(
    ("span", "wall", "quiet"),
    [
        (NIGHT, "2026-11-22T21:59:59", False),
        (NIGHT, "2026-11-22T22:00:00", True),
        (NIGHT, "2026-11-23T00:00:00", True),
        (NIGHT, "2026-11-23T06:59:59", True),
        (NIGHT, "2026-11-23T07:00:00", False),
        (NOON, "2026-11-22T11:59:59", False),
        (NOON, "2026-11-22T12:00:00", True),
        (NOON, "2026-11-22T13:30:00", False),
        (None, "2026-11-22T03:00:00", False),
        ((time(9), time(9)), "2026-11-22T09:00:00", False),
    ],
)
def test_quiet_hours_go_by_the_owners_wall_clock(span: tuple[time, time] | None, wall: str, quiet: bool) -> None:
    local = datetime.fromisoformat(wall).replace(tzinfo=VIENNA)
    assert is_quiet(local.astimezone(UTC), policy(span)) is quiet


@pytest.mark.parametrize(
    ("utc", "quiet"),
    [
        # 29 March 2026: 02:00 becomes 03:00, so that seven o'clock comes at 05:00 UTC.
        ("2026-03-29T04:59:59", True),
        ("2026-03-29T05:00:00", False),
        # 25 October 2026: 03:00 becomes 02:00, so that seven o'clock comes at 06:00 UTC.
        ("2026-10-25T00:30:00", True),
        ("2026-10-25T01:30:00", True),
        ("2026-10-25T05:59:59", True),
        ("2026-10-25T06:00:00", False),
    ],
)
def test_quiet_hours_end_at_seven_also_when_the_clocks_change(utc: str, quiet: bool) -> None:
    assert is_quiet(datetime.fromisoformat(utc).replace(tzinfo=UTC), policy(NIGHT)) is quiet


def test_a_text_answers_the_owner_for_a_quarter_of_an_hour() -> None:
    now = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    assert is_answer(now, now - timedelta(minutes=14, seconds=59))
    assert not is_answer(now, now - timedelta(minutes=15))
    assert not is_answer(now, None)


def test_times_are_shown_by_the_owners_clock() -> None:
    assert show_time(datetime(2026, 11, 2, 23, 5, tzinfo=UTC), policy(None)) == "3 Nov 00:05"
