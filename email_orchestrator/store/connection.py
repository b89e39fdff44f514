"""Connections to PostgreSQL: one for each thread, opened when first needed and again after a loss."""

from __future__ import annotations

import math
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, cast

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
READ_ONLY = "SELECT current_setting('transaction_read_only')::bool"


class Transaction:
    """One transaction: runs named statements, and after the commit the actions that were to wait for it.

    It begins with the first statement, and on the same journey to the server.
    """

    def __init__(self, connection: psycopg2.extensions.connection, known: set[str]) -> None:
        self.connection = connection
        self.has_begun = False
        self._cursor = connection.cursor()
        self._known = known
        self._now: datetime | None = None
        self._deferred: list[bytes] = []
        self._afterwards: list[Callable[[], None]] = []

    @property
    def now(self) -> datetime:
        """The moment the transaction began, by the database's clock; no journey when a statement told it along the way.

        Those do that have a column `now`.
        """
        if self._now is None:
            self.rows("moment")
        return cast(datetime, self._now)

    def rows(self, name: str, **values: Any) -> list[Row]:
        """Run the named statement and return its rows."""
        self._send(self._ready(name, values))
        columns = [column.name for column in self._cursor.description or ()]
        found = [dict(zip(columns, row, strict=True)) for row in self._cursor.fetchall()]
        if found and "now" in found[0]:
            self._now = found[0]["now"]
        return found

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

    def commit_asynchronously(self) -> None:
        """Have the commit not wait for the disk: the next one that does brings it along.

        For what leaves the house only after such a commit, and is done again when it went down with the server
        (PostgreSQL manual, Asynchronous Commit).
        """
        self.defer("commit_asynchronously")

    def script(self, statements: str) -> None:
        """Run several statements that take no values and return nothing."""
        self._send(self._cursor.mogrify(statements))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Have `action` called once the transaction is committed, and not at all if it is not."""
        self._afterwards.append(action)

    def commit(self) -> None:
        """Make it all true."""
        if self.has_begun or self._deferred:
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
        beginning = () if self.has_begun else (b"BEGIN",)
        self.has_begun = True
        self._cursor.execute(b"; ".join((*beginning, *self._deferred, statement)))
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
        connection = self._kept() or self._connect()
        transaction = Transaction(connection, self._local.known)
        try:
            with bounded(connection, self._seconds):
                yield transaction
                transaction.commit()
        except psycopg2.Error as error:
            lost = bool(connection.closed) or is_about_the_server(error)
            if lost:
                self._lose(connection, error)
            else:
                self._roll_back(transaction)
            if (meaning := meaning_of(error, lost=lost)) is None:
                raise
            raise meaning from error
        except ValueError as error:
            self._roll_back(transaction)
            if isinstance(error, UnicodeEncodeError) or "NUL" in str(error):
                raise DataRefused(f"The database refused a value: {first_line(error)}") from error
            raise
        except BaseException:
            self._roll_back(transaction)
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

    def _kept(self) -> psycopg2.extensions.connection | None:
        """Return this thread's connection, when it has one that is not known to be lost."""
        kept: psycopg2.extensions.connection | None = getattr(self._local, "connection", None)
        usable = kept is not None and not kept.closed and self._local.epoch >= self._epoch and _is_silent(kept)
        return kept if usable else None

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
        if self._writes:
            self._check_writable(fresh)
        return fresh

    def _check_writable(self, fresh: psycopg2.extensions.connection) -> None:
        try:
            with bounded(fresh, self._seconds), fresh.cursor() as cursor:
                cursor.execute(READ_ONLY)
                read_only = cursor.fetchall()[0][0]
        except psycopg2.Error as error:
            self._lose(fresh, error)
            raise DatabaseUnavailable(f"The database is not available: {first_line(error)}") from error
        if read_only:
            # The next connection may lead to the one that has taken over.
            self.close()
            raise DatabaseUnavailable("The database can only be read: it is a copy of another, or was set to be so")

    def _lose(self, connection: psycopg2.extensions.connection, error: psycopg2.Error) -> None:
        if connection.closed or error.pgcode is None:
            self._epoch = max(self._epoch, self._local.epoch + 1)
        self.close()

    def _roll_back(self, transaction: Transaction) -> None:
        if not transaction.has_begun:
            return
        try:
            with transaction.connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except psycopg2.Error:
            self.close()


def _is_silent(connection: psycopg2.extensions.connection) -> bool:
    """Say whether nothing has come in on a connection that rests: a server only speaks unasked to take its leave."""
    incoming = select.poll()
    incoming.register(connection.fileno(), select.POLLIN)
    return not incoming.poll(0)
