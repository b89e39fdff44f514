"""Connections to PostgreSQL: one for each thread, opened when first needed and again after a loss."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg2
import psycopg2.extensions

from ..errors import DatabaseUnavailable, SettingsError
from .patience import bounded
from .queries import prepared
from .trouble import DataRefused, first_line, is_about_the_server, meaning_of, no_connection

Row = dict[str, Any]

# A lost peer is noticed within half a minute, and no statement or forgotten transaction holds others up for longer.
CONNECT_TIMEOUT = 5
SESSION = {
    "connect_timeout": str(CONNECT_TIMEOUT),
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "email-orchestrator",
    "options": "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"
    " -c timezone=UTC -c client_min_messages=warning"
    # Every statement has an index to go by, and in its order. A plan is made once for a connection, perhaps while a
    # table is still empty, and must not read or sort the whole of it when it has grown.
    " -c enable_seqscan=off -c enable_bitmapscan=off",
}
# A connection that was lost while it rested is found out within so many seconds.
QUICK = 1.0
# One journey to the server for all: what is decided in a transaction nearly always needs its time.
BEGIN = "BEGIN; SELECT now(), current_setting('transaction_read_only')::bool"


class Transaction:
    """One transaction: runs named statements, and after the commit the actions that were to wait for it."""

    def __init__(self, connection: psycopg2.extensions.connection, known: set[str]) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._known = known
        self._deferred: list[bytes] = []
        self._afterwards: list[Callable[[], None]] = []
        self._cursor.execute(BEGIN)
        # The moment the transaction began, by the database's clock.
        self.now: datetime
        self.read_only: bool
        self.now, self.read_only = self._cursor.fetchall()[0]

    def rows(self, name: str, **values: Any) -> list[Row]:
        """Run the named statement and return its rows."""
        self._send(self._ready(name, values))
        columns = [column.name for column in self._cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in self._cursor.fetchall()]

    def row(self, name: str, **values: Any) -> Row | None:
        """Run the named statement and return its first row, or None."""
        found = self.rows(name, **values)
        return found[0] if found else None

    def run(self, name: str, **values: Any) -> int:
        """Run the named statement for its effect and return how many rows it touched."""
        self._send(self._ready(name, values))
        return int(self._cursor.rowcount)

    def defer(self, name: str, **values: Any) -> None:
        """Have the named statement run for its effect, in its turn, and save it a journey of its own to the server.

        It is sent with the next statement, or with the commit; whichever it is raises when this one fails.
        """
        self._deferred.append(self._ready(name, values))

    def script(self, statements: str) -> None:
        """Run several statements that take no values and return nothing."""
        self._send(self._cursor.mogrify(statements))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Have `action` called once the transaction is committed, and not at all if it is not."""
        self._afterwards.append(action)

    def commit(self) -> None:
        """Make it all true."""
        self._send(b"COMMIT")

    def committed(self) -> None:
        """Do what was to wait for the commit."""
        for action in self._afterwards:
            action()

    def _ready(self, name: str, values: dict[str, Any]) -> bytes:
        """Fill in the named statement, which is parsed and planned once for the connection."""
        statement = prepared(name)
        if name not in self._known:
            self._cursor.execute(statement.prepare)
            self._known.add(name)
        filled: bytes = self._cursor.mogrify(statement.execute, [values[value] for value in statement.values])
        return filled

    def _send(self, statement: bytes) -> None:
        """Send a statement, behind the deferred ones; the answer is its own."""
        self._cursor.execute(b"; ".join((*self._deferred, statement)))
        self._deferred.clear()


class Database:
    """The database behind a libpq connection string; safe to use from several threads at once.

    For who lives by writing (`writes`), one that can only be read, as a copy of another can, is as good as away.
    """

    def __init__(self, dsn: str, *, writes: bool = False) -> None:
        self._dsn = dsn
        self._writes = writes
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
        transaction = self._begin()
        connection = transaction.connection
        try:
            with bounded(connection, self._seconds):
                yield transaction
                transaction.commit()
        except psycopg2.Error as error:
            lost = bool(connection.closed) or is_about_the_server(error)
            if lost:
                self._lose(connection, error)
            else:
                self._roll_back(connection)
            if (meaning := meaning_of(error, lost=lost)) is None:
                raise
            raise meaning from error
        except ValueError as error:
            self._roll_back(connection)
            if isinstance(error, UnicodeEncodeError) or "NUL" in str(error):
                raise DataRefused(f"The database refused a value: {first_line(error)}") from error
            raise
        except BaseException:
            self._roll_back(connection)
            raise
        transaction.committed()

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Within the block, on this thread, take a server that says nothing for so many seconds for one that is away.

        For those who have to answer somebody themselves, in time.
        """
        before, self._local.patience = self._seconds, seconds
        try:
            yield
        finally:
            self._local.patience = before

    def close(self) -> None:
        """Close this thread's connection, if it has one."""
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with suppress(psycopg2.Error):
                connection.close()

    @property
    def _seconds(self) -> float | None:
        seconds: float | None = getattr(self._local, "patience", None)
        return seconds

    def _begin(self) -> Transaction:
        """Begin a transaction; a connection that was lost while it rested is found out now, and a fresh one tried."""
        asked = time.monotonic()
        kept = self._kept()
        if kept is not None:
            try:
                return self._begin_on(kept)
            except DatabaseUnavailable:
                # A server that let us wait would do so again.
                if time.monotonic() - asked > QUICK:
                    raise
        return self._begin_on(self._connect())

    def _begin_on(self, connection: psycopg2.extensions.connection) -> Transaction:
        try:
            with bounded(connection, self._seconds):
                transaction = Transaction(connection, self._local.known)
        except psycopg2.Error as error:
            self._lose(connection, error)
            raise DatabaseUnavailable(f"The database is not available: {first_line(error)}") from error
        except BaseException:
            self.close()
            raise
        if self._writes and transaction.read_only:
            # The next connection may lead to the one that has taken over.
            self.close()
            raise DatabaseUnavailable("The database can only be read: it is a copy of another, or was set to be so")
        return transaction

    def _kept(self) -> psycopg2.extensions.connection | None:
        """Return this thread's connection, when it has one that is not known to be lost."""
        kept: psycopg2.extensions.connection | None = getattr(self._local, "connection", None)
        return kept if kept is not None and not kept.closed and self._local.epoch >= self._epoch else None

    def _connect(self) -> psycopg2.extensions.connection:
        self.close()
        epoch = self._epoch
        session: dict[str, Any] = dict(SESSION)
        if self._seconds is not None:
            # Whole seconds, and two at least, says libpq.
            session["connect_timeout"] = str(max(2, math.ceil(min(self._seconds, CONNECT_TIMEOUT))))
        try:
            fresh: psycopg2.extensions.connection = psycopg2.connect(self._dsn, **session)
        except psycopg2.OperationalError as error:
            raise no_connection(error) from error
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
