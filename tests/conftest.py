"""What the tests share: a real PostgreSQL server, and a fresh database with our schema for each test that wants one."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest
from hypothesis import settings
from psycopg2.extensions import connection, cursor, make_dsn

from email_orchestrator.embedded import EmbeddedPostgres

SCHEMA = Path(__file__).parents[1] / "schema.sql"
MEMORY = Path("/dev/shm")

# The same examples every time, however slow the machine; `--hypothesis-profile=search` looks for others, for longer.
settings.register_profile("repeat", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("repeat")


def pytest_xdist_auto_num_workers() -> int:
    """How many processes run the tests: one more than there are cores, since a third of their time is spent waiting."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def quickest_place() -> Path:
    """A folder for temporary folders: in memory where that has room and may hold programs, since a clone takes 20 ms
    there and 40 to 300 ms on a disk."""
    with suppress(OSError):
        programs_allowed = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
        if programs_allowed and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**30:
            return MEMORY
    return Path(tempfile.gettempdir())


@pytest.fixture
def server_folder(quickest_place: Path) -> Iterator[Path]:
    """A fresh, empty folder a server's user can reach, which is not true of `tmp_path` when root runs the tests."""
    with _folder_in(quickest_place) as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_server(quickest_place: Path) -> Iterator[str]:
    """The DSN of a server whose user may create databases: the one TEST_DATABASE_URL names, or one of our own."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    # Each daemon that a test starts has a dozen connections.
    room = {"max_connections": "200"}
    with _folder_in(quickest_place) as folder, EmbeddedPostgres(folder, durable=False, settings=room) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def postgres_admin(postgres_server: str) -> Iterator[connection]:
    """A connection, in autocommit mode, that creates and drops the tests' databases."""
    with closing(psycopg2.connect(postgres_server)) as admin:
        admin.autocommit = True
        yield admin


@pytest.fixture(scope="session")
def database_template(postgres_server: str, postgres_admin: connection) -> Iterator[str]:
    """The name of a database to clone, which holds the schema and nothing else."""
    if not SCHEMA.exists():
        pytest.skip("there is no schema.sql")
    name = f"template_{secrets.token_hex(6)}"
    with postgres_admin.cursor() as commands:
        commands.execute(f"CREATE DATABASE {name}")
        with closing(psycopg2.connect(make_dsn(postgres_server, dbname=name))) as filling:
            filling.autocommit = True
            filling.cursor().execute(SCHEMA.read_text(encoding="utf-8"))
        yield name
        _drop(commands, name)


@pytest.fixture
def dsn(postgres_server: str, postgres_admin: connection, database_template: str) -> Iterator[str]:
    """The DSN of a fresh database with our schema, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    with postgres_admin.cursor() as commands:
        commands.execute(f"CREATE DATABASE {name} TEMPLATE {database_template}")
        yield make_dsn(postgres_server, dbname=name)
        _drop(commands, name)


def _drop(commands: cursor, name: str) -> None:
    # A connection's server process outlives it for a moment, and DROP DATABASE would wait for that in steps of 100 ms.
    remaining = 1
    while remaining:
        commands.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        remaining = commands.rowcount
    commands.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _folder_in(place: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="email-orchestrator-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
