"""The owner's clock: quiet hours, and whether a text still answers something."""

from __future__ import annotations

from datetime import datetime, timedelta

from .policy import Policy

# What is said within this time of the owner's own text is an answer to it, not a disturbance.
CONVERSATION = timedelta(minutes=15)
# Further back than this, a day and a month alone could be those of the year before.
RECENT = timedelta(days=180)


def is_quiet(now: datetime, policy: Policy) -> bool:
    """Say whether `now` falls into the owner's quiet hours, by the wall clock of the owner's time zone.

    `now` carries a time zone of its own. The start belongs to the quiet hours, the end does not; a span may run over
    midnight.
    """
    if policy.quiet_hours is None:
        return False
    start, end = policy.quiet_hours
    wall = now.astimezone(policy.timezone).time()
    if start <= end:
        return start <= wall < end
    return wall >= start or wall < end


def is_answer(now: datetime, responded_at: datetime | None) -> bool:
    """Say whether the owner wrote so recently that a text at `now` answers them."""
    return responded_at is not None and now - responded_at < CONVERSATION


def show_time(at: datetime, policy: Policy) -> str:
    """Write a moment as the owner's wall clock shows it, for example `12 Nov 14:05`."""
    local = at.astimezone(policy.timezone)
    return f"{local.day} {local:%b %H:%M}"


def show_moment(at: datetime, policy: Policy) -> str:
    """Write a moment of any year as the owner's wall clock shows it, for example `2025-11-12 14:05:09`."""
    return f"{at.astimezone(policy.timezone):%Y-%m-%d %H:%M:%S}"


def show_since(at: datetime, now: datetime, policy: Policy) -> str:
    """Write a moment in the past as `show_time` does, and one of long ago as its date, for example `12 Nov 2024`."""
    if now - at < RECENT:
        return show_time(at, policy)
    local = at.astimezone(policy.timezone)
    return f"{local.day} {local:%b %Y}"
