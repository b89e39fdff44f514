"""The schema: whatever the database held before, `init-db` brings it to the same state and loses nothing."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from psycopg2.extensions import connection, make_dsn

from email_orchestrator.core.states import FINISHED, OCCUPIED, State, may_follow
from email_orchestrator.demo.standin_monitor import TABLE
from email_orchestrator.errors import DatabaseRefused, DatabaseUnavailable, SchemaMismatch
from email_orchestrator.store import queries, schema, standing, workflows
from email_orchestrator.store.connection import Database
from email_orchestrator.workflow import upkeep

if TYPE_CHECKING:
    from .conftest import Belt

SCHEMA = Path(schema.__file__).with_name("schema.sql")
# The table as the first design had it: narrow columns, times in UTC without a zone, no cascade.
FIRST_DESIGN = """
CREATE TABLE workflow_state (
    id SERIAL PRIMARY KEY,
    message_id VARCHAR(255) UNIQUE NOT NULL REFERENCES processed_emails (message_id),
    email_subject VARCHAR(500),
    email_from VARCHAR(255),
    email_body_preview TEXT,
    current_state VARCHAR(50) NOT NULL,
    previous_state VARCHAR(50),
    ai_reply_text TEXT,
    ai_reply_generated_at TIMESTAMP,
    sms_message_id VARCHAR(100),
    sms_sent_at TIMESTAMP,
    sms_phone_number VARCHAR(20),
    user_command VARCHAR(20),
    user_edit_instructions TEXT,
    user_responded_at TIMESTAMP,
    edit_iteration INTEGER DEFAULT 0,
    reply_sent_at TIMESTAMP,
    reply_message_id VARCHAR(255),
    error_message TEXT,
    retry_count INTEGER DEFAULT 0,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    timeout_at TIMESTAMP
);
CREATE INDEX idx_workflow_state ON workflow_state (current_state);
CREATE INDEX idx_workflow_timeout ON workflow_state (timeout_at);
"""
# What version 1 was in its time: the file it ended with, and what was otherwise before that, newest change first.
VERSION_1_FILE = Path(__file__).parent / "schemas" / "1.sql"
NONE_OVERTAKEN = "DROP INDEX idx_workflow_supersedes;"
EVENTS_APART = f"""
{NONE_OVERTAKEN}
ALTER TABLE workflow_event DROP CONSTRAINT workflow_event_pkey, ADD PRIMARY KEY (id);
CREATE INDEX idx_workflow_event_workflow ON workflow_event (workflow_id, id);
ALTER TABLE workflow_state RESET (fillfactor);
ALTER TABLE sms_outbox RESET (fillfactor);
"""
BY_ADDRESS = (
    EVENTS_APART
    + """
DROP INDEX idx_workflow_open_thread, idx_workflow_replied;
CREATE INDEX idx_workflow_open_thread ON workflow_state (email_from, thread_id)
    WHERE current_state IN ('pending', 'ai_generating', 'ai_generated', 'sms_sending', 'sms_sent', 'awaiting_user',
                            'user_edit_requested');
CREATE INDEX idx_workflow_replied ON workflow_state (email_from, reply_sent_at) WHERE reply_sent_at IS NOT NULL;
"""
)
IN_NO_ORDER = (
    BY_ADDRESS
    + """
DROP INDEX idx_workflow_drafting, idx_workflow_replying, idx_sms_outbox_queued, idx_sms_outbox_begun;
CREATE INDEX idx_workflow_drafting ON workflow_state (id)
    WHERE current_state IN ('pending', 'user_edit_requested', 'ai_generating');
CREATE INDEX idx_workflow_replying ON workflow_state (id) WHERE current_state = 'user_approved';
CREATE INDEX idx_sms_outbox_queued ON sms_outbox (id) WHERE status = 'queued';
"""
)
NOTHING_CLEARED = IN_NO_ORDER + "ALTER TABLE workflow_state DROP COLUMN texts_cleared_at;"
VERSION_1 = {
    "version 1": "",
    "version 1, none overtaken": NONE_OVERTAKEN,
    "version 1, its events apart": EVENTS_APART,
    "version 1, senders by address": BY_ADDRESS,
    "version 1, work in no order": IN_NO_ORDER,
    "version 1, no text cleared": NOTHING_CLEARED,
}
ONE_INDEX_MORE = """
CREATE INDEX idx_workflow_replying ON workflow_state (user_responded_at, id) WHERE current_state = 'user_approved';
"""
COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""
INDEXES = "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
CONSTRAINTS = (
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid <> 0"
)
OPTIONS = "SELECT relname, reloptions::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
TRIGGERS = "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal"


@pytest.fixture
def bare(postgres_server: str, postgres_admin: connection) -> Iterator[str]:
    """The DSN of an empty database."""
    name = f"bare_{secrets.token_hex(6)}"
    with postgres_admin.cursor() as commands:
        commands.execute(f"CREATE DATABASE {name}")
        yield make_dsn(postgres_server, dbname=name)
        commands.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(dsn: str, statements: str, *values: object, zone: str = "UTC") -> list[tuple[Any, ...]]:
    """Run statements as another program would, in a session of the given time zone."""
    with closing(psycopg2.connect(dsn, options=f"-c timezone={zone}")) as made, made, made.cursor() as cursor:
        cursor.execute(statements, values or None)
        return cursor.fetchall() if cursor.description else []


def apply(dsn: str) -> int:
    database = Database(dsn)
    try:
        return schema.apply(database)
    finally:
        database.close()


def check(dsn: str) -> None:
    database = Database(dsn)
    try:
        schema.check(database)
    finally:
        database.close()


def picture(dsn: str, *, of_the_monitor: bool = False) -> list[tuple[Any, ...]]:
    """Everything about our tables that matters, or about the Email Monitor's, in no particular order of columns."""
    found = [row for query in (COLUMNS, INDEXES, CONSTRAINTS, OPTIONS, TRIGGERS) for row in run(dsn, query)]
    return sorted((row for row in found if (row[0] == "processed_emails") == of_the_monitor), key=repr)


def prepare(dsn: str, origin: str) -> None:
    if origin in ("monitor first", "first design"):
        run(dsn, TABLE)
    if origin == "first design":
        run(dsn, FIRST_DESIGN)
    if origin in ("applied before", "one index more"):
        apply(dsn)
    if origin == "one index more":
        run(dsn, ONE_INDEX_MORE)
    if origin in VERSION_1:
        run(dsn, VERSION_1_FILE.read_text(encoding="utf-8") + VERSION_1[origin])


# Whatever was there before -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["empty", "monitor first", "first design", *VERSION_1, "one index more", "applied before"]
)
def test_every_database_comes_to_the_same_schema(bare: str, dsn: str, origin: str) -> None:
    prepare(bare, origin)
    apply(bare)
    assert picture(bare) == picture(dsn)
    assert apply(bare) == schema.VERSION
    assert picture(bare) == picture(dsn)
    check(bare)


def test_the_emails_of_the_email_monitor_are_never_altered(bare: str) -> None:
    run(bare, TABLE)
    before = picture(bare, of_the_monitor=True)
    apply(bare)
    apply(bare)
    assert picture(bare, of_the_monitor=True) == before


def test_the_emails_table_we_create_is_the_one_the_email_monitor_creates(bare: str, dsn: str) -> None:
    run(bare, TABLE)
    ours, theirs = (
        run(name, COLUMNS + " AND c.relname = 'processed_emails' ORDER BY a.attnum") for name in (dsn, bare)
    )
    assert ours == theirs
    run(
        dsn,
        "INSERT INTO processed_emails (message_id, from_address, received_at, updated_at)"
        " VALUES ('', '', now(), '-infinity')",
    )
    run(dsn, "UPDATE processed_emails SET status = 'sent'")
    assert run(dsn, "SELECT updated_at > now() - interval '1 min' FROM processed_emails") == [(True,)]


def test_a_table_dropped_by_hand_comes_back(bare: str) -> None:
    apply(bare)
    run(bare, "DROP TABLE processed_emails CASCADE; DROP TABLE workflow_state CASCADE")
    apply(bare)
    assert run(bare, "SELECT count(*) FROM processed_emails, workflow_state") == [(0,)]


def test_the_file_can_be_applied_by_any_client_of_postgresql(bare: str) -> None:
    for _ in range(2):
        with closing(psycopg2.connect(bare)) as made:
            made.autocommit = True
            made.cursor().execute(SCHEMA.read_text(encoding="utf-8"))
    check(bare)


@pytest.mark.parametrize("origin", ["empty", "monitor first", "first design", "version 1, no text cleared"])
def test_two_at_the_same_time_both_succeed(bare: str, origin: str) -> None:
    prepare(bare, origin)
    together = threading.Barrier(4)

    def apply_at_once() -> int:
        together.wait()
        return apply(bare)

    with ThreadPoolExecutor(4) as threads:
        versions = [future.result() for future in [threads.submit(apply_at_once) for _ in range(4)]]
    assert set(versions) <= {0, 1, schema.VERSION}
    assert run(bare, "SELECT max(version) FROM schema_version") == [(schema.VERSION,)]


def test_work_goes_on_while_it_is_applied_again(belt: Belt) -> None:
    workflow = belt.offered()
    apply(belt.dsn)
    belt.answer("1")
    assert belt.state(workflow.id) is State.REPLY_SENT


def holding(dsn: str) -> AbstractContextManager[connection]:
    """A program that reads all our tables in one long transaction, as a backup does."""
    made = psycopg2.connect(dsn)
    made.cursor().execute("SELECT count(*) FROM workflow_state, sms_outbox, workflow_event")
    return closing(made)


def test_a_backup_that_runs_is_waited_for_and_nobody_is_held_up_by_the_wait(belt: Belt) -> None:
    workflow = belt.offered()
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    with ThreadPoolExecutor(1) as threads:
        with holding(belt.dsn):
            applied = threads.submit(apply, belt.dsn)
            while run(belt.dsn, waiting) == [(0,)]:
                assert not applied.done()
            # The step gives up a lock after 5 s, and would do so behind a change that waits longer.
            belt.answer("1")
            assert belt.state(workflow.id) is State.REPLY_SENT
        assert applied.result() == schema.VERSION


def test_a_database_that_stays_busy_is_left_for_later(belt: Belt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "PATIENCE", 0.0)
    with holding(belt.dsn), pytest.raises(DatabaseUnavailable, match="a backup perhaps, have held its tables"):
        apply(belt.dsn)


def test_a_daemons_work_goes_on_while_a_newer_program_changes_its_tables(belt: Belt) -> None:
    """Between a newer program's `init-db` and the restart the old daemon has its statements already prepared."""
    workflow = belt.offered()
    belt.sql("ALTER TABLE workflow_state ADD COLUMN of_tomorrow TEXT")
    belt.text("1")
    with pytest.raises(DatabaseUnavailable):
        belt.work()
    belt.work()
    assert belt.state(workflow.id) is State.REPLY_SENT
    assert len(belt.mailer.mails) == 1


# Versions ----------------------------------------------------------------------------------------------------------


def test_a_database_that_was_not_prepared_is_told_with_the_command_that_helps(bare: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"^The database is not prepared yet: run `email-orchestrator init-db`\.$"):
        check(bare)


def test_a_database_of_a_newer_program_is_refused_and_left_as_it_is(bare: str) -> None:
    apply(bare)
    run(bare, "INSERT INTO schema_version (version) VALUES (%s)", schema.VERSION + 1)
    run(bare, "DROP TABLE sms_outbox")
    expected = rf"schema version {schema.VERSION + 1}, newer than this program's {schema.VERSION}: install the newer"
    for refused in (apply, check):
        with pytest.raises(SchemaMismatch, match=expected):
            refused(bare)
    assert run(bare, "SELECT to_regclass('sms_outbox')") == [(None,)]


def test_a_database_of_an_older_program_is_told_with_the_command_that_helps(bare: str) -> None:
    prepare(bare, "version 1")
    with pytest.raises(
        SchemaMismatch, match=r"at version 1, this program needs \d+: run `email-orchestrator init-db`\.$"
    ):
        check(bare)


def test_a_change_of_the_structure_raises_the_version(dsn: str) -> None:
    """Where it does not yet: raise VERSION, keep the file as it was in `schemas`, and let the new one upgrade it.

    An index that only makes something quicker may come and go without: what it lacks makes no program wrong.
    """
    unique = f"{INDEXES} AND indexdef LIKE 'CREATE UNIQUE%'"
    structure = repr(sorted(row for query in (COLUMNS, unique) for row in run(dsn, query)))
    assert (schema.VERSION, hashlib.sha256(structure.encode()).hexdigest()[:16]) == (2, "98243cbe3c460140")


@pytest.mark.parametrize("origin", ["version 1", "version 1, no text cleared"])  # the newest and the oldest of them
def test_the_rows_of_version_1_stay_and_go_on(bare: str, origin: str) -> None:
    from .conftest import Belt as NewBelt

    prepare(bare, origin)
    for state in State:
        fill(bare, state)
    tables = [name for name in OUR_TABLES if name != "schema_version"]
    before = {name: run(bare, f"SELECT to_jsonb(t) - 'texts_cleared_at' FROM {name} t ORDER BY 1") for name in tables}
    apply(bare)
    assert before == {
        name: run(bare, f"SELECT to_jsonb(t) - 'texts_cleared_at' FROM {name} t ORDER BY 1") for name in tables
    }
    belt = NewBelt(bare)
    try:
        [(number,)] = run(bare, "SELECT id FROM workflow_state WHERE current_state = 'awaiting_user'")
        belt.answer(f"1 #{number}")
        assert belt.state(number) is State.REPLY_SENT
    finally:
        belt.database.close()


def fill(dsn: str, state: State) -> None:
    """Put a workflow of version 1 in some state into the database, with a row in every table."""
    email = {"message_id": f"<{state}@example.com>", "from_address": "a@example.com", "received_at": hours_ago(3)}
    insert(dsn, "processed_emails", email | {"status": workflows.EMAIL_STATUS.get(state, workflows.IN_WORK)})
    row = {"message_id": email["message_id"], "current_state": str(state), "email_from": "a@example.com"}
    draft = {"ai_reply_text": "The draft.", "draft_revision": 1}
    texted = {"offered_at": hours_ago(2), "timeout_at": hours_ago(-46)}
    number = insert(dsn, "workflow_state", row | draft | texted)
    run(dsn, "INSERT INTO draft (workflow_id, revision, text) VALUES (%s, 1, 'The draft.')", number)
    for to_state in State:
        insert(dsn, "workflow_event", {"workflow_id": number, "to_state": str(to_state), "actor": "poll"})
    said = {"workflow_id": number, "kind": "offer", "urgent": False, "parts": ["one", "two"], "status": "sent"}
    insert(dsn, "sms_outbox", said)
    heard = {"message_id": f"i{number}", "phone_number": "+15551234567", "message": f"2 {state}"}
    insert(dsn, "sms_inbox", heard | {"received_at": hours_ago(1), "processed_at": hours_ago(1)})
    run(dsn, "INSERT INTO service_state (key, value) VALUES (%s, '{}')", str(state))


# Real mail ---------------------------------------------------------------------------------------------------------


def test_no_column_of_ours_is_too_narrow_for_real_mail(dsn: str) -> None:
    narrow = [
        row for row in run(dsn, COLUMNS) if "character varying" in row[2] or row[2] == "timestamp without time zone"
    ]
    assert {row[0] for row in narrow} == {"processed_emails"}


def test_the_email_monitor_can_delete_old_emails_with_all_that_belongs_to_them(belt: Belt) -> None:
    workflow = belt.offered()
    belt.answer("2 shorter")
    belt.answer("1")
    belt.sql("DELETE FROM processed_emails")
    tables = ("workflow_state", "workflow_event", "draft")
    assert [belt.sql(f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * 3
    assert belt.sql("SELECT count(*) FROM sms_outbox WHERE workflow_id = %s", workflow.id) == [(0,)]


# Names in Python and in SQL ----------------------------------------------------------------------------------------


def indexed_states(dsn: str, index: str) -> set[State]:
    [(definition,)] = run(dsn, "SELECT indexdef FROM pg_indexes WHERE indexname = %s", index)
    return {State(name) for name in re.findall(r"'(\w+)'", definition)}


def test_the_partial_indexes_name_the_states_that_their_steps_look_for(dsn: str) -> None:
    open_states = {state for state in State if may_follow(state, State.USER_IGNORED)} - FINISHED
    to_draft = {state for state in State if may_follow(state, State.AI_GENERATING)} - FINISHED
    assert indexed_states(dsn, "idx_workflow_drafting") == to_draft | {State.AI_GENERATING}
    assert indexed_states(dsn, "idx_workflow_open_thread") == open_states
    assert indexed_states(dsn, "idx_workflow_waiting") == {State.AWAITING_USER}


def test_a_new_draft_waits_for_those_that_the_forecast_counts() -> None:
    counted = re.search(r"o\.current_state IN \(([^)]*)\)", queries.queries()["claim_drafting"])
    assert counted
    assert re.findall(r"'(\w+)'", counted[1]) == [str(state) for state in OCCUPIED]


def test_every_state_that_sql_names_is_one_of_the_programs(dsn: str) -> None:
    statements = [SCHEMA.read_text(encoding="utf-8"), *queries.queries().values()]
    compared = r"(?:current_state|previous_state|to_state|from_state)\s*(?:=|<>|(?:NOT )?IN)\s*(\([^()]*\)|'\w+')"
    named = {
        name for text in statements for group in re.findall(compared, text) for name in re.findall(r"'(\w+)'", group)
    }
    assert named
    assert named <= {str(state) for state in State}


# Roles -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def roles(postgres_admin: connection, bare: str) -> Iterator[str]:
    """The roles that share a real database, and an empty database on their server."""
    made = []
    with postgres_admin.cursor() as commands:
        for role in ("readwrite", "readonly"):
            commands.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
            if not commands.rowcount:
                commands.execute(f"CREATE ROLE {role}")
                made.append(role)
    yield bare
    with closing(psycopg2.connect(bare)) as inside, inside, inside.cursor() as commands:
        for role in made:
            commands.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def as_role(dsn: str, role: str, statements: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(dsn, options=f"-c role={role}")) as made, made, made.cursor() as cursor:
        cursor.execute(statements)
        return cursor.fetchall() if cursor.description else []


def apply_as(dsn: str, role: str) -> int:
    """Run `init-db` as a user who has the rights of that role, and no others."""
    user = f"{role}_{secrets.token_hex(4)}"
    run(dsn, f"CREATE ROLE {user} LOGIN IN ROLE {role}")
    try:
        return apply(make_dsn(dsn, user=user))
    finally:
        run(dsn, f"DROP ROLE {user}")


OUR_TABLES = (
    "workflow_state",
    "workflow_event",
    "draft",
    "sms_inbox",
    "sms_outbox",
    "service_state",
    "schema_version",
    "processed_emails",
)
INSERT_EMAIL = "INSERT INTO processed_emails (message_id, from_address, received_at) VALUES ('<a>', 'a@b.org', now());"
INSERT_WORKFLOW = "INSERT INTO workflow_state (message_id, current_state) VALUES ('<a>', 'pending') RETURNING id"


@pytest.mark.parametrize("applied_before", [False, True])
def test_readwrite_may_work_and_readonly_may_look(roles: str, applied_before: bool) -> None:
    if applied_before:
        run(roles, TABLE)
        run(roles, "GRANT ALL ON processed_emails, processed_emails_id_seq TO readwrite")
        run(roles, "GRANT SELECT ON processed_emails TO readonly")
        apply(roles)
    apply(roles)
    assert as_role(roles, "readwrite", INSERT_EMAIL + INSERT_WORKFLOW) == [(1,)]
    for table in OUR_TABLES:
        as_role(roles, "readwrite", f"DELETE FROM {table}; SELECT * FROM {table}")
        as_role(roles, "readonly", f"SELECT * FROM {table}")
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            as_role(roles, "readonly", f"DELETE FROM {table}")


def test_readwrite_can_prepare_the_database_itself(roles: str) -> None:
    run(roles, "GRANT CREATE, USAGE ON SCHEMA public TO readwrite")
    as_role(roles, "readwrite", TABLE)
    for _ in range(2):
        as_role(roles, "readwrite", SCHEMA.read_text(encoding="utf-8"))
    check(roles)


def test_a_user_who_may_not_prepare_the_database_is_told_who_may(roles: str) -> None:
    """PostgreSQL 15 lets nobody but the owner create tables; tables that others own nobody else may change."""
    run(roles, "REVOKE CREATE ON SCHEMA public FROM PUBLIC, readwrite")
    told = r"^The database does not allow us that: .+\. Use the owner of the tables \(.+\), or grant"
    with pytest.raises(DatabaseRefused, match=told):
        apply_as(roles, "readwrite")
    prepare(roles, "version 1")
    before = picture(roles)
    with pytest.raises(DatabaseRefused, match=told):
        apply_as(roles, "readwrite")
    assert picture(roles) == before


def test_a_user_who_owns_nothing_need_not_prepare_what_is_prepared(roles: str) -> None:
    apply(roles)
    assert apply_as(roles, "readwrite") == schema.VERSION


def test_roles_that_came_later_get_their_grants_at_the_next_time(bare: str, request: pytest.FixtureRequest) -> None:
    apply(bare)
    request.getfixturevalue("roles")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        as_role(bare, "readonly", "SELECT * FROM workflow_state")
    apply(bare)
    assert as_role(bare, "readonly", "SELECT * FROM workflow_state") == []


# The first design --------------------------------------------------------------------------------------------------

NOW = datetime.now(UTC).replace(microsecond=0)


def hours_ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None)


def old_row(dsn: str, state: str, **columns: Any) -> int:
    """Put a workflow of the first design into the database, with its email; returns its number."""
    name = secrets.token_hex(4)
    email: dict[str, Any] = {
        "message_id": f"<{name}@example.com>",
        "from_address": f"{name}@example.com",
        "subject": f"Subject {name}",
        "thread_id": f"<thread-{name}@example.com>",
        "body_text": "Hello",
        "received_at": hours_ago(30),
    }
    insert(dsn, "processed_emails", email)
    row = {
        "message_id": email["message_id"],
        "email_subject": email["subject"],
        "email_from": email["from_address"],
        "current_state": str(state),
        "created_at": naive(hours_ago(29)),
        "updated_at": naive(hours_ago(28)),
    }
    return insert(dsn, "workflow_state", row | columns)


def insert(dsn: str, table: str, row: dict[str, Any]) -> int:
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    # A session in another zone, as the first design's may have been: its naive times were UTC all the same.
    [(number,)] = run(
        dsn, f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id", *row.values(), zone="Asia/Tokyo"
    )
    return int(number)


DRAFTED = {"ai_reply_text": "The old draft.", "ai_reply_generated_at": naive(hours_ago(28.5))}
TEXTED = DRAFTED | {"sms_message_id": "G1", "sms_sent_at": naive(hours_ago(20)), "sms_phone_number": "+15551234567"}


@pytest.fixture
def first_design(bare: str) -> str:
    """The DSN of a database of the first design."""
    prepare(bare, "first design")
    return bare


@pytest.fixture
def upgraded(first_design: str) -> Iterator[Any]:
    """Call it to upgrade the database of the first design; returns a belt on it."""
    from .conftest import Belt as NewBelt

    belts = []

    def upgrade() -> Belt:
        apply(first_design)
        belts.append(NewBelt(first_design))
        return belts[0]

    yield upgrade
    for belt in belts:
        belt.database.close()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_the_rows_of_the_first_design_stay_with_every_time_at_its_instant(first_design: str, zone: str) -> None:
    times = {
        name: hours_ago(number)
        for number, name in enumerate(
            (
                "ai_reply_generated_at",
                "sms_sent_at",
                "user_responded_at",
                "reply_sent_at",
                "created_at",
                "updated_at",
                "timeout_at",
            )
        )
    }
    kept = {
        "email_subject": "S" * 500,
        "email_from": "jo@example.com",
        "email_body_preview": "A preview",
        "previous_state": "user_approved",
        "ai_reply_text": "The draft.",
        "sms_message_id": "G1",
        "sms_phone_number": "+15551234567",
        "user_command": "approve",
        "user_edit_instructions": "shorter",
        "edit_iteration": 1,
        "reply_message_id": "<r@example.com>",
        "error_message": None,
    }
    number = old_row(first_design, State.REPLY_SENT, **kept, **{name: naive(at) for name, at in times.items()})
    run(first_design, SCHEMA.read_text(encoding="utf-8"), zone=zone)
    expected = kept | times | {"id": number, "current_state": "reply_sent"}
    found = run(first_design, f"SELECT {', '.join(expected)} FROM workflow_state")
    assert found == [tuple(expected.values())]


def test_every_row_can_be_read_whatever_state_it_was_left_in(first_design: str, upgraded: Any) -> None:
    numbers = [old_row(first_design, state, **columns) for state in State for columns in ({}, DRAFTED, TEXTED)]
    bare_row = {"email_subject": None, "email_from": None, "created_at": None, "updated_at": None, "retry_count": None}
    numbers.append(old_row(first_design, State.PENDING, **bare_row, edit_iteration=None))
    belt = upgraded()
    with belt.database.transaction() as tx:
        found = standing.listed(tx, None, 100)
    assert sorted(workflow.id for workflow in found) == numbers
    assert all(workflow.thread_id and workflow.sender and workflow.subject for workflow in found)
    assert all(workflow.created_at and workflow.updated_at for workflow in found)


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        (State.PENDING, {}),
        (State.AI_GENERATING, {"previous_state": "pending"}),
        (State.AI_GENERATED, {}),
        (State.FAILED, {"previous_state": "ai_generating", "retry_count": 3}),
        (State.FAILED, {"previous_state": None}),
    ],
)
def test_a_row_without_a_draft_gets_one(
    first_design: str, upgraded: Any, state: State, columns: dict[str, Any]
) -> None:
    number = old_row(first_design, state, **columns)
    belt = upgraded()
    if state is State.FAILED:
        assert belt.answer(f"retry #{number}") != []
    belt.work()
    assert (belt.state(number), belt.workflow(number).draft_text) == (State.AWAITING_USER, "Draft number 1.")
    belt.answer(f"1 #{number}")
    assert belt.state(number) is State.REPLY_SENT
    assert belt.email_status(belt.workflow(number).message_id) == "sent"


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        (State.AI_GENERATED, DRAFTED),
        (State.AI_GENERATING, DRAFTED | {"previous_state": "pending"}),
        (State.SMS_SENDING, DRAFTED),
        (State.SMS_SENT, TEXTED),
        (State.USER_APPROVED, TEXTED | {"user_command": "1", "user_responded_at": naive(hours_ago(19))}),
        (State.FAILED, TEXTED | {"previous_state": "user_approved"}),
        (State.FAILED, DRAFTED | {"previous_state": "sms_sending", "retry_count": 3}),
        (State.FAILED, TEXTED | {"previous_state": None}),
        (State.FAILED, TEXTED | {"previous_state": "awaiting_user"}),
    ],
)
def test_a_draft_that_was_not_surely_seen_or_not_surely_approved_is_offered_anew(
    first_design: str, upgraded: Any, state: State, columns: dict[str, Any]
) -> None:
    number = old_row(first_design, state, **columns)
    belt = upgraded()
    if state is State.FAILED:
        belt.answer(f"retry #{number}")
    upkeep.offer_stranded(belt.desk)
    belt.work()
    assert (belt.state(number), belt.workflow(number).draft_text) == (State.AWAITING_USER, "The old draft.")
    assert any("The old draft." in text for text in belt.gateway.texts)
    assert belt.mailer.mails == []
    assert belt.generator.asked == []
    belt.answer(f"1 #{number}")
    assert belt.state(number) is State.REPLY_SENT


def test_a_draft_that_waits_for_its_owner_goes_on_waiting(first_design: str, upgraded: Any) -> None:
    number = old_row(first_design, State.AWAITING_USER, **TEXTED, timeout_at=naive(hours_ago(-28)))
    belt = upgraded()
    belt.work()
    belt.check_timeouts()
    workflow = belt.workflow(number)
    assert (workflow.offered_at, workflow.timeout_at) == (hours_ago(20), hours_ago(-28))
    assert workflow.remind_at == hours_ago(-4)
    assert belt.gateway.texts == []
    assert belt.answer("1") == [f"✅ Sent to {workflow.sender} (#{number})"]
    [(_, recipient, content)] = belt.mailer.mails
    assert recipient == workflow.sender
    assert b"The old draft." in content


def test_a_draft_that_waited_without_a_time_is_not_forgotten(first_design: str, upgraded: Any) -> None:
    number = old_row(first_design, State.AWAITING_USER, **DRAFTED)
    belt = upgraded()
    workflow = belt.workflow(number)
    assert (workflow.remind_at, workflow.timeout_at) == (hours_ago(4), hours_ago(-20))
    belt.check_timeouts()
    assert "The old draft." in belt.gateway.texts[-1]


def test_a_draft_whose_time_is_over_is_closed_and_can_be_asked_for_again(first_design: str, upgraded: Any) -> None:
    number = old_row(first_design, State.AWAITING_USER, **TEXTED, timeout_at=naive(hours_ago(1)))
    belt = upgraded()
    belt.check_timeouts()
    assert belt.state(number) is State.TIMEOUT
    belt.answer(f"again #{number}")
    belt.answer(f"1 #{number}", at=datetime.now(UTC) + timedelta(seconds=5))
    assert belt.state(number) is State.REPLY_SENT


@pytest.mark.parametrize(
    ("state", "columns"),
    [
        (State.USER_EDIT_REQUESTED, {}),
        (State.AI_GENERATING, {"previous_state": "user_edit_requested"}),
        (State.FAILED, {"previous_state": "ai_generating"}),
    ],
)
def test_an_edit_that_was_asked_for_is_done_with_its_instructions_said_once(
    first_design: str, upgraded: Any, state: State, columns: dict[str, Any]
) -> None:
    asked = {"user_edit_instructions": "Make it RHYME", "edit_iteration": 1, "user_command": "2"}
    number = old_row(first_design, state, **TEXTED, **asked, **columns)
    belt = upgraded()
    if state is State.FAILED:
        belt.answer(f"retry #{number}")
    belt.work()
    [(_, context)] = belt.generator.asked
    assert context is not None
    assert "The old draft." in context
    assert context.count("Make it RHYME") == 1
    assert (belt.state(number), belt.workflow(number).draft_text) == (State.AWAITING_USER, "Draft number 1.")


ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "a time without end": (State.PENDING, {"created_at": "infinity"}),
    "a time before Christ": (State.AWAITING_USER, TEXTED | {"created_at": "0044-03-15 BC"}),
    "a time after all others": (State.AWAITING_USER, TEXTED | {"timeout_at": "294276-12-31"}),
    "a text from the future": (State.AWAITING_USER, TEXTED | {"sms_sent_at": naive(hours_ago(-24 * 365))}),
    "more edits than there are numbers": (State.AWAITING_USER, TEXTED | {"edit_iteration": 2**31 - 1}),
    "fewer edits than none": (State.AWAITING_USER, TEXTED | {"edit_iteration": -1}),
    "nothing to answer": (State.AWAITING_USER, {"sms_sent_at": naive(hours_ago(1))}),
    "an empty draft": (State.AWAITING_USER, TEXTED | {"ai_reply_text": ""}),
    "a blank draft": (State.USER_APPROVED, TEXTED | {"ai_reply_text": " \n\t"}),
    "an edit of nothing": (State.USER_EDIT_REQUESTED, {"user_edit_instructions": "shorter"}),
    "a name for an address": (State.AWAITING_USER, TEXTED | {"email_from": "John Doe <john@example.com>"}),
    "no address": (State.PENDING, {"email_from": ""}),
    "a step that there is not": (State.PENDING, {"previous_state": "thinking"}),
    "a failure out of nowhere": (State.FAILED, TEXTED | {"previous_state": "thinking"}),
    "a state that there is not": ("Working on it", TEXTED),
    "no state": ("", {}),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_row_goes_on_like_any_other_and_never_sends_an_empty_reply(
    first_design: str, upgraded: Any, odd: str
) -> None:
    state, columns = ODD[odd]
    number = old_row(first_design, state, **columns)
    belt = upgraded()
    [(sender,)] = run(first_design, "SELECT from_address FROM processed_emails")
    upkeep.offer_stranded(belt.desk)
    belt.work()
    belt.check_timeouts()
    if belt.state(number) is State.FAILED:
        belt.answer(f"retry #{number}")
        upkeep.offer_stranded(belt.desk)
        belt.work()
    belt.answer(f"1 #{number}")
    assert belt.state(number) is State.REPLY_SENT
    [(_, recipient, content)] = belt.mailer.mails
    assert recipient == sender
    assert b"draft" in content.lower()


@pytest.mark.parametrize("columns", [{}, {"ai_reply_text": " "}])
def test_a_row_that_timed_out_without_a_draft_gets_one_before_anything_is_sent(
    first_design: str, upgraded: Any, columns: dict[str, Any]
) -> None:
    number = old_row(first_design, State.TIMEOUT, **columns)
    belt = upgraded()
    belt.answer(f"again #{number}")
    told = f'Not sent: #{number} has no draft. Text "2 #{number} <what to say>" to have one written.'
    assert belt.answer(f"1 #{number}") == [told]
    belt.answer(f"2 #{number} say yes")
    belt.answer(f"1 #{number}")
    assert belt.state(number) is State.REPLY_SENT
    [(_, _, content)] = belt.mailer.mails
    assert b"Draft number 1." in content


def test_a_row_in_a_state_that_there_is_not_says_so_and_waits_for_a_person(first_design: str, upgraded: Any) -> None:
    number = old_row(first_design, "Working on it", **TEXTED)
    belt = upgraded()
    belt.work()
    workflow = belt.workflow(number)
    assert (workflow.state, workflow.error) == (State.FAILED, 'it was left in "Working on it", which is no state')
    assert belt.email_status(workflow.message_id) == "failed"
    assert belt.gateway.texts == []


@pytest.mark.parametrize("state", [State.USER_APPROVED, State.FAILED, State.SMS_SENDING, "sending"])
def test_a_reply_that_was_sent_is_not_offered_again_whatever_the_row_says(
    first_design: str, upgraded: Any, state: str
) -> None:
    number = old_row(first_design, state, **TEXTED, reply_sent_at=naive(hours_ago(1)))
    belt = upgraded()
    upkeep.offer_stranded(belt.desk)
    belt.work()
    belt.answer(f"retry #{number}")
    assert belt.state(number) is State.REPLY_SENT
    assert belt.mailer.mails == []
    assert belt.email_status(belt.workflow(number).message_id) == "sent"


def test_what_was_finished_stays_finished_and_its_email_says_so(first_design: str, upgraded: Any) -> None:
    finished = {
        State.REPLY_SENT: "sent",
        State.USER_IGNORED: "ignored",
        State.TIMEOUT: "timeout",
        State.FAILED: "failed",
    }
    numbers = {state: old_row(first_design, state, **TEXTED) for state in finished}
    belt = upgraded()
    upkeep.offer_stranded(belt.desk)
    belt.work()
    assert belt.poll() == 0
    assert belt.gateway.texts == []
    for state, number in numbers.items():
        workflow = belt.workflow(number)
        assert (workflow.state, belt.email_status(workflow.message_id)) == (state, finished[state])


def test_an_email_that_others_dealt_with_keeps_its_status(first_design: str) -> None:
    old_row(first_design, State.PENDING)
    run(first_design, "UPDATE processed_emails SET status = 'filtered'")
    apply(first_design)
    assert run(first_design, "SELECT status FROM processed_emails") == [("filtered",)]


def test_the_old_draft_is_kept_as_a_draft(first_design: str) -> None:
    number = old_row(first_design, State.AWAITING_USER, **TEXTED, edit_iteration=2, user_edit_instructions="shorter")
    apply(first_design)
    found = run(first_design, "SELECT workflow_id, revision, text, instructions, created_at FROM draft")
    assert found == [(number, 3, "The old draft.", "shorter", hours_ago(28.5))]


def test_what_was_moved_has_its_event_and_nothing_is_moved_twice(first_design: str) -> None:
    number = old_row(first_design, State.USER_APPROVED, **TEXTED)
    for _ in range(2):
        apply(first_design)
    found = run(first_design, "SELECT workflow_id, from_state, to_state, actor FROM workflow_event")
    assert found == [(number, "user_approved", "sms_sending", "timer")]


def test_the_email_monitors_clean_up_is_no_longer_held_up(first_design: str) -> None:
    old_row(first_design, State.REPLY_SENT)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        run(first_design, "DELETE FROM processed_emails")
    apply(first_design)
    run(first_design, "DELETE FROM processed_emails")
    assert run(first_design, "SELECT count(*) FROM workflow_state") == [(0,)]
