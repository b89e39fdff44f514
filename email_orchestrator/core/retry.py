"""When to try again: a decision that somebody else carries out."""

from __future__ import annotations

from ..errors import Kind, Trouble

FIRST_DELAY = 10.0
LONGEST_DELAY = 3600.0
PAUSE_FIRST = 60.0


def retry_delay(failures: int, kind: Kind, limit: int | None, jitter: float, retry_after: float | None) -> float | None:
    """Decide how long to wait after a failure, or that it was the last.

    `failures` counts the failed tries including this one, `limit` how many further tries are allowed after the first
    (None: no end), `jitter` is a random number from 0 to 1, `retry_after` what the service asked for in seconds.
    Returns seconds to wait, from 10 s doubling up to an hour, spread by a fifth either way and never less than what
    was asked for; None when there is no further try.
    """
    if kind is Kind.PERMANENT or (limit is not None and failures > limit):
        return None
    delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 20), LONGEST_DELAY) * (0.8 + 0.4 * jitter)
    return max(delay, min(retry_after or 0.0, LONGEST_DELAY))


def pause_length(trouble: Trouble, pauses_so_far: int) -> float | None:
    """Decide how long all replies rest for trouble with the mail account.

    `pauses_so_far` counts the pauses since the last mail that went out. Returns seconds: a minute doubling up to an
    hour when the server is busy, an hour at a time for the daily limit; None when only a person can help.
    """
    if trouble is Trouble.CREDENTIALS:
        return None
    if trouble is Trouble.DAILY_LIMIT:
        return LONGEST_DELAY
    return min(PAUSE_FIRST * 2.0 ** min(pauses_so_far, 20), LONGEST_DELAY)
