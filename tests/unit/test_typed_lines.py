"""What is typed at the demo, and Ctrl-C meanwhile."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from email_orchestrator.demo.play import typed_lines


def test_lines_come_as_they_were_typed_and_the_last_one_needs_no_end() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "wb", buffering=0) as keyboard:
        keyboard.write("1\n2 kürzer\n\n3".encode())
        lines = typed_lines(ours)
        assert [next(lines), next(lines), next(lines)] == ["1", "2 kürzer", ""]
        keyboard.close()
        assert list(lines) == ["3"]


TRIES = 250


def test_ctrl_c_is_heard_when_the_wait_for_a_line_is_not_what_it_interrupts() -> None:
    ours, theirs = os.pipe()
    heard = threading.Event()

    def hear(*_: object) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        # A signal that another thread gets leaves a wait of the main thread alone.
        for _ in range(TRIES):
            if heard.wait(0.02):
                return
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        keyboard.close()

    keyboard = os.fdopen(theirs, "wb")
    before = signal.signal(signal.SIGINT, hear)
    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with os.fdopen(ours, "rb"), keyboard, pytest.raises(KeyboardInterrupt):
            next(typed_lines(ours))
    finally:
        heard.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
