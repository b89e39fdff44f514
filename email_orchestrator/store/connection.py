"""Connections to PostgreSQL: one for each thread, opened when first needed and again after a loss."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from ..errors import DatabaseRefused, DatabaseUnavailable, OrchestratorError, SettingsError
from .queries import prepared

Row = dict[str, Any]

# A lost peer is noticed within half a minute, and no statement or forgotten transaction holds others up for longer.
SESSION = {
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "options": "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
    " -c timezone=UTC -c client_min_messages=warning"
    # Every statement has an index to go by, and in its order. A plan is made once for a connection, perhaps while a
    # table is still empty, and must not read or sort the whole of it when it has grown.
    " -c enable_seqscan=off -c enable_bitmapscan=off",
}
# What libpq says when the server is there and does not take us; a server that speaks another language counts as away.
_NOT_LET_IN = re.compile(
    "authentication failed|(role|database) .+ does not exist|no pg_hba.conf entry|no password supplied"
    "|permission denied for database|not permitted to log in"
)
TO_BE_LET_IN = "Look at DATABASE_URL, or at DB_NAME, DB_USER and DB_PASSWORD."
TO_BE_ALLOWED = "Use the user who ran `email-orchestrator init-db`, or grant what `email-orchestrator check` names."
# One journey to the server for both: what is decided in a transaction nearly always needs its time.
BEGIN = "BEGIN; SELECT now()"


class DataRefused(OrchestratorError):
    """PostgreSQL will not take a value: the row it belongs to is at fault, not the connection."""


class Transaction:
    """One transaction: runs named statements, and after the commit whatever was left for then."""

    def __init__(self, cursor: psycopg2.extensions.cursor, known: set[str]) -> None:
        self._cursor = cursor
        self._known = known
        self._afterwards: list[Callable[[], None]] = []
        cursor.execute(BEGIN)
        # The moment the transaction began, by the database's clock.
        self.now: datetime = cursor.fetchall()[0][0]

    def rows(self, name: str, **values: Any) -> list[Row]:
        """Run the named statement and return its rows."""
        self._execute(name, values)
        columns = [column.name for column in self._cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in self._cursor.fetchall()]

    def row(self, name: str, **values: Any) -> Row | None:
        """Run the named statement and return its first row, or None."""
        found = self.rows(name, **values)
        return found[0] if found else None

    def run(self, name: str, **values: Any) -> int:
        """Run the named statement for its effect and return how many rows it touched."""
        self._execute(name, values)
        return int(self._cursor.rowcount)

    def script(self, statements: str) -> None:
        """Run several statements that take no values and return nothing."""
        self._cursor.execute(statements)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Have `action` called once the transaction is committed, and not at all if it is not."""
        self._afterwards.append(action)

    def commit(self) -> None:
        """Make it all true."""
        self._cursor.execute("COMMIT")

    def committed(self) -> None:
        """Do what was left for after the commit."""
        for action in self._afterwards:
            action()

    def _execute(self, name: str, values: dict[str, Any]) -> None:
        """Run the named statement, which is parsed and planned once for the connection."""
        statement = prepared(name)
        if name not in self._known:
            self._cursor.execute(statement.prepare)
            self._known.add(name)
        self._cursor.execute(statement.execute, [values[value] for value in statement.values])


class Database:
    """The database behind a libpq connection string; safe to use from several threads at once."""

    def __init__(self, dsn: str, application_name: str = "email-orchestrator") -> None:
        self._dsn = dsn
        self._application_name = application_name
        self._local = threading.local()
        # Counts the times that connections were lost: one that was opened before the last time is lost as well.
        self._epoch = 0

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction on this thread's connection; commit at the end, roll back when an error leaves the block.

        Raises DatabaseUnavailable when the server cannot be reached or is lost on the way (a lost commit may have
        happened: look again before repeating anything), its subclass DatabaseRefused when it does not let us do what we
        must, and DataRefused when a value does not fit.
        """
        connection = self._connection()
        try:
            with connection.cursor() as cursor:
                transaction = Transaction(cursor, self._local.known)
                yield transaction
                transaction.commit()
        except psycopg2.Error as error:
            if connection.closed or _is_about_the_server(error):
                self._lose(connection, error)
                raise DatabaseUnavailable(f"The database is not available: {_first_line(error)}") from error
            self._roll_back(connection)
            if _is_about_the_value(error):
                raise DataRefused(f"The database refused a value: {_first_line(error)}") from error
            if isinstance(error, psycopg2.errors.InsufficientPrivilege):
                reason = _first_line(error)
                raise DatabaseRefused(f"The database does not allow us that: {reason}", TO_BE_ALLOWED) from error
            raise
        except ValueError as error:
            self._roll_back(connection)
            if isinstance(error, UnicodeEncodeError) or "NUL" in str(error):
                raise DataRefused(f"The database refused a value: {_first_line(error)}") from error
            raise
        except BaseException:
            self._roll_back(connection)
            raise
        transaction.committed()

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with suppress(psycopg2.Error):
                connection.close()

    def _connection(self) -> psycopg2.extensions.connection:
        kept: psycopg2.extensions.connection | None = getattr(self._local, "connection", None)
        if kept is not None and not kept.closed and self._local.epoch >= self._epoch:
            return kept
        self.close()
        epoch = self._epoch
        session: dict[str, Any] = {**SESSION, "application_name": self._application_name}
        try:
            fresh: psycopg2.extensions.connection = psycopg2.connect(self._dsn, **session)
        except psycopg2.OperationalError as error:
            reason = _first_line(error)
            if _NOT_LET_IN.search(reason):
                raise DatabaseRefused(f"The database does not let us in: {reason}", TO_BE_LET_IN) from error
            raise DatabaseUnavailable(f"The database cannot be reached: {reason}") from error
        except psycopg2.ProgrammingError:
            # libpq quotes what it cannot read, and a password may be in it.
            raise SettingsError(["DATABASE_URL: cannot be read as a PostgreSQL address"]) from None
        fresh.autocommit = True  # transactions are begun and ended in our own words
        self._local.connection, self._local.epoch, self._local.known = fresh, epoch, set()
        return fresh

    def _lose(self, connection: psycopg2.extensions.connection, error: psycopg2.Error) -> None:
        if connection.closed or error.pgcode is None:
            self._epoch = max(self._epoch, self._local.epoch + 1)
        self.close()

    def _roll_back(self, connection: psycopg2.extensions.connection) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except psycopg2.Error:
            self.close()


def _is_about_the_server(error: psycopg2.Error) -> bool:
    """Say whether the server or the way there is at fault; a connection that breaks under a statement has no class.

    Not supported is a prepared statement whose tables have changed: a fresh connection prepares it anew.
    """
    of_that_kind = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError | psycopg2.NotSupportedError)
    return (of_that_kind and not _is_about_the_value(error)) or type(error) is psycopg2.DatabaseError


def _is_about_the_value(error: psycopg2.Error) -> bool:
    """Say whether a value is at fault; class 54 is a limit of the program, such as the size of an index's row."""
    return isinstance(error, psycopg2.DataError | psycopg2.IntegrityError) or (error.pgcode or "").startswith("54")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
