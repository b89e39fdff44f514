"""A transaction: its statements, on as few journeys to the server as they need."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import psycopg2
import psycopg2.extensions

from .patience import bounded
from .queries import prepared

Row = dict[str, Any]

# A connection that was lost while it rested is found out within so many seconds; a server that lets us wait longer
# would do so again.
QUICK = 1.0


@dataclass(slots=True)
class Line:
    """A connection that a thread keeps, and the names of the statements that were prepared on it.

    `epoch` counts how often connections had been lost before it was opened.
    """

    connection: psycopg2.extensions.connection
    epoch: int
    known: set[str] = field(default_factory=set)


class Transaction:
    """One transaction: runs named statements, and after the commit the actions that were to wait for it.

    It begins with the first statement, and on the same journey; when that shows that the line was lost while it rested,
    `renew` gets another. `patience` is how many seconds from now on it may take in all, what is done between its
    statements included (None: any time).
    """

    def __init__(self, line: Line, renew: Callable[[Line], Line] | None, patience: float | None) -> None:
        self.line = line
        self.has_begun = False
        self._renew = renew
        self._until = time.monotonic() + patience if patience is not None else None
        self._cursor = line.connection.cursor()
        self._now: datetime | None = None
        self._deferred: list[bytes] = []
        self._needed: set[str] = set()
        self._afterwards: list[Callable[[], None]] = []

    @property
    def now(self) -> datetime:
        """The moment the transaction began, by the database's clock.

        A statement with a column `now` tells it along the way; otherwise the server is asked.
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
        if self._deferred and not self.has_begun:
            # Not together with the commit: what may have been committed cannot be sent again on another line.
            self._send(self._deferred.pop())
        if self.has_begun:
            self._send(b"COMMIT")

    def committed(self) -> None:
        """Do what was to wait for the commit."""
        for action in self._afterwards:
            action()

    def _ready(self, name: str, values: dict[str, Any]) -> bytes:
        """Fill in the named statement, which is parsed and planned once for the line."""
        statement = prepared(name)
        self._needed.add(name)
        filled: bytes = self._cursor.mogrify(statement.execute, [values[value] for value in statement.values])
        return filled

    def _send(self, statement: bytes) -> None:
        """Send a statement, behind the deferred ones; the answer is its own."""
        if self.has_begun:
            self._execute(b"; ".join((*self._deferred, statement)))
        else:
            self._begin(b"; ".join((b"BEGIN", *self._deferred, statement)))
        self._deferred.clear()
        self._needed.clear()

    def _begin(self, statements: bytes) -> None:
        self.has_begun = True
        asked = time.monotonic()
        try:
            self._execute(statements)
        except psycopg2.Error:
            if self._renew is None or not self.line.connection.closed or time.monotonic() - asked > QUICK:
                raise
            self.line = self._renew(self.line)
            self._cursor = self.line.connection.cursor()
            self._execute(statements)

    def _execute(self, statements: bytes) -> None:
        left = max(0.0, self._until - time.monotonic()) if self._until is not None else None
        with bounded(self.line.connection, left):
            for name in self._needed - self.line.known:
                self._cursor.execute(prepared(name).prepare)
                self.line.known.add(name)
            self._cursor.execute(statements)
