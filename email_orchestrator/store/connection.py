"""Connections to PostgreSQL: one for each thread, opened when first needed and again after a loss."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from ..errors import SettingsError
from .transaction import Line, Transaction
from .trouble import DataRefused, first_line, is_about_the_server, meaning_of, no_connection

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
    # Every statement has an index to go by. A plan is made once for a connection, perhaps while a table is still empty,
    # and must not read or sort the whole of it when it has grown.
    " -c enable_seqscan=off -c enable_bitmapscan=off",
}


class Database:
    """The database behind a libpq connection string; safe to use from several threads at once.

    For who lives by writing (`writes`), one that can only be read when connecting, as a copy of another can, is as good
    as away.
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
        kept = self._kept()
        transaction = Transaction(kept or self._connect(), self._renew if kept else None, self._seconds)
        try:
            yield transaction
            transaction.commit()
        except psycopg2.Error as error:
            lost = bool(transaction.line.connection.closed) or is_about_the_server(error)
            if lost:
                everywhere = error.pgcode is None or isinstance(error, psycopg2.errors.ReadOnlySqlTransaction)
                self._lose(transaction.line, others_too=everywhere)
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
        line = getattr(self._local, "line", None)
        self._local.line = None
        if line is not None:
            with suppress(psycopg2.Error):
                line.connection.close()

    @property
    def _seconds(self) -> float | None:
        seconds: float | None = getattr(self._local, "patience", None)
        return seconds

    def _kept(self) -> Line | None:
        """Return this thread's line, when it has one that is not known to be lost."""
        kept: Line | None = getattr(self._local, "line", None)
        return kept if kept is not None and not kept.connection.closed and kept.epoch >= self._epoch else None

    def _renew(self, line: Line) -> Line:
        self._lose(line)
        return self._connect()

    def _connect(self) -> Line:
        self.close()
        epoch = self._epoch
        session: dict[str, Any] = dict(SESSION)
        if self._writes:
            # Of several servers in the address, the one that has taken over.
            session["target_session_attrs"] = "read-write"
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
        self._local.line = line = Line(fresh, epoch)
        return line

    def _lose(self, line: Line, *, others_too: bool = False) -> None:
        """Give a line up; where the server or the way there is at fault, so are all that were opened before."""
        if line.connection.closed or others_too:
            self._epoch = max(self._epoch, line.epoch + 1)
        self.close()

    def _roll_back(self, transaction: Transaction) -> None:
        if not transaction.has_begun:
            return
        try:
            with transaction.line.connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        except psycopg2.Error:
            self.close()
