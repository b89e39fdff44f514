"""What the daemon asks again and again costs the same however many workflows have finished."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection

from email_orchestrator.core.states import OUTCOME_UNKNOWN, State
from email_orchestrator.store.connection import SESSION
from email_orchestrator.store.counting import CLOSED
from email_orchestrator.store.emails import LIMITS
from email_orchestrator.store.queries import prepared

FINISHED = 100_000
# Blocks of 8 KB that a statement may look at; one that read a whole table or index would need more than 250.
FEW = 60
HISTORY = ("workflow_state", "workflow_event", "draft", "sms_outbox", "sms_inbox", "processed_emails")

FILL = f"""
INSERT INTO processed_emails (message_id, from_address, subject, received_at, thread_id, status)
SELECT format('<%s@example.com>', n), format('person-%s@example.com', n % 5000), 'Question',
       now() - interval '30 days' + n * interval '20 s', format('<%s@example.com>', n), 'sent'
  FROM generate_series(1, {FINISHED}) n;
INSERT INTO workflow_state (message_id, email_subject, email_from, thread_id, current_state, draft_revision, timeout_at,
                            user_responded_at, reply_sent_at)
SELECT message_id, subject, from_address, thread_id, 'reply_sent', 1, received_at + interval '2 days', received_at,
       received_at
  FROM processed_emails ORDER BY id;
INSERT INTO workflow_event (workflow_id, from_state, to_state, at, actor)
SELECT id, 'user_approved', 'reply_sent', reply_sent_at, 'poll' FROM workflow_state;
INSERT INTO sms_outbox (workflow_id, revision, kind, urgent, parts, parts_sent, status, sent_at)
SELECT id, 1, 'offer', false, '{{text}}', 1, 'sent', reply_sent_at FROM workflow_state;
INSERT INTO sms_inbox (message_id, phone_number, message, received_at, processed_at)
SELECT 'm' || id, '+15551234567', '1 #' || id, reply_sent_at, reply_sent_at FROM workflow_state;
"""

CLAIM = {"claim": "test/1", "lease": 120}
ASKED_AGAIN_AND_AGAIN: dict[str, dict[str, Any]] = {
    "claim_drafting": {**CLAIM, "max_awaiting": 10},
    "claim_text": {**CLAIM, "quiet": False, "urgent_from": False, "urgent_to": False, "fresh": 900},
    "claim_replying": {**CLAIM, "id": None, "at_once": False, **LIMITS},
    "claim_email_notice": CLAIM,
    "next_text": {},
    "newest_email": {},
    "overdue_reminders": {},
    "overdue_timeouts": {},
    "stranded_offers": {},
    "offered": {},
    "approved": {},
    "pending_texts": {"within": 60},
    "waits_no_more": {"written": "2999-01-01"},
    "before_approval": {
        "id": FINISHED,
        "revision": 1,
        "since": "2999-01-01",
        "offered": None,
        "unknown": OUTCOME_UNKNOWN,
    },
    "begun_texts": {"within": 3, "quiet": True, "fresh": 900},
    "replies_to_senders": {"senders": ["person-7@example.com"], "since": "2999-01-01"},
    "overtaken": {"ids": [FINISHED]},
    "states_and_changes": {
        "states": [str(state) for state in State if state not in CLOSED],
        "closed": [str(state) for state in CLOSED],
        "since": "2999-01-01",
    },
    "completed_since": {"since": "2999-01-01"},
    "event_counts": {"since": "2999-01-01", "until": None},
    "workflow_by_message_id": {"message_id": "<77@example.com>"},
}


@pytest.fixture(scope="module")
def long_history(module_dsn: str) -> Iterator[connection]:
    """A connection as the daemon opens it, to a database that many workflows have gone through."""
    session: dict[str, Any] = dict(SESSION)
    with closing(psycopg2.connect(module_dsn, **session)) as opened:
        with opened.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            # The foreign keys would be checked row by row, which takes longer than all the rest.
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(FILL)
            cursor.execute("SET session_replication_role = DEFAULT")
        opened.commit()
        vacuum(opened)
        yield opened


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", ASKED_AGAIN_AND_AGAIN)
def test_finished_workflows_cost_nothing(long_history: connection, name: str, mode: str) -> None:
    plan = explain(long_history, name, mode)

    read = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
    assert not set(read) & set(HISTORY), f"{name} reads the whole of {read}"
    assert blocks(plan) <= FEW, f"{name} looks at {blocks(plan)} blocks"


def test_a_poll_that_finds_nothing_new_looks_only_at_pending_emails(long_history: connection) -> None:
    values = {"ids": None, "since": "2000-01-01", "limit": 5}

    plan = explain(long_history, "new_ids", "force_custom_plan", **values)

    assert {node.get("Index Name") for node in nodes(plan)} >= {"idx_processed_emails_pending"}
    assert blocks(plan) <= FEW


def test_whoever_texts_answers_does_not_look_through_the_drafts_that_wait_to_be_texted(
    long_history: connection,
) -> None:
    with long_history.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sms_outbox (workflow_id, revision, kind, urgent, parts)"
            " SELECT id, 1, 'offer', false, '{text}' FROM workflow_state ORDER BY id LIMIT 5000"
        )
    values = {**CLAIM, "quiet": False, "urgent_from": True, "urgent_to": True, "fresh": 900}

    plan = explain(long_history, "claim_text", "force_generic_plan", **values)

    vacuum(long_history)  # what was taken back is still in the index, and would be looked at by the next
    assert blocks(plan) <= FEW


def vacuum(opened: connection) -> None:
    opened.autocommit = True
    with opened.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    opened.autocommit = False


def explain(opened: connection, name: str, mode: str, **values: Any) -> dict[str, Any]:
    """Run a statement, take it back, and return the plan it was run by."""
    statement = prepared(name)
    given = values or ASKED_AGAIN_AND_AGAIN[name]
    with opened.cursor() as cursor:
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        cursor.execute(statement.prepare)
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement.execute}",
            [given[value] for value in statement.values],
        )
        row = cursor.fetchone()
        cursor.execute(f"DEALLOCATE {name}")
    opened.rollback()
    assert row is not None
    plan: dict[str, Any] = (json.loads(row[0]) if isinstance(row[0], str) else row[0])[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def blocks(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.fixture(scope="module")
def module_dsn(postgres_server: str, postgres_admin: connection, database_template: str) -> Iterator[str]:
    """The DSN of a database of this module's own: it is filled once."""
    name = f"plans_{secrets.token_hex(6)}"
    with postgres_admin.cursor() as commands:
        commands.execute(f"CREATE DATABASE {name} TEMPLATE {database_template}")
        yield psycopg2.extensions.make_dsn(postgres_server, dbname=name)
        commands.execute(f"DROP DATABASE {name} WITH (FORCE)")
