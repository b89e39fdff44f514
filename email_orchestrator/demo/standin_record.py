"""What a stand-in saw, kept so that another thread can wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Record(list[T]):
    """A list that grows by `add` and can be waited on; `on_add` is called with every item first."""

    def __init__(self) -> None:
        super().__init__()
        self.on_add: Callable[[T], object] = lambda _: None
        self._grown = threading.Condition()

    def add(self, item: T) -> None:
        """Append an item and wake whoever waits for one."""
        self.on_add(item)
        with self._grown:
            self.append(item)
            self._grown.notify_all()

    def wait_for(self, wanted: Callable[[T], bool] | None = None, timeout: float = 5.0, after: int = 0) -> T:
        """Wait until an item is wanted (any, without a predicate) and return it; the first `after` items don't count.

        Raises TimeoutError when none came within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        seen = after
        with self._grown:
            while True:
                while seen < len(self):
                    item = self[seen]
                    seen += 1
                    if wanted is None or wanted(item):
                        return item
                if not self._grown.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"nothing of what was waited for came within {timeout:g} s; {len(self)} came")
