"""Texts of the owner's that the webhook could not store: what they may forbid waits until they were looked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .errors import DatabaseUnavailable

# While the gateway's history cannot be read it is asked again after so many seconds, and nothing waits for it longer
# than that.
AGAIN = 5.0
PATIENCE = 12.0


class UnreadTexts:
    """Noted by the web server, read by the main loop with `read`, waited for by whoever sends or closes something."""

    def __init__(self, read: Callable[[], object]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._noted = 0
        self._known = 0
        self._again_at = 0.0
        self._waited_for_until: float | None = None

    def note(self) -> None:
        """Take note that there may be another."""
        with self._lock:
            self._noted += 1
            self._again_at = 0.0
            self._waited_for_until = None

    def are_waited_for(self) -> bool:
        """Say whether there may be some that were not read, and that the gateway may still tell in time."""
        until = self._waited_for_until
        return self._known < self._noted and (until is None or time.monotonic() < until)

    def are_due(self) -> bool:
        """Say whether there may be some, and it is time to read them."""
        return self._known < self._noted and time.monotonic() >= self._again_at

    def read(self) -> None:
        """Read the gateway's history and act on what is there; raises ServiceError, DatabaseUnavailable."""
        noted = self._noted
        try:
            self._read()
        except DatabaseUnavailable:
            raise
        except Exception:
            with self._lock:
                now = time.monotonic()
                self._again_at = now + AGAIN
                if self._waited_for_until is None:
                    self._waited_for_until = now + PATIENCE
            raise
        self._known = noted
