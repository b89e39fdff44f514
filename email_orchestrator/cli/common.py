"""What the commands share: settings, the database, and a desk to work at."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..settings import Settings
    from ..store.connection import Database
    from ..workflow.desk import Desk

as_json = click.option("--json", "json_output", is_flag=True, help="Print JSON.")


def settings_of(env_file: Path | None) -> Settings:
    """Read the settings, and send the log where they say; raises SettingsError."""
    from ..log import set_up_logging
    from ..settings import load_settings, secrets_of

    settings = load_settings(env_file)
    set_up_logging(settings.log_level, settings.log_format, settings.log_file, secrets_of(settings))
    return settings


@contextmanager
def database_of(settings: Settings, *, prepared: bool = True) -> Iterator[Database]:
    """Reach the database of the settings, the embedded one where they name none.

    Raises SchemaMismatch when the database shall be `prepared` and is not.
    """
    from ..store import schema
    from ..wiring import make_database, reach_postgres

    with reach_postgres(settings) as dsn:
        database = make_database(dsn)
        if prepared:
            schema.check(database)
        try:
            yield database
        finally:
            database.close()


@contextmanager
def desk_of(env_file: Path | None) -> Iterator[tuple[Settings, Desk]]:
    """Make a desk for one command. Its log says only what went wrong: the command itself tells the person the rest."""
    import logging

    from ..wiring import make_desk

    settings = settings_of(env_file)
    logging.getLogger().setLevel(max(logging.WARNING, logging.getLogger().level))
    with database_of(settings) as database:
        yield settings, make_desk(settings, database)


def terminal_width() -> int:
    """Return how many columns a table may take: those of the terminal, or 80 in a pipe."""
    if not sys.stdout.isatty():
        return 80
    return os.get_terminal_size(sys.stdout.fileno()).columns or 80
