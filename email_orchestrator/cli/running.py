"""Commands that run the service: run, demo, init-db, poll."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from ..errors import OrchestratorError
from . import common


@click.command()
@click.pass_obj
def run(env_file: Path | None) -> None:
    """Run the service until it is told to stop."""
    from .. import daemon
    from ..log import log_the_end, log_what_nobody_catches
    from ..wiring import reach_postgres

    settings = common.settings_of(env_file)
    common.log_as_set(settings)
    log_what_nobody_catches()
    try:
        with reach_postgres(settings) as dsn:
            daemon.run(settings, dsn)
    except Exception as error:
        # Whoever started it is told on standard error; a log file has other readers.
        if settings.log_file is not None or not isinstance(error, OrchestratorError):
            log_the_end(error)
        raise


@click.command("init-db")
@click.pass_obj
def init_db(env_file: Path | None) -> None:
    """Prepare the database, or bring it up to date."""
    from ..store import schema

    settings = common.settings_of(env_file, reading=True)
    with common.database_of(settings, prepared=False, create=True) as database:
        before = schema.apply(database)
    done = "was prepared already" if before == schema.VERSION else "is prepared"
    click.echo(f"The database {done} (schema version {schema.VERSION}).")


class _Hours(click.FloatRange):
    """Hours that are a number: `nan` is within no range and outside of none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        hours = float(super().convert(value, param, ctx))
        if math.isnan(hours):
            self.fail(f"{value!r} is no number of hours.", param, ctx)
        return hours


HOURS = _Hours(0.01, 24 * 3650)


@click.command()
@click.option("--lookback", type=HOURS, metavar="HOURS", help="Reach further back.")
@click.pass_obj
def poll(env_file: Path | None, lookback: float | None) -> None:
    """Do one round of intake and work, then exit."""
    from ..store.figures import work_done
    from ..wiring import make_clients
    from ..workflow.retention import clear_old_texts
    from ..workflow.round import work_through

    with common.desk_of(env_file, create=True) as (settings, desk):
        # A log file gets all of it; in a shell only trouble is worth a line beside the summary.
        common.log_as_set(settings, None if settings.log_file or common.verbose() else "WARNING")
        clients = make_clients(settings)
        with desk.database.transaction() as tx:
            began = tx.now
        try:
            away = work_through(desk, clients, lookback)
        finally:
            clients.mailer.close()
        # Where cron runs this in place of the service, nobody else does.
        clear_old_texts(desk, settings.retention_days)
        with desk.database.transaction() as tx:
            done = work_done(tx, began)
    click.echo(", ".join(f"{name}: {count}" for name, count in done.items()))
    if away is not None:
        raise away


@click.command()
@click.option("--auto", is_flag=True, help="Play a script instead of waiting for you, and check how it ends.")
@click.option(
    "--eml",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Use the .eml files of this folder as the inbox.",
)
def demo(auto: bool, eml: Path | None) -> None:
    """Try it all without any account: you play the phone."""
    from ..demo.play import play

    raise SystemExit(play(auto=auto, mailbox=eml))


COMMANDS = (run, demo, init_db, poll)
