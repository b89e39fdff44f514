"""The schema: applying it, and checking that the database has the one this program was written for."""

from __future__ import annotations

from importlib.resources import files

from ..errors import SchemaMismatch
from .connection import Database, Transaction

VERSION = 1


def apply(database: Database) -> int:
    """Bring the database to this program's schema, whatever it was before; returns the version it had (0: none).

    Raises SchemaMismatch when the database belongs to a newer program.
    """
    statements = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    with database.transaction() as tx:
        before = version(tx)
        if before > VERSION:
            raise SchemaMismatch(_newer(before))
        tx.script(statements)
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
    row = tx.row("schema_version")
    if row is None or not row["present"]:
        return 0
    number = tx.row("schema_version_number")
    return int(number["version"] or 0) if number else 0


def _newer(found: int) -> str:
    return (
        f"The database has schema version {found}, newer than this program's {VERSION}: "
        "install the newer program again."
    )
