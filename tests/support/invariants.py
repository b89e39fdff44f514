"""What must hold whatever happened, read from the database and from what the outside systems accepted."""

from __future__ import annotations

import email
import email.policy
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

from email_orchestrator.core.reply import fingerprint
from email_orchestrator.core.states import FINISHED, OUTCOME_UNKNOWN, TRANSITIONS, State
from email_orchestrator.store.workflows import EMAIL_STATUS, IN_WORK

REPLY_ID = re.compile(r"<eo\.(\d+)\.(\d+)\.\w+@")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that SMTP accepted: the one it went to, and its bytes."""

    recipient: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Books:
    """All that the database knows."""

    workflows: dict[int, dict[str, Any]]
    events: dict[int, list[dict[str, Any]]]
    emails: dict[str, str]
    drafts: dict[tuple[int, int], str]
    outbox: list[dict[str, Any]]
    inbox: list[dict[str, Any]]


def open_books(dsn: str) -> Books:
    """Read the whole database."""
    connection = psycopg2.connect(dsn, cursor_factory=RealDictCursor)
    try:
        with connection, connection.cursor() as cursor:

            def rows(statement: str) -> list[dict[str, Any]]:
                cursor.execute(statement)
                return [dict(row) for row in cursor.fetchall()]

            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            events: dict[int, list[dict[str, Any]]] = defaultdict(list)
            for event in rows("SELECT * FROM workflow_event ORDER BY id"):
                events[event["workflow_id"]].append(event)
            return Books(
                workflows={row["id"]: row for row in rows("SELECT * FROM workflow_state ORDER BY id")},
                events=events,
                emails={row["message_id"]: row["status"] for row in rows("SELECT * FROM processed_emails")},
                drafts={(row["workflow_id"], row["revision"]): row["text"] for row in rows("SELECT * FROM draft")},
                outbox=rows("SELECT * FROM sms_outbox ORDER BY id"),
                inbox=rows("SELECT * FROM sms_inbox ORDER BY id"),
            )
    finally:
        connection.close()


def broken_histories(books: Books) -> Iterator[str]:
    """Name every history that the table of transitions does not allow, that has a gap, or that ends elsewhere."""
    for number, workflow in books.workflows.items():
        before: str | None = None
        for event in books.events[number]:
            after = event["to_state"]
            if event["from_state"] != before:
                yield f"#{number}: a gap in its history, {before} then {event['from_state']} -> {after}"
            if before is None and after != State.PENDING:
                yield f"#{number}: its history begins with {after}"
            if before is not None and after not in TRANSITIONS[State(before)]:
                yield f"#{number}: {before} -> {after} is not allowed"
            before = after
        if before != workflow["current_state"]:
            yield f"#{number}: its history ends with {before}, its row says {workflow['current_state']}"


def strayed_statuses(books: Books, touched: Container[str] = ()) -> Iterator[str]:
    """Name every email whose status does not follow its workflow, but for those that somebody else touched."""
    for number, workflow in books.workflows.items():
        if workflow["message_id"] in touched:
            continue
        state, status = State(workflow["current_state"]), books.emails[workflow["message_id"]]
        if status != EMAIL_STATUS.get(state, IN_WORK):
            yield f"#{number}: is {state}, but its email's status is {status}"


def wrong_mails(books: Books, mails: Sequence[Mail]) -> Iterator[str]:
    """Name every mail that was not approved as it went out, or went out twice, and every reply that is missing."""
    by_workflow: dict[int, int] = Counter()
    ids: Counter[str] = Counter()
    for mail in mails:
        message = email.message_from_bytes(mail.content, policy=email.policy.default)
        message_id = str(message["Message-ID"])
        ids[message_id] += 1
        made = REPLY_ID.match(message_id)
        workflow = books.workflows.get(int(made[1])) if made else None
        if made is None or workflow is None:
            yield f"a mail went out that belongs to no workflow: {message_id}"
            continue
        number, revision = int(made[1]), int(made[2])
        by_workflow[number] += 1
        body = message.get_content().replace("\r\n", "\n").removesuffix("\n")
        if mail.recipient != workflow["email_from"]:
            yield f"#{number}: went to {mail.recipient}"
        if message_id != workflow["reply_message_id"]:
            yield f"#{number}: went out as {message_id}, its row says {workflow['reply_message_id']}"
        if fingerprint(mail.recipient, str(message["Subject"]), body) != workflow["approved_hash"]:
            yield f"#{number}: what went out is not what was approved"
        if body != books.drafts.get((number, revision)):
            yield f"#{number}: what went out is not draft {revision}"
        if State.USER_APPROVED not in [event["to_state"] for event in books.events[number]]:
            yield f"#{number}: went out without an approval"
    for number, count in by_workflow.items():
        if count > 1 + asked_for_again(books.events[number]):
            yield f"#{number}: {count} replies went out"
    if len(ids) > len(by_workflow):
        yield f"{len(by_workflow)} workflows replied under {len(ids)} Message-IDs"
    for number, workflow in books.workflows.items():
        if workflow["current_state"] == State.REPLY_SENT and not by_workflow[number]:
            yield f"#{number}: counts as sent, and nothing went out"


def asked_for_again(events: Sequence[dict[str, Any]]) -> int:
    """Count how often the owner had a reply of unknown outcome sent again."""
    before = [None, *events]
    return sum(
        earlier is not None
        and earlier["reason"] == OUTCOME_UNKNOWN
        and (event["from_state"], event["to_state"]) == (State.FAILED, State.USER_APPROVED)
        for earlier, event in zip(before, events, strict=False)
    )


def lost_texts(books: Books, texts: Sequence[str], repeats: int = 0, erased: Sequence[str] = ()) -> Iterator[str]:
    """Name every text that went out too often (`repeats` are forgiven), not at all, or with its parts out of order.

    `erased` are the parts of texts that the Email Monitor's clean-up took along with their workflow.
    """
    sent = Counter(texts)
    sent.subtract(erased)
    written = Counter(part for row in books.outbox if row["channel"] == "sms" for part in row["parts"])
    for text, count in sent.items():
        if count > written[text] + repeats:
            yield f"texted {count} times, written {written[text]} times: {text[:70]!r}"
    for row in books.outbox:
        if row["status"] == "queued":
            yield f"text {row['id']} still waits, {row['parts_sent']} parts out: {row['error']}"
        if row["status"] != "sent" or row["channel"] != "sms":
            continue
        went_by = iter(texts)
        if not all(part in went_by for part in row["parts"]):
            yield f"text {row['id']} counts as sent, and its parts were not, or not in order: {row['parts'][0][:70]!r}"


def unfinished(books: Books) -> Iterator[str]:
    """Name everything that has no end: emails, answers, leases."""
    for message_id, status in books.emails.items():
        if status in ("pending", IN_WORK):
            yield f"{message_id}: its email's status is {status}"
    for number, workflow in books.workflows.items():
        if State(workflow["current_state"]) not in FINISHED:
            yield f"#{number}: stands at {workflow['current_state']} ({workflow['error_message']})"
        if workflow["claimed_by"] is not None:
            yield f"#{number}: is still leased"
    for text in books.inbox:
        if text["processed_at"] is None:
            yield f"the owner's text {text['message']!r} was never acted on"
        elif text["attempts"]:
            yield f"the owner's text {text['message']!r} made us stumble"


def all_problems(books: Books, mails: Sequence[Mail], texts: Sequence[str], repeats: int = 0) -> list[str]:
    """List all that is wrong once everything has come to rest."""
    return [
        *broken_histories(books),
        *strayed_statuses(books),
        *wrong_mails(books, mails),
        *lost_texts(books, texts, repeats),
        *unfinished(books),
    ]
