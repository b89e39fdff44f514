"""The command line as a test uses it: with an environment of its own, in this process or as one of its own."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
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


class Shell:
    """A shell in a folder, with nothing in its environment but the given settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = settings

    def run(self, *arguments: str, **settings: str) -> Result:
        """Run a command in this process; its outputs are in `stdout` and `stderr`."""
        unset: dict[str, str | None] = {field.name.upper(): None for field in fields(Settings)}
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
