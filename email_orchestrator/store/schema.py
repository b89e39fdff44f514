"""The schema: applying it, and checking that the database has the one this program was written for."""

from __future__ import annotations

import time
from pathlib import Path

from ..errors import DatabaseRefused, DatabaseUnavailable, SchemaMismatch
from .connection import Database
from .transaction import Transaction
from .trouble import DatabaseBusy

VERSION = 2
# How long we come back to a busy database, and after what pause, in seconds.
PATIENCE = 120.0
PAUSE = 1.0


def apply(database: Database) -> int:
    """Bring the database to this program's schema, whatever it was before; returns the version it had (0: none).

    Other programs may be at work meanwhile. Raises SchemaMismatch when the database belongs to a newer program,
    DatabaseRefused when its user may not change it, DatabaseUnavailable when others hold its tables all the time.
    """
    statements = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    give_up_at = time.monotonic() + PATIENCE
    while True:
        try:
            return _apply(database, statements)
        except DatabaseBusy as error:
            if time.monotonic() >= give_up_at:
                reason = f"Other programs, a backup perhaps, have held its tables for {PATIENCE:.0f} seconds"
                raise DatabaseUnavailable(reason) from error
        time.sleep(PAUSE)


def _apply(database: Database, statements: str) -> int:
    before = 0
    try:
        with database.transaction() as tx:
            before = version(tx)
            if before > VERSION:
                raise SchemaMismatch(_newer(before))
            tx.script(statements)
    except DatabaseRefused:
        # The owner of the tables has done it, and nothing is left to do.
        if before == VERSION:
            return before
        raise
    return before


def check(database: Database) -> None:
    """Make sure that the database has this program's schema; raises SchemaMismatch with the command that helps."""
    with database.transaction() as tx:
        found = version(tx)
    if found > VERSION:
        raise SchemaMismatch(_newer(found))
    if found < VERSION:
        state = "not prepared yet" if found == 0 else f"at version {found}, this program needs {VERSION}"
        raise SchemaMismatch(f"The database is {state}: run `email-orchestrator init-db`.")


def version(tx: Transaction) -> int:
    """Return the version of the schema in the database, 0 when there is none."""
    row = tx.row("schema_is_there")
    if row is None or not row["present"]:
        return 0
    number = tx.row("schema_version")
    return int(number["version"] or 0) if number else 0


def _newer(found: int) -> str:
    return (
        f"The database has schema version {found}, newer than this program's {VERSION}: "
        "install the newer program again."
    )
