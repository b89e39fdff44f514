"""How far back the poll looks for new emails."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

# The Email Monitor may list an email some time after it came in.
MARGIN = timedelta(hours=1)


def window_start(last_poll: Mapping[str, str | None] | None, now: datetime, lookback_hours: float) -> datetime:
    """Find the moment back to which a poll looks: past an outage, and past what the last round left over.

    `last_poll` is what the last successful round wrote down, in ISO 8601: `at`, when it was, and `unfinished_since`,
    the start of its window when it could not take everything. None on a new installation, which looks back
    `lookback_hours`.
    """
    known = last_poll or {}
    start = now - timedelta(hours=lookback_hours)
    at, unfinished = known.get("at"), known.get("unfinished_since")
    if at:
        start = min(start, datetime.fromisoformat(at) - MARGIN)
    if unfinished:
        start = min(start, datetime.fromisoformat(unfinished))
    return start
