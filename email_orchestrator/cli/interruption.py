"""Ctrl-C in the midst of something that should not be broken off."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..stop_sign import StopSign

ASKED = b"\nFinishing what is in hand; Ctrl-C once more breaks it off.\n"


@contextmanager
def asks_first(stop: StopSign) -> Iterator[None]:
    """Let a first Ctrl-C put up the stop sign only, and a second one raise KeyboardInterrupt as ever."""

    def asked(*_: object) -> None:
        stop.put_up()
        signal.signal(signal.SIGINT, before)
        # Not by print: the signal may have come in the midst of one.
        os.write(sys.stderr.fileno(), ASKED)

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
