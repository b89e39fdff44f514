"""What the acceptance tests share: a server with room for many daemons, and houses to try them in."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from house import House
from psycopg2.extensions import connection, make_dsn

from email_orchestrator.embedded import EmbeddedPostgres
from email_orchestrator.store import schema
from email_orchestrator.store.connection import Database


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full_walk: dies at every point there is; minutes long, run by `-m full_walk`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "full_walk" in str(config.getoption("markexpr")):
        return
    for item in items:
        if item.get_closest_marker("full_walk"):
            item.add_marker(pytest.mark.skip(reason="minutes long: run it by -m full_walk"))


@pytest.fixture
def new_dsn(postgres_server: str, postgres_admin: connection, database_template: str) -> Iterator[Callable[[], str]]:
    """A function that makes a fresh database with our schema and returns its DSN; may be called from any thread."""
    made: list[str] = []
    lock = threading.Lock()

    def make() -> str:
        name = f"test_{secrets.token_hex(6)}"
        with lock, postgres_admin.cursor() as commands:
            commands.execute(f"CREATE DATABASE {name} TEMPLATE {database_template}")
            made.append(name)
        return make_dsn(postgres_server, dbname=name)

    yield make
    with postgres_admin.cursor() as commands:
        for name in made:
            commands.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def new_house(new_dsn: Callable[[], str], tmp_path: Path) -> Iterator[Callable[..., House]]:
    """A function that makes a house, with the settings given to it; may be called from any thread."""
    with ExitStack() as stack:

        def make(dsn: str | None = None, **settings: str) -> House:
            folder = tmp_path / secrets.token_hex(4)
            folder.mkdir()
            return stack.enter_context(House(dsn or new_dsn(), folder, **settings))

        yield make


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """A house with nothing special about it."""
    return new_house()


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that a test may do anything to; it has to be started."""
    with tempfile.TemporaryDirectory(prefix="eo-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        made = EmbeddedPostgres(folder, durable=False, settings={"max_connections": "100"})
        yield made
        made.stop()


@pytest.fixture
def house_of(server: EmbeddedPostgres, new_house: Callable[..., House]) -> House:
    """A house whose database can be taken away."""
    dsn = server.start()
    database = Database(dsn)
    schema.apply(database)
    database.close()
    return new_house(dsn)
