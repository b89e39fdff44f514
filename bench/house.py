"""The house that is measured: a real database with fsync on, and the real daemon as a process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from email_orchestrator.embedded import EmbeddedPostgres
from email_orchestrator.store import schema
from email_orchestrator.store.connection import Database

from .outside import ADDRESS, PASSWORD, PHONE, Remote, world

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# Each daemon has a dozen connections beside those of its workers.
ROOM = {"max_connections": "200"}
TABLES = "workflow_state, workflow_event, draft, sms_inbox, sms_outbox, service_state, processed_emails"


@dataclass(frozen=True, slots=True)
class House:
    """A database server and the outside world; daemons come and go."""

    folder: Path
    dsn: str
    world: Remote

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own, outside of a transaction block."""
        connection = psycopg2.connect(self.dsn)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def clear(self) -> None:
        """Empty every table, and settle the server."""
        self.sql(f"TRUNCATE {TABLES} RESTART IDENTITY CASCADE")
        self.sql("VACUUM ANALYZE")
        self.sql("CHECKPOINT")

    def add_emails(self, count: int, name: str) -> None:
        """Have emails come in, each from a sender and in a thread of its own."""
        self.sql(
            "INSERT INTO processed_emails (message_id, from_address, to_addresses, subject, body_text, received_at,"
            " thread_id)"
            " SELECT format('<%%s-%%s@example.com>', %s, n), format('person-%%s-%%s@example.com', %s, n),"
            " '{owner@example.com}', format('Question %%s', n), %s, now(), format('<%%s-%%s@example.com>', %s, n)"
            " FROM generate_series(1, %s) n",
            name, name, "Hello,\n\ncan we meet tomorrow at two?\n\nJohn", name, count,
        )  # fmt: skip

    def database_processes(self) -> list[int]:
        """List the database server and its children."""
        postmaster = int((self.folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]


@contextmanager
def open_house(place: Path | None) -> Iterator[House]:
    """Start a database and the outside world, in a temporary folder below `place`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="email-orchestrator-bench-", dir=place)))
        folder.chmod(0o711)
        dsn = stack.enter_context(EmbeddedPostgres(folder / "postgres", durable=True, settings=ROOM))
        database = Database(dsn)
        schema.apply(database)
        database.close()
        yield House(folder, dsn, stack.enter_context(world(dsn)))


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon; `ready` is how many seconds its start took."""

    pid: int
    url: str
    ready: float
    log: Path


@contextmanager
def daemon(house: House, latency: float = 0, approves: bool = True, **settings: object) -> Iterator[Daemon]:
    """Run the daemon while in the block, with drafts that take `latency` seconds and an owner who approves or not.

    `settings` are set above those of a bench.
    """
    log = house.folder / f"daemon-{time.monotonic_ns()}.log"
    port = _free_port()
    house.world("face", f"http://127.0.0.1:{port}", latency, approves)
    environment = house.world("places") | {
        "SENT_CHECK": "off",
        "EMAIL_ADDRESS": ADDRESS,
        "EMAIL_PASSWORD": PASSWORD,
        "YOUR_PHONE_NUMBER": PHONE,
        "DATABASE_URL": house.dsn,
        "PORT": str(port),
        "POLL_INTERVAL": "1",
        "MAX_EMAILS_PER_POLL": "10000",
        # More than an owner would ever let wait, and far fewer than come in.
        "MAX_AWAITING": "500",
        "LOG_FILE": str(log),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "email_orchestrator", "run"], cwd=house.folder, env=inherited | environment
    )
    try:
        _wait_until_ready(process, log)
        yield Daemon(process.pid, f"http://127.0.0.1:{port}", time.monotonic() - began, log)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and " ready on " in log.read_text(encoding="utf-8"):
            return
        time.sleep(0.005)
    raise RuntimeError(f"the daemon did not start: {log.read_text()[-2000:] if log.exists() else 'it left no log'}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def processor_seconds(*pids: int) -> float:
    """Add up the processor time that processes and their ended children have used so far."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def resident_megabytes(pid: int) -> tuple[float, float]:
    """Return the memory a process has resident now and had at most, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


@dataclass(frozen=True, slots=True)
class Counters:
    """What the database has done so far: committed transactions, WAL bytes."""

    commits: int
    wal: int


def read_counters(house: House) -> Counters:
    """Read the counters; a server process that is not busy may report its own as late as when its client leaves."""
    rows = house.sql(
        "SELECT xact_commit, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') FROM pg_stat_database"
        " WHERE datname = current_database()"
    )
    return Counters(int(rows[0][0]), int(rows[0][1]))


def wait_for(house: House, mails: int, seconds: float) -> None:
    """Wait until so many mails came in since the daemon's start."""
    deadline = time.monotonic() + seconds
    while (got := house.world("count")["mails"]) < mails:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {got} of {mails} mails came within {seconds:.0f} s")
        time.sleep(0.02)
