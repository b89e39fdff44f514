"""Starts and stops a private PostgreSQL server that lives and dies with this program, its data kept in one folder."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType

from ..setting_values import libpq_quoted
from .account import Account, choose_account, prepare_folder
from .errors import EmbeddedPostgresError, FolderUnusableError, WrongVersionError
from .folder import (
    find_server,
    make_private_folder,
    make_socket_folder,
    open_owned,
    release_lock,
    remove_stale_pid_file,
    take_lock,
)
from .process import circumstances, last_lines, run_program
from .programs import find_binaries, major_version, runnable_by

DATABASE = "email_auto_reply"
USER = "postgres"
START_SECONDS = 120.0  # recovery after a power cut is part of a start
STOP_SECONDS = 30.0
FIRST_WITH_OWN_LOCALE = 17
# What the system says of a folder that is not to be had, however often it is tried.
UNUSABLE = (errno.EEXIST, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",
        "port": "5432",  # not opened: a part of the socket's name
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # One small program is the only client, on a machine of 512 MB; it may have 64 workers and a dozen others.
        "max_connections": "100",
        "shared_buffers": "32MB",
        "maintenance_work_mem": "16MB",
        "max_wal_size": "128MB",
        "min_wal_size": "32MB",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",
        "max_parallel_workers_per_gather": "0",
        "autovacuum_max_workers": "1",
        "jit": "off",
        # A statement or a row quoted in the log could hold somebody's email.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
    }
)
# Safe when a process crashes, not when the machine does.
HASTY_SETTINGS: Mapping[str, str] = MappingProxyType({"fsync": "off", "full_page_writes": "off"})


class EmbeddedPostgres:
    """A private PostgreSQL server: `with EmbeddedPostgres(folder) as dsn:` runs one and says how to connect to it.

    The folder keeps everything: `data`, the server's log of this start and the one before, a lock, the socket (in a
    temporary folder instead where its path would be too long), and for root a copy of the programs if need be.
    `binaries` names the folder of PostgreSQL's programs (otherwise they are looked for), `durable=False` trades safety
    at a power cut for speed in tests, and `settings` are further settings of the server.

    The server listens on a Unix socket that only its user and root can reach, and on no port. When this process ends,
    however that happens, the kernel sends it SIGINT, a fast shutdown in good order (prctl(2), PR_SET_PDEATHSIG). What
    counts is the end of the *thread* that started it, which is why `start` insists on the main thread.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "server.log"
        self._binaries = binaries
        self._durable = durable
        self._settings = {**SETTINGS, **({} if durable else HASTY_SETTINGS), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: Path | None = None
        self._lock: int | None = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> str:
        """Start the server, at the first start with new data, and return the DSN of its database once it can be used.

        Raises EmbeddedPostgresError when it cannot be had; its subclasses say whether another process has it, the
        programs are missing or of the wrong version, or a folder is closed to the server's user.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("EmbeddedPostgres.start belongs in the main thread: the server ends with its thread")
        if self._lock is not None:
            raise RuntimeError("this EmbeddedPostgres was started already")
        try:
            return self._start()
        except OSError as error:
            self.stop()
            if error.errno in UNUSABLE:
                raise FolderUnusableError(
                    f"The data folder {self._folder} (DATA_DIR) cannot be used ({error.strerror}: {error.filename}): "
                    "name a folder that is there or can be made, and that this user may write in."
                ) from error
            raise EmbeddedPostgresError(f"The database in {self._folder} cannot be started: {error}.") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut the server down, rolling back what is open, and return when it is gone; without a server do nothing."""
        if self._process is not None:
            # Fast shutdown; then immediate shutdown, after which the next start recovers; then the kernel's way.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
                    break
            self._process = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None
        if self._lock is not None:
            release_lock(self._lock)
            self._lock = None

    def _start(self) -> str:
        account = choose_account(self._data)
        prepare_folder(self._folder, account)
        self._lock = lock = take_lock(self._folder / "lock", account, STOP_SECONDS)
        binaries = runnable_by(account, self._find_binaries(), self._folder / "programs")
        if not self._data.exists():
            self._create_data(binaries, account, lock)
        remove_stale_pid_file(self._data)
        self._socket_folder = socket_folder = make_socket_folder(self._folder, account)
        self._process = self._launch(binaries, account, lock, socket_folder)
        self._wait_until_ready(self._process)
        _create_database(binaries, account, lock, socket_folder)
        return make_dsn(socket_folder)

    def _find_binaries(self) -> Path:
        if not self._data.exists():
            return find_binaries(self._binaries)
        major = int((self._data / "PG_VERSION").read_text())
        try:
            return find_binaries(self._binaries, major=major)
        except WrongVersionError as error:
            raise WrongVersionError(
                f"The data in {self._data} was made by PostgreSQL {major}. {error} "
                f"To begin with an empty database instead, move {self._folder} away."
            ) from error

    def _create_data(self, binaries: Path, account: Account, lock: int) -> None:
        # Made beside its place and moved there when whole, so that a first start cut short leaves nothing half done.
        unfinished = self._data.with_name("data.new")
        make_private_folder(unfinished, account)
        # C.UTF-8 needs no locale package, and newer servers bring it along themselves.
        own_locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        locale = own_locale if major_version(binaries) >= FIRST_WITH_OWN_LOCALE else ("--locale=C.UTF-8",)
        sync = () if self._durable else ("--no-sync",)
        command = [binaries / "initdb", "-D", unfinished, "-U", USER, "-A", "trust", "-E", "UTF8", *locale, *sync]
        run_program(command, account, lock)
        unfinished.rename(self._data)

    def _launch(self, binaries: Path, account: Account, lock: int, socket_folder: Path) -> subprocess.Popen[bytes]:
        settings = {**self._settings, "unix_socket_directories": str(socket_folder)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with suppress(FileNotFoundError):
            self._log.replace(self._log.with_name("server.log.1"))
        log = open_owned(self._log, account)
        try:
            return subprocess.Popen(
                [binaries / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for us: we still need the database while we finish.
                start_new_session=True,
                **circumstances(account, lock),
            )
        finally:
            os.close(log)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            ended = process.poll() is not None
            server = find_server(self._data)
            if server is not None and server.ready and server.pid == process.pid:
                return
            if ended or time.monotonic() > deadline:
                trouble = "ended" if ended else f"was not ready within {START_SECONDS:.0f} seconds"
                end_of_log = last_lines(self._log.read_text(errors="replace"))
                raise EmbeddedPostgresError(
                    f"PostgreSQL {trouble} while starting. Its log {self._log} ends: {end_of_log}"
                )
            time.sleep(0.005)


def _create_database(binaries: Path, account: Account, lock: int, socket_folder: Path) -> None:
    command = [str(binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", str(socket_folder), "-p", "5432"]
    missing = f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}')"
    statement = f"SELECT 'CREATE DATABASE {DATABASE}' {missing} \\gexec\n"
    run_program([*command, "-U", USER, "-d", "postgres"], account, lock, statement)


def find_running(folder: Path) -> str | None:
    """Return the DSN of the server that another process runs on this folder, None when there is none ready."""
    server = find_server(folder.resolve() / "data")
    return make_dsn(server.socket_folder) if server is not None and server.ready else None


def make_dsn(socket_folder: Path) -> str:
    """Return a connection string for the database behind a socket (PostgreSQL manual, libpq, Connection Strings)."""
    # The port is named because libpq would otherwise take PGPORT from the environment.
    return f"host={libpq_quoted(str(socket_folder))} port=5432 dbname={DATABASE} user={USER}"
