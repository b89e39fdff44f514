"""The commands that only read: list, show, status."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from psycopg2.extensions import connection, make_dsn
from shell import ACCOUNT, Shell

from email_orchestrator.cli.output import cells_of, fit
from email_orchestrator.core.states import State

if TYPE_CHECKING:
    from .conftest import Belt


@pytest.fixture
def shell(belt: Belt, tmp_path: Path) -> Shell:
    """A shell that knows the database and nothing else."""
    return Shell(tmp_path, DATABASE_URL=belt.dsn, TIMEZONE="UTC")


# list -------------------------------------------------------------------------------------------------------------


def test_list_shows_workflows_newest_first(belt: Belt, shell: Shell) -> None:
    belt.offered(sender="ann@example.com", subject="First")
    belt.email(sender="no-reply@example.com", subject="Second")
    belt.poll()
    result = shell.run("list")
    assert (result.exit_code, result.stderr) == (0, "")
    heading, *rows = [re.split(r" {2,}", line) for line in result.stdout.splitlines()]
    assert heading == ["ID", "STATE", "SINCE", "FROM", "SUBJECT"]
    assert [row[:2] + row[3:] for row in rows] == [
        ["#2", "user_ignored", "no-reply@example.com", "Second"],
        ["#1", "awaiting_user", "ann@example.com", "First"],
    ]


def test_list_can_be_narrowed_to_a_state(belt: Belt, shell: Shell) -> None:
    belt.offered()
    assert "#1" in shell.run("list", "--state", "awaiting_user").stdout
    assert shell.run("list", "--state", "failed").stdout == "No workflow is in the state failed.\n"
    refused = shell.run("list", "--state", "lost")
    assert refused.exit_code == 2
    assert "awaiting_user" in refused.stderr


def test_an_empty_list_says_so(shell: Shell) -> None:
    assert shell.run("list").stdout == "There are no workflows yet.\n"
    assert shell.json("list") == []


def test_a_list_that_was_cut_says_so_beside_it(belt: Belt, shell: Shell) -> None:
    for _ in range(3):
        belt.email()
    belt.poll()
    result = shell.run("list", "--limit", "2")
    assert result.stderr == "Only the newest 2 are shown; --limit shows more.\n"
    assert result.stdout.count("#") == 2
    assert shell.run("list", "--limit", "4").stderr == ""
    assert [one["id"] for one in shell.json("list", "--limit", "4")] == [3, 2, 1]


def test_lists_json_has_what_a_script_needs(belt: Belt, shell: Shell) -> None:
    workflow = belt.offered(subject='Ümläute "and" 日本')
    [one] = shell.json("list")
    assert one == {
        "id": workflow.id,
        "message_id": workflow.message_id,
        "from": "john@example.com",
        "subject": 'Ümläute "and" 日本',
        "state": "awaiting_user",
        "revision": 1,
        "error": None,
        "created_at": workflow.created_at.isoformat(),
        "updated_at": workflow.updated_at.isoformat(),
        "next_attempt_at": None,
        "reply_sent_at": None,
    }


SUBJECTS = {
    "long": "A very long subject " * 40,
    "wide": "日本語の件名" * 30,
    "emoji": "🎉🧑‍💻❤️🇦🇹👍🏽" * 20,
    "new emoji": "\U0001fae8\U0001fada" * 40,
    "combining": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘" * 30,
    "controls": "a\x1b[2Jb\x07\x08\x7f\x9b31mc\r\nd\te" * 9,
    "right to left": "\u202eevil\u2066 \u200f" * 30,
    "empty": "",
}


def width(line: str) -> int:
    """Count terminal cells in a way of the test's own: every emoji and ideograph two, and no mark any."""
    marks = ("Mn", "Me", "Cf")
    wide = [unicodedata.east_asian_width(c) in "WF" or "\U0001f300" <= c <= "\U0001ffff" or c == "❤" for c in line]
    return sum(2 if two else unicodedata.category(c) not in marks for c, two in zip(line, wide, strict=True))


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_a_table_fits_eighty_columns_of_a_pipe_whatever_is_in_it(belt: Belt, shell: Shell, subject: str) -> None:
    senders = ("j@x.org", "a" * 60 + "@" + "long.example" * 12 + ".org", "jürgen@bücher.example")
    for sender in senders:
        belt.email(sender=sender, subject=subject)
    belt.poll()
    belt.sql("UPDATE workflow_state SET email_subject = %s, current_state = 'user_edit_requested'", subject)
    # The long sender is shown alone, too: it must not take the others' room.
    for command in (("list",), ("list", "--limit", "1")):
        heading, *rows = shell.run(*command).stdout.splitlines()
        assert width(heading) <= 80
        for row, sender in zip(rows, reversed(senders), strict=False):
            assert width(row) <= 80
            assert all(one.isprintable() or unicodedata.category(one) in ("Cf", "Cn") for one in row)
            assert not set(row) & set("\u202e\u2066\u200f")
            assert "user_edit_requested" in row
            assert sender[:4] in row


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("abc", 3),
        ("日本", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("❤", 1),
        ("❤\ufe0f", 2),
        ("🎉", 2),
        ("🧑\u200d💻", 4),
        ("", 0),
    ],
)
def test_a_text_takes_as_many_cells_as_a_terminal_gives_it(text: str, cells: int) -> None:
    assert cells_of(text) == cells


@pytest.mark.parametrize(
    ("text", "cells", "shown"),
    [("abc", 5, "abc  "), ("abcdef", 4, "abc…"), ("日本語", 4, "日… "), ("日本語", 6, "日本語"), ("abc", 3, "abc")],
)
def test_a_text_is_cut_or_filled_to_its_cells(text: str, cells: int, shown: str) -> None:
    assert fit(text, cells) == shown
    assert cells_of(shown) == cells


# show -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1", "#1", "<m1@example.com>"])
def test_show_finds_a_workflow_by_number_and_by_message_id(belt: Belt, shell: Shell, name: str) -> None:
    belt.offered()
    assert shell.run("show", name).stdout.startswith("#1  Meeting\n")


def test_what_there_is_not_is_not_found(belt: Belt, shell: Shell) -> None:
    belt.offered()
    for name in ("2", "#2", "0", "99999999999999999999", "<other@example.com>", "x", "#", "1x"):
        result = shell.run("show", name)
        assert (result.exit_code, result.stdout) == (3, "")
        expected = f"Error: There is no workflow {name}: `email-orchestrator list` shows what there is.\n"
        assert result.stderr == expected


def test_show_tells_the_email_every_draft_every_event_and_what_comes_next(belt: Belt, shell: Shell) -> None:
    belt.generator.texts.extend(["The first draft.", "The second draft."])
    belt.offered(subject="Lunch?", body="Shall we have lunch?\nOn Friday?")
    belt.answer("2 Say YES\nbut on Monday")
    page = shell.run("show", "1").stdout
    for told in (
        "#1  Lunch?",
        "From:        john@example.com",
        "Message-ID:  <m1@example.com>",
        "State:       awaiting_user",
        "Next:        the owner answers; reminder at ",
        "  | Shall we have lunch?",
        "  | The first draft.",
        'asked: "Say YES but on Monday"',
        "  | The second draft.",
    ):
        assert told in page
    events = page.partition("Events\n")[2].splitlines()
    assert [line.split()[3] for line in events] == belt.events(1)
    assert events[6].split()[4] == "sms"


def test_shows_json_has_the_drafts_and_the_events(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.answer("2 shorter")
    page = shell.json("show", "#1")
    assert [(draft["revision"], draft["instructions"]) for draft in page["drafts"]] == [(1, None), (2, "shorter")]
    assert [event["to_state"] for event in page["events"]] == belt.events(1)
    assert {event["actor"] for event in page["events"]} == {"poll", "sms"}
    assert (page["id"], page["state"], page["preview"]) == (1, "awaiting_user", "Hello")


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ("UPDATE workflow_state SET current_state = 'pending', next_attempt_at = NULL", "a draft is written now"),
        (
            "UPDATE workflow_state SET current_state = 'ai_generating', next_attempt_at = '2040-05-06 07:08Z',"
            " error_message = 'AI: busy'",
            "a draft is written at 6 May 07:08 (last trouble: AI: busy)",
        ),
        ("UPDATE workflow_state SET current_state = 'sms_sending'", "the draft is texted to the owner"),
        ("UPDATE workflow_state SET current_state = 'user_approved'", "the reply is sent now"),
        (
            "UPDATE workflow_state SET current_state = 'failed', error_message = 'broken'",
            "nothing by itself; `email-orchestrator retry 1` goes on (last trouble: broken)",
        ),
        (
            "UPDATE workflow_state SET current_state = 'user_ignored', error_message = 'superseded by #2'",
            "nothing, it is finished (superseded by #2)",
        ),
        ("UPDATE workflow_state SET current_state = 'reply_sent'", "nothing, it is finished"),
    ],
)
def test_show_says_what_happens_next(belt: Belt, shell: Shell, after: str, told: str) -> None:
    belt.offered()
    belt.sql(after)
    assert f"Next:        {told}\n" in shell.run("show", "1").stdout


def test_a_terminal_is_shown_nothing_that_it_would_obey(belt: Belt, shell: Shell) -> None:
    belt.offered()
    evil = "a\x1b[2J\x9b2J\u202eb\x07\nc"
    belt.sql(
        "UPDATE workflow_state SET email_subject = %s, email_from = %s, email_body_preview = %s, error_message = %s",
        *[evil] * 4,
    )
    belt.sql("UPDATE draft SET text = %s, instructions = %s", evil, evil)
    belt.sql("UPDATE workflow_event SET reason = %s", evil)
    for command in (["show", "1"], ["list"], ["show", "1", "--json"], ["list", "--json"]):
        shown = shell.run(*command).stdout
        assert all(character.isprintable() or character == "\n" for character in shown), command
    assert shell.json("show", "1")["subject"] == evil


def test_reading_waits_for_nobody(belt: Belt, shell: Shell) -> None:
    belt.offered()
    with closing(psycopg2.connect(belt.dsn)) as other, other.cursor() as cursor:
        cursor.execute("SELECT FROM workflow_state FOR UPDATE")
        for command in (["list"], ["show", "1"], ["status"]):
            assert shell.run(*command).exit_code == 0


@pytest.fixture
def onlooker(belt: Belt, postgres_admin: connection) -> Iterator[str]:
    """The DSN for a user who may only look."""
    name = f"looker_{secrets.token_hex(4)}"
    belt.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'look'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    yield make_dsn(belt.dsn, user=name, password="look")
    belt.sql(f"DROP OWNED BY {name}")
    with postgres_admin.cursor() as commands:
        commands.execute(f"DROP ROLE {name}")


def test_whoever_may_only_look_can_look(belt: Belt, shell: Shell, onlooker: str) -> None:
    belt.offered()
    for command in (["list"], ["show", "1"], ["status"]):
        assert shell.run(*command, DATABASE_URL=onlooker).exit_code == 0
    refused = shell.run("ignore", "1", DATABASE_URL=onlooker, **ACCOUNT)
    assert refused.exit_code == 1
    assert "permission denied" in refused.stderr


# status -----------------------------------------------------------------------------------------------------------


def test_status_counts_what_there_is_and_what_was_left_alone(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.email(received_at=datetime.now(UTC) - timedelta(days=3))
    summary = shell.json("status")
    assert set(summary["counts"]) == {str(state) for state in State}
    assert {state: count for state, count in summary["counts"].items() if count} == {"awaiting_user": 1}
    assert summary["older_emails_left_alone"] == 1
    assert datetime.fromisoformat(summary["last_poll"]).tzinfo is not None
    *figures, hint = shell.run("status").stdout.splitlines()
    lines = dict(line.split(None, 1) for line in figures)
    assert (lines["counts.awaiting_user"], lines["older_emails_left_alone"]) == ("1", "1")
    assert "poll --lookback HOURS" in hint


def test_status_works_before_anything_happened(shell: Shell) -> None:
    assert shell.run("status").exit_code == 0
    assert shell.json("status")["last_poll"] is None
