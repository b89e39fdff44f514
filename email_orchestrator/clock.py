"""The clock by which this process knows how long it has held a lease."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return a moment in seconds, fit only to be compared with others of this clock.

    Setting the time does not move it, and it goes on while the machine sleeps, as the lease in the database does;
    `time.monotonic()` would stand still (clock_gettime(2), CLOCK_BOOTTIME).
    """
    return time.clock_gettime(_CLOCK)
