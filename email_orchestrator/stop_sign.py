"""The stop sign: how a signal handler asks the rest of the process to stop."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue


class StopSign(threading.Event):
    """Set when the process is told to stop, and remembers when that was; `asked` is true a moment before it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0
        self.asked = False
        self._told: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._pass_on, name="stop sign", daemon=True).start()

    def put_up(self, *_: object) -> None:
        """Tell the process to stop; fit for a signal handler.

        The handler runs in the midst of the main thread, which may hold this event's lock as it waits: setting the
        event there would wait for that lock for ever. A SimpleQueue may be put to from anywhere.
        """
        self.at = time.monotonic()
        self.asked = True
        self._told.put(None)

    def _pass_on(self) -> None:
        self._told.get()
        self.set()
