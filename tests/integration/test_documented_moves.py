"""docs/operating.md, word by word: a backup brought back, and the embedded database moved to a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from psycopg2.extensions import connection, make_dsn, parse_dsn

from email_orchestrator.core.models import InboundText
from email_orchestrator.core.states import State
from email_orchestrator.embedded import EmbeddedPostgres, find_binaries
from email_orchestrator.embedded.account import choose_account
from email_orchestrator.embedded.programs import runnable_by
from email_orchestrator.store import schema
from email_orchestrator.store.connection import Database
from email_orchestrator.workflow import receiving

if TYPE_CHECKING:
    from .conftest import Belt

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
# What a person looks at or decides in between.
BY_HAND = re.compile(r"^email-orchestrator (list|undo) .*| && email-orchestrator check$", re.MULTILINE)

Run = Callable[..., str]


def blocks(heading: str) -> list[str]:
    """Return the commands that stand below a heading, a text for each block of them."""
    section = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() for block in found]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run commands in a shell, some of their words changed; our program is at hand there, and of systemd nothing."""

    def run_in_shell(commands: str, programs: Path, dsn: str, words: dict[str, str]) -> str:
        for word, meant in words.items():
            commands = commands.replace(word, meant)
        user = 'shift 3; "$@"' if os.geteuid() else 'command runuser "$@"'
        script = f"""set -euo pipefail
systemctl() {{ :; }}
runuser() {{ {user}; }}
email-orchestrator() {{ "{sys.executable}" -m email_orchestrator "$@"; }}
{BY_HAND.sub("", commands)}
"""
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "DATABASE_URL": dsn}
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run_in_shell


def test_a_backup_that_is_brought_back_sends_nothing_a_second_time(belt: Belt, run: Run, postgres_server: str) -> None:
    if "TEST_DATABASE_URL" in os.environ:
        pytest.skip("whether PostgreSQL's programs here fit that server is not known")
    server = parse_dsn(postgres_server)
    words = {
        "-h DB_HOST -U readwrite": f"-h {server['host']} -U {server['user']}",
        "-d email_auto_reply": f"-d {parse_dsn(belt.dsn)['dbname']}",
        "email_auto_reply > ": f"{parse_dsn(belt.dsn)['dbname']} > ",
    }
    dump, restore = blocks("Back up and restore")
    belt.with_policy(response_timeout=86_400)
    first, second = belt.offered(), belt.offered(sender="ann@example.com")
    belt.answer(f"3 #{first.id}")
    receiving.fetch_missed_texts(belt.desk, belt.gateway)
    run(dump, find_binaries(), belt.dsn, words)
    at = datetime.now(UTC)
    belt.gateway.inbound.append(InboundText("i99", "+15551234567", f"1 #{second.id}", at))
    receiving.fetch_missed_texts(belt.desk, belt.gateway)
    belt.offered()
    belt.work()
    assert belt.state(second.id) is State.REPLY_SENT
    belt.database.close()

    run(restore, find_binaries(), belt.dsn, words)

    assert belt.state(second.id) is State.AWAITING_USER
    receiving.fetch_missed_texts(belt.desk, belt.gateway)
    receiving.fetch_missed_texts(belt.desk, belt.gateway)
    belt.work()
    assert belt.state(second.id) is State.AWAITING_USER
    assert len(belt.mailer.mails) == 1
    # A number that the phone knows from after the backup never means another email.
    assert belt.offered(message_id="<new@example.com>").id > 1000


@pytest.fixture
def elsewhere(postgres_server: str, postgres_admin: connection) -> str:
    """The name of an empty database on the tests' server."""
    with postgres_admin.cursor() as commands:
        commands.execute("DROP DATABASE IF EXISTS moved_here")
        commands.execute("CREATE DATABASE moved_here")
    return "moved_here"


def test_the_embedded_database_moves_to_a_server_with_all_that_is_in_it(
    run: Run, postgres_server: str, elsewhere: str, server_folder: Path, tmp_path: Path
) -> None:
    if "TEST_DATABASE_URL" in os.environ:
        pytest.skip("whether PostgreSQL's programs here fit that server is not known")
    kept = server_folder / "kept"
    with EmbeddedPostgres(kept, durable=False) as dsn:
        schema.apply(Database(dsn))
        with closing(psycopg2.connect(dsn)) as filling, filling, filling.cursor() as cursor:
            cursor.execute(
                "INSERT INTO processed_emails (message_id, from_address, subject, received_at)"
                " SELECT format('<%s@x>', n), 'ann@example.com', 'Ümläute 🎉', now() FROM generate_series(1, 7) n"
            )
            cursor.execute(
                "INSERT INTO workflow_state (message_id, current_state)"
                " SELECT message_id, 'timeout' FROM processed_emails"
            )
    account = choose_account(kept / "data")
    names, backup, start, move, stop, after = blocks("The embedded database, and moving from it to a server")
    assert backup.startswith("$bin/pg_dump -Fc -h $data/socket ")
    server = parse_dsn(postgres_server)
    target = make_dsn(postgres_server, dbname=elsewhere)
    programs = runnable_by(account, find_binaries(), kept / "programs")
    words = {
        "/var/lib/email-orchestrator/data user=email-orchestrator": f"{kept} user={account.name}",
        "\numask": f"\nbin={programs}\numask",
        "-h DB_HOST -U readwrite -d email_auto_reply": f"-h {server['host']} -U {server['user']} -d {elsewhere}",
    }
    told = run("\n".join((names, start, move, stop, after)), find_binaries(), target, words)
    assert "The database was prepared already" in told or "The database is prepared" in told
    with closing(psycopg2.connect(target)) as moved, moved.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(subject), max(w.id) FROM workflow_state w JOIN processed_emails USING (message_id)"
        )
        assert cursor.fetchone() == (7, "Ümläute 🎉", 7)
        cursor.execute("SELECT nextval('workflow_state_id_seq')")
        assert cursor.fetchone() == (8,)
    # What was moved is for nobody else to read, and the old database starts again as it was.
    assert (tmp_path / "move.sql").stat().st_mode & 0o077 == 0
    with EmbeddedPostgres(kept, durable=False) as dsn, closing(psycopg2.connect(dsn)) as old:
        cursor = old.cursor()
        cursor.execute("SELECT count(*) FROM workflow_state")
        assert cursor.fetchone() == (7,)
