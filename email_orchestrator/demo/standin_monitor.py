"""A stand-in for the Email Monitor: its table, and the HTTP service over it."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg2

from .standin_http import METHOD_NOT_ALLOWED, NOT_FOUND, Answer, HttpStandIn, Request, unprocessable

EMAIL_NOT_FOUND = Answer(404, {"detail": "Email not found"})
COLUMNS = (
    "message_id, subject, from_address, to_addresses, body_text, body_html, received_at, processed_at, status,"
    " reply_draft, error_message, thread_id, in_reply_to"
)

# As the real Email Monitor creates it, column widths included.
TABLE = """
CREATE TABLE processed_emails (
    id            SERIAL PRIMARY KEY,
    message_id    VARCHAR(255) UNIQUE NOT NULL,
    subject       TEXT,
    from_address  VARCHAR(255) NOT NULL,
    to_addresses  TEXT[],
    received_at   TIMESTAMPTZ NOT NULL,
    processed_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    status        VARCHAR(50) NOT NULL DEFAULT 'pending',
    reply_draft   TEXT,
    error_message TEXT,
    thread_id     VARCHAR(255),
    in_reply_to   VARCHAR(255),
    created_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
    body_text     TEXT,
    body_html     TEXT
);
CREATE OR REPLACE FUNCTION update_processed_emails_updated_at() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER processed_emails_updated_at BEFORE UPDATE ON processed_emails
    FOR EACH ROW EXECUTE FUNCTION update_processed_emails_updated_at();
"""


class Database:
    """One connection to PostgreSQL, shared by a stand-in's threads and opened again when it was lost.

    Every statement is a transaction of its own.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = threading.Lock()
        self._connection: Any = None

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows, [] when it has none. Raises psycopg2's errors."""
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg2.connect(self._dsn)
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()


class MonitorStandIn(HttpStandIn):
    """The Email Monitor over the table `processed_emails` of the database `dsn`; its main endpoint is the list."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._database = Database(dsn)

    def stop(self) -> None:
        """Stop answering, and close the connection to the database."""
        super().stop()
        self._database.close()

    def create_table(self) -> None:
        """Create `processed_emails` as the Email Monitor does, unless the table is there."""
        if not self._database.rows("SELECT 1 WHERE to_regclass('processed_emails') IS NOT NULL"):
            self._database.rows(TABLE)

    def add_email(
        self,
        message_id: str,
        sender: str,
        subject: str | None,
        body_text: str | None,
        body_html: str | None = None,
        received_at: datetime | None = None,
        thread_id: str | None = None,
        in_reply_to: str | None = None,
    ) -> int:
        """Store an email as if it had come in (now, when no time is given); returns its row's id.

        A thread's id is the email's own when it begins the thread.
        """
        rows = self._database.rows(
            "INSERT INTO processed_emails (message_id, from_address, to_addresses, subject, body_text, body_html,"
            " received_at, thread_id, in_reply_to)"
            " VALUES (%s, %s, '{owner@example.com}', %s, %s, %s, coalesce(%s, now()), %s, %s) RETURNING id",
            (message_id, sender, subject, body_text, body_html, received_at, thread_id or message_id, in_reply_to),
        )
        return int(rows[0][0])

    def clean_up(self, days: int = 30) -> int:
        """Delete the emails received longer ago than that, as the monitor does when asked; returns how many."""
        statement = "DELETE FROM processed_emails WHERE received_at < now() - make_interval(days => %s) RETURNING id"
        return len(self._database.rows(statement, (days,)))

    def answer(self, request: Request) -> Answer:
        """Return the answer to one of the monitor's requests."""
        try:
            if request.path == "/emails/pending":
                return self._pending(request) if request.method == "GET" else METHOD_NOT_ALLOWED
            if request.path == "/health":
                return self._health()
            # The path is matched after `%2F` was decoded, so an id with a slash is never found.
            if found := re.fullmatch(r"/emails/([^/]+)", request.path):
                return self._email(found[1]) if request.method == "GET" else METHOD_NOT_ALLOWED
            if found := re.fullmatch(r"/emails/([^/]+)/status", request.path):
                return self._set_status(found[1], request) if request.method == "POST" else METHOD_NOT_ALLOWED
            return NOT_FOUND
        except psycopg2.Error:
            return Answer(500, {"detail": "Internal Server Error"})

    def _pending(self, request: Request) -> Answer:
        self.pause()
        if (scripted := self.scripted()) is not None:
            return scripted
        limits: list[int | None] = []
        for name in ("hours", "limit"):
            value = request.query.get(name)
            if value is not None and not re.fullmatch("[0-9]{1,9}", value):
                return unprocessable("query", name, message="Input should be a valid integer")
            limits.append(None if value is None else int(value))
        rows = self._database.rows(
            "SELECT message_id, processed_at FROM processed_emails WHERE status = 'pending'"
            " AND (%s::int IS NULL OR received_at >= now() - make_interval(hours => %s))"
            " ORDER BY received_at DESC LIMIT %s",
            (limits[0], limits[0], limits[1]),
        )
        emails = [
            {"message_id": message_id, "processed_at": at.isoformat(), "status": "pending", "reply_draft": None}
            for message_id, at in rows
        ]
        return Answer(body={"emails": emails, "total": len(emails)})

    def _email(self, message_id: str) -> Answer:
        rows = self._database.rows(f"SELECT {COLUMNS} FROM processed_emails WHERE message_id = %s", (message_id,))  # noqa: S608
        if not rows:
            return EMAIL_NOT_FOUND
        values = (value.isoformat() if isinstance(value, datetime) else value for value in rows[0])
        return Answer(body=dict(zip(COLUMNS.split(", "), values, strict=True)))

    def _set_status(self, message_id: str, request: Request) -> Answer:
        status = request.query.get("status")
        if status is None:
            return unprocessable("query", "status", message="Field required")
        rows = self._database.rows(
            "UPDATE processed_emails SET status = %s, error_message = coalesce(%s, error_message),"
            " reply_draft = coalesce(%s, reply_draft) WHERE message_id = %s RETURNING id",
            (status, request.query.get("error_message"), request.query.get("reply_draft"), message_id),
        )
        return Answer(body={"message_id": message_id, "status": status}) if rows else EMAIL_NOT_FOUND

    def _health(self) -> Answer:
        rows = self._database.rows("SELECT count(*), count(*) FILTER (WHERE status = 'pending') FROM processed_emails")
        emails, pending = rows[0]
        return Answer(
            body={
                "status": "healthy",
                "service": "email-monitor",
                "processed_emails": emails,
                "pending_emails": pending,
            }
        )
