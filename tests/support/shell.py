"""The command line as a test uses it: with an environment of its own, in this process, as one of its own, or in a
terminal.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from email_orchestrator.cli import main
from email_orchestrator.settings import Settings

ACCOUNT = {
    "EMAIL_ADDRESS": "owner@example.com",
    "EMAIL_PASSWORD": "app-password",
    "YOUR_PHONE_NUMBER": "+15551234567",
    "SENT_CHECK": "off",
}
NOWHERE = "http://127.0.0.1:9"
INHERITED = ("PATH", "HOME", "LANG", "PYTHONPATH")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Shell:
    """A shell in a folder, with nothing in its environment but the given settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = settings

    def run(self, *arguments: str, **settings: str) -> Result:
        """Run a command in this process; its outputs are in `stdout` and `stderr`."""
        unset: dict[str, str | None] = dict.fromkeys((*(field.name.upper() for field in fields(Settings)), "COLUMNS"))
        root = logging.getLogger()
        handlers, level, before = root.handlers[:], root.level, Path.cwd()
        hooks = threading.excepthook, sys.unraisablehook
        root.handlers = []
        os.chdir(self.folder)
        try:
            result = CliRunner(env=unset | self.settings | settings).invoke(main, arguments, catch_exceptions=False)
        finally:
            os.chdir(before)
            for handler in root.handlers:
                handler.close()
            root.handlers = handlers
            root.setLevel(level)
            threading.excepthook, sys.unraisablehook = hooks
            logging.captureWarnings(False)
        assert "Traceback" not in result.output or "--verbose" in arguments
        return result

    def json(self, *arguments: str, **settings: str) -> Any:
        """Run a command that has to succeed, and read the JSON it prints."""
        result = self.run(*arguments, "--json", **settings)
        assert (result.exit_code, result.stderr) == (0, "")
        return json.loads(result.stdout)

    def process(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command as a process of its own."""
        return self.python("-m", "email_orchestrator", *arguments, **settings)

    def python(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start Python as a process of its own, in the same surroundings."""
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=inherited | self.settings | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def terminal(self, *arguments: str, columns: int = 80, **settings: str) -> Iterator[Terminal]:
        """Start a command in a terminal of its own, whose other end is in the test's hand."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-m", "email_orchestrator", *arguments],
            cwd=self.folder,
            env={"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | inherited | self.settings | settings,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        made = Terminal(process, ours)
        try:
            yield made
        finally:
            process.kill()
            process.wait()
            made.close()

    def shown(self, *arguments: str, columns: int = 80, **settings: str) -> str:
        """Run a command in a terminal to its end; returns all that was written to it, with plain line ends."""
        with self.terminal(*arguments, columns=columns, **settings) as terminal:
            terminal.wait()
        return terminal.text


class Terminal:
    """A terminal, seen from its other end: `text` is all that was written to it so far."""

    def __init__(self, process: subprocess.Popen[bytes], number: int) -> None:
        self.process = process
        self._number = number
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return bytes(self._bytes).decode("utf-8", "replace").replace("\r\n", "\n")

    def type(self, line: str) -> None:
        os.write(self._number, line.encode() + b"\n")

    def press_ctrl_d(self) -> None:
        """End the input, as a terminal does at the beginning of a line."""
        os.write(self._number, b"\x04")

    def press_ctrl_c(self) -> None:
        """Interrupt the command and all it started, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_for(self, words: str, seconds: float = 20.0) -> None:
        """Wait until some words were written."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            ended = self.process.poll() is not None and not self._reader.is_alive() and words not in self.text
            assert not ended, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.01)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for the command to end and for all it wrote; returns its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on, and wrote so far: {self.text}") from None
        finally:
            self._reader.join(5)

    def close(self) -> None:
        self._reader.join(5)
        os.close(self._number)

    def _read(self) -> None:
        while True:
            try:
                some = os.read(self._number, 65536)
            except OSError:  # nobody has the terminal open any more
                return
            if not some:
                return
            self._bytes += some
