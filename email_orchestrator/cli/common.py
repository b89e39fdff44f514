"""What the commands share: settings, the log, the database, and a desk to work at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import click

from ..errors import OrchestratorError, SettingsError

if TYPE_CHECKING:
    from ..settings import Settings
    from ..store.connection import Database
    from ..workflow.desk import Desk
    from ..workflow.feedback import Report

as_json = click.option("--json", "json_output", is_flag=True, help="Print JSON.")


def settings_of(env_file: Path | None, *, reading: bool = False) -> Settings:
    """Read the settings; those of the mail account and the phone may be missing for `reading` the database.

    A command tells the person itself how it went: there is a log, on standard error, only with `--verbose`. Raises
    SettingsError.
    """
    from ..log import set_up_logging
    from ..settings import REQUIRED, load_settings, secrets_of

    settings = load_settings(env_file, required=() if reading else REQUIRED)
    set_up_logging("INFO" if verbose() else "CRITICAL", "text", None, secrets_of(settings), settings.your_phone_number)
    return settings


def verbose() -> bool:
    """Say whether the person wants to know more."""
    return bool(click.get_current_context().find_root().params.get("verbose"))


def log_as_set(settings: Settings, level: str | None = None) -> None:
    """Send the log where the settings say, from the level they say or the given one.

    Raises SettingsError when it cannot go there.
    """
    from ..log import set_up_logging
    from ..settings import secrets_of

    try:
        set_up_logging(
            level or settings.log_level,
            settings.log_format,
            settings.log_file,
            secrets_of(settings),
            settings.your_phone_number,
        )
    except OSError as error:
        problem = f"LOG_FILE: must be a file that can be written, and {settings.log_file} cannot ({error.strerror})"
        raise SettingsError([problem]) from error


@contextmanager
def database_of(settings: Settings, *, prepared: bool = True, create: bool = False) -> Iterator[Database]:
    """Reach the database of the settings, the embedded one where they name none; only `create` makes a new one of it.

    Raises SchemaMismatch when the database shall be `prepared` and is not, SettingsError when there is none.
    """
    from ..store import schema
    from ..wiring import holds_data, make_database, reach_postgres

    if not (create or settings.dsn or holds_data(settings.data_dir)):
        problem = f"is missing, DATABASE_URL too, and there is no embedded database in {settings.data_dir.absolute()}"
        raise SettingsError([f"DB_HOST: {problem}; `email-orchestrator init-db` makes one"])
    with reach_postgres(settings, prepare=create and prepared) as dsn:
        database = make_database(dsn)
        try:
            if prepared:
                schema.check(database)
            yield database
        finally:
            database.close()


@contextmanager
def desk_of(
    env_file: Path | None, *, reading: bool = False, create: bool = False, stop: threading.Event | None = None
) -> Iterator[tuple[Settings, Desk]]:
    """Make a desk for one command, which waits for nothing once `stop` is set.

    In the end the AI Reply Generator is told what became of its drafts, if it listens. Raises what `settings_of` and
    `database_of` do.
    """
    from ..wiring import make_desk

    settings = settings_of(env_file, reading=reading)
    reports: SimpleQueue[Report] = SimpleQueue()
    with database_of(settings, create=create) as database:
        try:
            yield settings, make_desk(settings, database, stop=stop, reports=reports)
        finally:
            if not reports.empty():
                _pass_on(settings, database, reports)


def _pass_on(settings: Settings, database: Database, reports: SimpleQueue[Report]) -> None:
    from ..wiring import make_clients
    from ..workflow import feedback

    # What was done is done and told, whatever becomes of this.
    with suppress(OrchestratorError, KeyboardInterrupt):
        feedback.report_before_leaving(database, make_clients(settings).generator, reports)
