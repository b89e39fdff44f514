"""Runs PostgreSQL's programs: as the right user, in an environment of their own, no longer than this process lives."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .account import Account
from .errors import EmbeddedPostgresError

# PostgreSQL heeds many variables that are meant for somebody else (PGPORT, PGOPTIONS, NOTIFY_SOCKET …), so it gets
# an environment of its own. A given time zone also spares initdb the search for the system's.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
PR_SET_PDEATHSIG = 1  # prctl(2)


def circumstances(account: Account, lock: int) -> dict[str, Any]:
    """Return the arguments for `subprocess` that every program working on the data is run with.

    The program inherits the lock, so that the data counts as in use until it is gone. At our end it gets SIGINT, which
    PostgreSQL's programs take as a request to finish quickly and in good order.
    """
    return {
        **account.as_arguments(),
        "cwd": "/",
        "env": ENVIRONMENT,
        "umask": 0o077,
        "pass_fds": (lock,),
        "preexec_fn": end_with_this_process(),
    }


def run_program(command: Sequence[str | Path], account: Account, lock: int, words: str = "") -> None:
    """Run a program with `words` as its input; raise EmbeddedPostgresError with its last words when it fails."""
    done = subprocess.run(command, input=words, capture_output=True, text=True, **circumstances(account, lock))
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"{command[0]} failed: {last_lines(done.stderr) or f'exit {done.returncode}'}")


def last_lines(text: str) -> str:
    """Return the last lines of a program's output as one line, fit for an error message."""
    return " / ".join(text.strip().splitlines()[-6:])


def end_with_this_process() -> Callable[[], None]:
    """Make what `subprocess` is to call in a child (`preexec_fn`) that shall get SIGINT when this process ends."""
    # The kernel's measure is the end of the thread that started the child, not of the process. After the change of
    # user and before the program is exactly when this must be asked for: a change of user undoes it (prctl(2)).
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_for_signal() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # our end came before the child could ask
            os._exit(1)

    return ask_for_signal
