"""The folder a private PostgreSQL server lives in: its lock, its private places, its socket and its pid file."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .account import Account, may_enter
from .errors import FolderInUseError

SOCKET_PATH_BYTES = 107  # sun_path in unix(7), without its closing zero byte
SOCKET_NAME = ".s.PGSQL.5432"
READY_LINES = 8  # postmaster.pid once the server is up


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server as its `postmaster.pid` describes it; `ready` says that it accepts connections."""

    pid: int
    socket_folder: Path
    ready: bool


def take_lock(path: Path, account: Account, patience: float) -> int:
    """Lock the folder for one server and return the open lock file, which the server is to inherit.

    While the process that took the lock is there, FolderInUseError is raised at once. When it was killed, its server
    is shutting down: the lock is free as soon as all the server's processes are gone, and that is waited for, at most
    `patience` seconds.
    """
    lock = open_owned(path, account)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode().strip()
            if Path("/proc", holder or "?").exists() or time.monotonic() > deadline:
                os.close(lock)
                user = f"process {holder}" if holder else "a server that is still shutting down"
                raise FolderInUseError(
                    f"The database in {path.parent} is in use by {user}. Stop that one first "
                    "(is email-orchestrator already running?), or choose another data folder (DATA_DIR)."
                ) from None
            time.sleep(0.02)
        else:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock


def release_lock(lock: int) -> None:
    """Give the lock back; it stays locked while processes of the server linger, and the next taker waits for them."""
    os.ftruncate(lock, 0)
    os.close(lock)


def open_owned(path: Path, account: Account) -> int:
    """Open a file of the server's user for reading and writing, made private if it is new, and return its number."""
    # The folder may belong to that user, who must not be able to lead root elsewhere by a symbolic link.
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if account.switch:
        os.fchown(number, account.uid, account.gid)
    return number


def make_private_folder(path: Path, account: Account) -> None:
    """Make an empty folder that only the server's user (and root) can enter, in place of what was there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    if account.switch:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def make_socket_folder(folder: Path, account: Account) -> Path:
    """Make a private folder for the socket: inside the given one, or a temporary one where its path would be too long.

    Inside is better: other programs find it there, even when ours has a /tmp of its own, and nobody cleans it up.
    """
    inside = folder / "socket"
    if len(os.fsencode(inside / SOCKET_NAME)) <= SOCKET_PATH_BYTES:
        make_private_folder(inside, account)
        return inside
    temporary = Path(tempfile.gettempdir())
    fits = len(os.fsencode(temporary)) <= SOCKET_PATH_BYTES // 2 and may_enter(temporary, account)
    outside = Path(tempfile.mkdtemp(prefix="email-orchestrator-", dir=temporary if fits else "/tmp"))  # noqa: S108
    if account.switch:
        os.chown(outside, account.uid, account.gid)
    return outside


def find_server(data: Path) -> RunningServer | None:
    """Return the server that runs on a data folder; None when there is none, or none of ours to see.

    The number in `postmaster.pid` alone proves nothing: after a crash it may belong to any process by now. A server's
    working directory is its data folder. The lines are those of PostgreSQL's src/include/utils/pidfile.h.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        if data.samefile(Path("/proc", lines[0], "cwd")):
            ready = len(lines) >= READY_LINES and lines[7].strip() == "ready"
            return RunningServer(int(lines[0]), Path(lines[4]), ready)
    except (OSError, IndexError, ValueError):
        pass
    return None


def remove_stale_pid_file(data: Path) -> None:
    """Remove the pid file a crash left behind, while we hold the lock."""
    # PostgreSQL takes any living process of its user that has the number for a server, and refuses to start.
    if find_server(data) is None:
        with suppress(FileNotFoundError):
            (data / "postmaster.pid").unlink()
