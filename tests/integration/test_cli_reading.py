"""The commands that only read: list, show, status."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from psycopg2.extensions import connection, make_dsn
from shell import ACCOUNT, Shell

from email_orchestrator.cli import summary
from email_orchestrator.core.states import State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.store import mail_pause, memory
from email_orchestrator.store.mail_pause import UNTIL_A_PERSON_ACTS, Pause
from email_orchestrator.workflow import retention

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
    assert shell.run("list", "--limit", "3").stderr == ""
    assert [one["id"] for one in shell.json("list", "--limit", "3")] == [3, 2, 1]


def test_lists_json_has_what_a_script_needs(belt: Belt, shell: Shell) -> None:
    workflow = belt.offered(subject='Ümläute "and" 日本')
    [one] = shell.json("list")
    assert one == {
        "id": workflow.id,
        "message_id": workflow.message_id,
        "from": "john@example.com",
        "from_name": "",
        "subject": 'Ümläute "and" 日本',
        "state": "awaiting_user",
        "revision": 1,
        "error": None,
        "created_at": workflow.created_at.isoformat(),
        "updated_at": workflow.updated_at.isoformat(),
        "next_attempt_at": None,
        "sms_sent_at": workflow.sms_sent_at and workflow.sms_sent_at.isoformat(),
        "timeout_at": workflow.timeout_at and workflow.timeout_at.isoformat(),
        "reply_sent_at": None,
    }


@pytest.mark.parametrize(("state", "due"), [("failed", False), ("awaiting_user", False), ("ai_generating", True)])
def test_nothing_is_due_where_no_machine_goes_on(belt: Belt, shell: Shell, state: str, due: bool) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET next_attempt_at = now(), current_state = %s", state)
    assert (shell.json("list")[0]["next_attempt_at"] is not None) == due


def test_a_list_tells_the_time_of_what_is_new_and_the_year_of_what_is_old(belt: Belt, shell: Shell) -> None:
    for _ in range(2):
        belt.offered()
    belt.sql("UPDATE workflow_state SET updated_at = '2019-11-02 07:08Z' WHERE id = 1")
    _, new, old = shell.run("list").stdout.splitlines()
    assert "  2 Nov 2019 " in old
    assert re.search(r" \d\d:\d\d ", new)


# show -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["1", "#1", "<m1@example.com>", "m1@example.com"])
def test_show_finds_a_workflow_by_number_and_by_message_id(belt: Belt, shell: Shell, name: str) -> None:
    belt.offered()
    assert shell.run("show", name).stdout.startswith("#1  Meeting\n")


def test_what_there_is_not_is_not_found(belt: Belt, shell: Shell) -> None:
    belt.offered()
    for name in ("2", "#2", "0", "99999999999999999999", "<other@example.com>", "x", "#", "1x", "m1@example", "\udcff"):
        result = shell.run("show", name)
        assert (result.exit_code, result.stdout) == (3, "")
        shown = name.replace("\udcff", "\ufffd")  # a byte that is no UTF-8, as Python hands it on
        expected = f"Error: There is no workflow {shown}. `email-orchestrator list` shows what there is.\n"
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
        "  asked: Say YES but on Monday\n",
        "  | The second draft.",
    ):
        assert told in page
    events = page.partition("Events (times of UTC)\n")[2].splitlines()
    assert [line.split()[2] for line in events] == belt.events(1)
    assert events[6].split()[3] == "sms"
    assert datetime.fromisoformat(" ".join(events[0].split()[:2])).year == datetime.now(UTC).year


def test_show_gives_the_whole_email_where_a_text_gives_its_beginning(belt: Belt, shell: Shell) -> None:
    belt.offered(
        sender='"Ann Lee" <ann@example.com>', body="\n\n".join(f"Paragraph {n}. " + "x " * 50 for n in range(20))
    )
    page = shell.run("show", "1").stdout
    assert "From:        Ann Lee <ann@example.com>\n" in page
    assert "  | Paragraph 19. x x" in page
    belt.sql("DELETE FROM draft")
    belt.sql("ALTER TABLE workflow_state DROP CONSTRAINT workflow_state_message_id_fkey; DELETE FROM processed_emails")
    page = shell.run("show", "1").stdout
    assert "  | Paragraph 0. x x" in page
    assert "Received:" not in page


def test_show_says_of_what_was_cleared_that_it_was(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.answer("2 shorter")
    belt.sql("UPDATE workflow_state SET current_state = 'timeout', created_at = 'epoch', updated_at = 'epoch'")
    belt.sql("UPDATE processed_emails SET status = 'timeout'")
    retention.clear_old_texts(belt.desk, 90)
    page = shell.run("show", "1").stdout
    assert "Next:        nothing; its texts were cleared 20" in page
    assert page.count("(its text was cleared)") == 2
    assert "shorter" not in page
    assert "Email\n" not in page
    for command in ("approve 1", "edit 1 x", "retry 1", "undo 1"):
        refused = shell.run(*command.split(), **ACCOUNT)
        assert refused.exit_code == 4
        assert "again #1" not in refused.stderr


def test_shows_json_has_the_drafts_and_the_events(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.answer("2 shorter")
    page = shell.json("show", "#1")
    assert [(draft["revision"], draft["instructions"]) for draft in page["drafts"]] == [(1, None), (2, "shorter")]
    assert [event["to_state"] for event in page["events"]] == belt.events(1)
    assert {event["actor"] for event in page["events"]} == {"poll", "sms"}
    assert (page["id"], page["state"], page["preview"]) == (1, "awaiting_user", "Hello")


LATER = "'2040-05-06 07:08Z'"
IN_MAY = "at 2040-05-06 07:08:00"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ("current_state = 'pending'", "a draft is written now"),
        ("current_state = 'pending', next_attempt_at = now() - interval '1 h'", "a draft is written now"),
        ("current_state = 'ai_generating', claimed_by = 'x'", "a draft is being written"),
        (
            f"current_state = 'ai_generating', next_attempt_at = {LATER}, error_message = 'AI: busy'",
            f"a draft is written {IN_MAY} (last trouble: AI: busy)",
        ),
        ("current_state = 'sms_sending'", "the draft is texted to the owner"),
        (f"remind_at = now(), timeout_at = {LATER}", f"the owner answers; reminder now, timeout {IN_MAY}"),
        ("current_state = 'user_approved'", "the reply is sent now; `email-orchestrator undo 1` takes it back"),
        (
            f"current_state = 'user_approved', next_attempt_at = {LATER}",
            f"the reply is sent {IN_MAY}; `email-orchestrator undo 1` takes it back",
        ),
        (
            "current_state = 'user_approved', send_started_at = now(), claimed_by = 'x'",
            "the reply is being handed to the mail server",
        ),
        (
            "current_state = 'user_approved', send_started_at = now(), error_message = 'outcome unknown'",
            "Sent Mail is looked into, for the reply may be out (last trouble: outcome unknown)",
        ),
        (
            "current_state = 'failed', error_message = 'broken'",
            "nothing by itself; `email-orchestrator retry 1` goes on, `ignore 1` gives it up (last trouble: broken)",
        ),
        (
            "current_state = 'failed', error_message = 'outcome unknown'",
            "nothing by itself: the reply may be out, look into Sent Mail; `email-orchestrator retry 1` sends it again "
            "with the same Message-ID, `ignore 1` closes it",
        ),
        (
            "current_state = 'timeout'",
            'nothing; the owner\'s "again #1" or `email-orchestrator retry 1` brings the draft back',
        ),
        (
            "current_state = 'user_ignored', error_message = 'superseded by #2'",
            "nothing, it is finished (superseded by #2)",
        ),
        ("current_state = 'reply_sent'", "nothing, it is finished"),
    ],
)
def test_show_says_what_happens_next_and_when(belt: Belt, shell: Shell, changes: str, told: str) -> None:
    belt.offered()
    belt.sql(f"UPDATE workflow_state SET {changes}")
    assert f"Next:        {told}\n" in shell.run("show", "1").stdout


def test_show_says_what_a_new_email_waits_for(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.email()
    belt.poll()
    told = "Next:        a draft is written once fewer than 1 others are under way or wait for the owner\n"
    assert told in shell.run("show", "2", MAX_AWAITING="1").stdout
    assert "Next:        a draft is written now\n" in shell.run("show", "2", MAX_AWAITING="2").stdout


def test_show_says_when_a_text_is_tried_again_and_that_it_waits_for_the_morning(belt: Belt, shell: Shell) -> None:
    belt.gateway.failures.append(ServiceError("SMS Gateway", "busy", Kind.TRANSIENT))
    belt.email()
    belt.poll()
    belt.work()
    belt.sql(f"UPDATE sms_outbox SET next_attempt_at = {LATER}")
    trouble = " (last trouble: SMS Gateway: busy)\n"
    assert f"Next:        the draft is texted to the owner {IN_MAY}{trouble}" in shell.run("show", "1").stdout
    hour = datetime.now(UTC).hour
    quiet = {"QUIET_HOURS": f"{hour:02}:00-{(hour + 2) % 24:02}:00"}
    told = f"Next:        the draft is texted to the owner when the quiet hours are over, at {(hour + 2) % 24:02}:00"
    assert told + trouble in shell.run("show", "1", **quiet).stdout
    belt.sql("UPDATE sms_outbox SET urgent = true")
    assert f"texted to the owner {IN_MAY}{trouble}" in shell.run("show", "1", **quiet).stdout


def test_show_says_until_when_all_replies_rest(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.sql("UPDATE workflow_state SET current_state = 'user_approved'")
    with belt.database.transaction() as tx:
        soon = tx.now + timedelta(hours=1)
        mail_pause.remember(tx, Pause(soon, "busy", "454 busy", 1))
    assert f"the reply is sent at {soon:%Y-%m-%d %H:%M:%S}; " in shell.run("show", "1").stdout
    with belt.database.transaction() as tx:
        mail_pause.remember(tx, Pause(UNTIL_A_PERSON_ACTS, "credentials", "535 no", 1))
    assert "the reply is sent once the mail account lets us in (535 no)\n" in shell.run("show", "1").stdout


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
    assert refused.exit_code == 78
    assert "permission denied" in refused.stderr
    assert "grant what `email-orchestrator check` names" in refused.stderr


# status -----------------------------------------------------------------------------------------------------------


def test_status_counts_what_there_is_and_what_was_left_alone(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.email(received_at=datetime.now(UTC) - timedelta(days=3))
    told = shell.json("status")
    assert set(told["counts"]) == {str(state) for state in State}
    assert {state: count for state, count in told["counts"].items() if count} == {"awaiting_user": 1}
    assert told["older_emails_left_alone"] == 1
    assert datetime.fromisoformat(told["last_poll"]).tzinfo is not None
    lines = dict(re.split(r" {2,}", line) for line in shell.run("status").stdout.splitlines())
    assert lines["Workflows"] == "1 awaiting_user"
    assert lines["Older emails"] == "1 left alone; `email-orchestrator poll --lookback HOURS` takes them up"
    assert lines["Last poll"].startswith(f"{datetime.now(UTC):%Y-%m-%d} ")
    assert lines["Last 24 hours"] == "emails taken in: 1"
    assert lines["Email to text"].startswith("1, mean ")
    assert (lines["Text to answer"], lines["Answers"], lines["Failures"]) == ("none", "none", "none")


def test_status_tells_the_answers_and_their_shares_and_what_is_amiss(belt: Belt, shell: Shell) -> None:
    for answer in ("1", "3", "3"):
        belt.answer(f"{answer} #{belt.offered().id}")
    belt.sql("UPDATE workflow_event SET at = at - interval '26 min 40 s' WHERE to_state = 'awaiting_user'")
    belt.sql(
        "UPDATE workflow_event SET from_state = 'user_approved', to_state = 'failed' WHERE to_state = 'reply_sent'"
    )
    with belt.database.transaction() as tx:
        memory.remember(tx, memory.TEXTING_BLOCKED, {"word": "STOP", "at": tx.now})
        mail_pause.remember(tx, Pause(UNTIL_A_PERSON_ACTS, "credentials", "535 no", 1))
    lines = dict(re.split(r" {2,}", line) for line in shell.run("status").stdout.splitlines())
    assert lines["Answers"] == "1 approve (33%), 2 ignore (67%)"
    assert lines["Failures"] == "1 replying"
    assert lines["Text to answer"].startswith("3, mean 26 min 4")
    assert lines["Replies"] == "paused (credentials) until somebody acts"
    assert lines["Texting"].startswith("perhaps blocked by the carrier")


def test_every_field_of_every_json_is_documented(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.answer("2 shorter")
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    scripts = page.partition("## In scripts")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", scripts, re.MULTILINE))
    one, listed, status = shell.json("show", "1"), shell.json("list")[0], shell.json("status")
    check = json.loads(shell.run("check", "--json", **ACCOUNT).stdout)
    fields = {
        "list": {*listed},
        "show": {*one, *one["drafts"][0], *one["events"][0]} - {*listed},
        "status": {*status, *status["email_to_text"], *status["answers"], *status["failures_by_stage"]},
        "check": {*check, *check["checks"][0]},
    }
    for command, names in fields.items():
        assert names <= set(re.findall(r"`(\w+)`", rows[command])), command


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (90_000, "25 h 0 min")]
)
def test_a_duration_is_told_in_the_units_that_matter(seconds: float, told: str) -> None:
    assert summary.duration(seconds) == told


def test_status_works_before_anything_happened(shell: Shell) -> None:
    assert shell.run("status").exit_code == 0
    assert shell.json("status")["last_poll"] is None
