"""Trouble with PostgreSQL: what its errors mean for whoever asked."""

from __future__ import annotations

import re

import psycopg2
import psycopg2.errors

from ..errors import DatabaseRefused, DatabaseUnavailable, OrchestratorError, SettingsError

# What libpq says when the server is there and does not take us; a server that speaks another language counts as away.
_NOT_LET_IN = re.compile(
    "authentication failed|(role|database) .+ does not exist|no pg_hba.conf entry|no password supplied"
    "|permission denied for database|not permitted to log in"
)
# What libpq says when the address itself is at fault: it is never reached by waiting.
_NO_ADDRESS = re.compile("invalid .+ value|invalid port number")
_BUSY = (psycopg2.errors.LockNotAvailable, psycopg2.errors.DeadlockDetected)
TO_BE_LET_IN = "Look at DATABASE_URL, or at DB_NAME, DB_USER and DB_PASSWORD."
TO_BE_ALLOWED = (
    "Use the owner of the tables (whoever ran `email-orchestrator init-db`), "
    "or grant what `email-orchestrator check` names."
)


class DatabaseBusy(DatabaseUnavailable):
    """Others hold what a statement needs: it was given up, and may be tried again at once."""


class DataRefused(OrchestratorError):
    """PostgreSQL will not take a value: the row it belongs to is at fault, not the connection."""


def no_connection(error: psycopg2.OperationalError) -> OrchestratorError:
    """Say why there is no connection."""
    reason = first_line(error)
    if _NO_ADDRESS.search(reason):
        return SettingsError([f"DATABASE_URL: {reason}"])
    if _NOT_LET_IN.search(reason):
        return DatabaseRefused(f"The database does not let us in: {reason}", TO_BE_LET_IN)
    return DatabaseUnavailable(f"The database cannot be reached: {reason}")


def meaning_of(error: psycopg2.Error, *, lost: bool) -> OrchestratorError | None:
    """Say what the error of a statement means, `lost` that its connection is of no more use; None: a fault of ours."""
    reason = first_line(error)
    if lost:
        away = DatabaseBusy if isinstance(error, _BUSY) else DatabaseUnavailable
        return away(f"The database is not available: {reason}")
    if _is_about_the_value(error):
        return DataRefused(f"The database refused a value: {reason}")
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return DatabaseRefused(f"The database does not allow us that: {reason}", TO_BE_ALLOWED)
    return None


def is_about_the_server(error: psycopg2.Error) -> bool:
    """Say whether the server or the way there is at fault; a connection that breaks under a statement has no class.

    Not supported is a prepared statement whose tables have changed: a fresh connection prepares it anew.
    """
    of_that_kind = isinstance(
        error,
        psycopg2.OperationalError
        | psycopg2.InterfaceError
        | psycopg2.NotSupportedError
        | psycopg2.errors.ReadOnlySqlTransaction,
    )
    return (of_that_kind and not _is_about_the_value(error)) or type(error) is psycopg2.DatabaseError


def _is_about_the_value(error: psycopg2.Error) -> bool:
    """Say whether a value is at fault; class 54 is a limit of the program, such as the size of an index's row."""
    return isinstance(error, psycopg2.DataError | psycopg2.IntegrityError) or (error.pgcode or "").startswith("54")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
