"""The commands that run things, and what all commands have in common: exit codes, errors, a quick start."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from house import wait_until
from psycopg2.extensions import connection, make_dsn
from shell import ACCOUNT, NOWHERE, Shell

from email_orchestrator.core.states import State
from email_orchestrator.demo.standins import GatewayStandIn, GeneratorStandIn, MailStandIn, MonitorStandIn
from email_orchestrator.embedded import find_running
from email_orchestrator.store import schema

if TYPE_CHECKING:
    from .conftest import Belt

EVERY_COMMAND = (
    ("list",),
    ("show", "1"),
    ("status",),
    ("approve", "1"),
    ("edit", "1", "shorter"),
    ("ignore", "1"),
    ("retry", "1"),
    ("timeout", "1"),
    ("undo", "1"),
    ("poll",),
)


@pytest.fixture
def shell(belt: Belt, tmp_path: Path) -> Shell:
    return Shell(tmp_path, DATABASE_URL=belt.dsn, **ACCOUNT)


@pytest.fixture
def bare(postgres_server: str, postgres_admin: connection) -> Iterator[str]:
    """The DSN of an empty database."""
    name = f"bare_{secrets.token_hex(6)}"
    with postgres_admin.cursor() as commands:
        commands.execute(f"CREATE DATABASE {name}")
        yield make_dsn(postgres_server, dbname=name)
        commands.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class Outside:
    monitor: MonitorStandIn
    generator: GeneratorStandIn
    gateway: GatewayStandIn
    mail: MailStandIn

    @property
    def settings(self) -> dict[str, str]:
        return {
            "EMAIL_MONITOR_URL": self.monitor.url,
            "AI_REPLY_GENERATOR_URL": self.generator.url,
            "SMS_GATEWAY_URL": self.gateway.url,
            "GMAIL_SMTP_SERVER": self.mail.host,
            "GMAIL_SMTP_PORT": str(self.mail.port),
            "SMS_PART_GAP": "0",
        }


@pytest.fixture
def outside(belt: Belt, shell: Shell) -> Iterator[Outside]:
    """Everything around the service, known to the shell."""
    with ExitStack() as stack:
        made = Outside(
            stack.enter_context(MonitorStandIn(belt.dsn)),
            stack.enter_context(GeneratorStandIn(belt.dsn)),
            stack.enter_context(GatewayStandIn(owner=ACCOUNT["YOUR_PHONE_NUMBER"])),
            stack.enter_context(MailStandIn(ACCOUNT["EMAIL_ADDRESS"], ACCOUNT["EMAIL_PASSWORD"])),
        )
        shell.settings.update(made.settings)
        yield made


# poll -------------------------------------------------------------------------------------------------------------


def test_a_poll_takes_emails_in_and_does_all_the_work_that_is_due(belt: Belt, shell: Shell, outside: Outside) -> None:
    belt.email(subject="Lunch?")
    result = shell.run("poll")
    assert (result.exit_code, result.stderr) == (0, "")
    done = "emails taken: 1, texts answered: 0, drafts written: 1, texts sent: 1, replies sent: 0, failed: 0\n"
    assert result.stdout == done
    assert belt.state(1) is State.AWAITING_USER
    assert 'about "Lunch?"' in outside.gateway.sent[-1].message
    belt.text("1")
    assert "texts answered: 1, drafts written: 0, texts sent: 1, replies sent: 1" in shell.run("poll").stdout
    assert len(outside.mail.mails) == 1


def test_a_poll_leaves_old_email_alone_unless_it_is_told_to_reach_back(
    belt: Belt, shell: Shell, outside: Outside
) -> None:
    belt.email(received_at=datetime.now(UTC) - timedelta(hours=60))
    assert shell.run("poll").stdout.startswith("emails taken: 0")
    assert shell.run("poll", "--lookback", "61").stdout.startswith("emails taken: 1")
    assert outside.gateway.sent


def test_without_the_email_monitor_a_poll_does_the_rest_and_fails_for_now(
    belt: Belt, shell: Shell, outside: Outside
) -> None:
    belt.offered()
    belt.text("1")
    outside.monitor.stop()
    result = shell.run("poll")
    assert (result.exit_code, result.stdout.rpartition("texts sent")[2]) == (75, ": 1, replies sent: 1, failed: 0\n")
    assert result.stderr.startswith("Error: Email Monitor: no connection to 127.0.0.1:")
    assert result.stderr.count("\n") == 1
    assert belt.state(1) is State.REPLY_SENT


def test_a_poll_of_the_database_needs_no_email_monitor(belt: Belt, shell: Shell, outside: Outside) -> None:
    belt.email()
    result = shell.run("poll", EMAIL_SOURCE="database", EMAIL_MONITOR_URL=NOWHERE)
    assert (result.exit_code, result.stdout[:15]) == (0, "emails taken: 1")
    assert outside.gateway.sent


def test_trouble_with_another_service_is_told_beside_the_summary(belt: Belt, shell: Shell, outside: Outside) -> None:
    belt.email()
    outside.generator.stop()
    result = shell.run("poll")
    assert result.exit_code == 0
    assert "WARNING workflow 1: AI Reply Generator: no connection to " in result.stderr
    assert "drafts written: 0, texts sent: 0, replies sent: 0" in result.stdout
    assert belt.state(1) is State.AI_GENERATING


@pytest.mark.parametrize("hours", ["nan", "0", "inf", "x"])
def test_hours_that_are_none_are_refused(shell: Shell, hours: str) -> None:
    result = shell.run("poll", "--lookback", hours)
    assert result.exit_code == 2
    assert "--lookback" in result.stderr


def test_a_data_folder_that_cannot_be_used_is_a_matter_of_the_installation(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = Shell(tmp_path, DATA_DIR=str(file), **ACCOUNT).run("run")
    assert result.exit_code == 78
    assert f"The data folder {file} (DATA_DIR) cannot be used" in result.stderr


def test_so_is_one_on_a_disk_that_can_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare_folder(folder: Path, _: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    monkeypatch.setattr("email_orchestrator.embedded.server.prepare_folder", prepare_folder)
    result = Shell(tmp_path, DATA_DIR=str(tmp_path / "kept"), **ACCOUNT).run("init-db")
    assert result.exit_code == 78
    assert "cannot be used (Read-only file system: " in result.stderr


@pytest.mark.usefixtures("outside")
def test_polls_by_cron_clear_old_texts_as_the_service_does(belt: Belt, shell: Shell) -> None:
    belt.offered(body="the kingfisher")
    belt.answer("3")
    belt.sql("UPDATE workflow_state SET created_at = now() - interval '20 d', updated_at = now() - interval '20 d'")
    assert shell.run("poll").exit_code == 0
    assert "kingfisher" in str(belt.sql("SELECT body_text FROM processed_emails"))
    assert shell.run("poll", RETENTION_DAYS="14").exit_code == 0
    assert belt.sql("SELECT body_text FROM processed_emails") == [(None,)]


@pytest.mark.usefixtures("outside")
def test_a_poll_logs_to_the_file_like_the_service(belt: Belt, shell: Shell, tmp_path: Path) -> None:
    belt.email()
    result = shell.run("poll", LOG_FILE=str(tmp_path / "eo.log"), LOG_FORMAT="json")
    assert result.stderr == ""
    assert '"event.action": "transition"' in (tmp_path / "eo.log").read_text()


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize("command", [("poll",), ("run",)])
def test_a_log_file_that_cannot_be_written_is_a_mistake_in_the_settings(
    shell: Shell, tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = tmp_path / "absent" / "eo.log"
    result = shell.run(*command, LOG_FILE=str(file))
    assert result.exit_code == 78
    expected = f"LOG_FILE: must be a file that can be written, and {file} cannot (No such file or directory)"
    assert result.stderr == f"Error: {expected}\n"


def test_commands_in_a_shell_leave_the_services_log_file_alone(belt: Belt, shell: Shell, tmp_path: Path) -> None:
    belt.offered()
    assert shell.run("ignore", "1", LOG_FILE=str(tmp_path / "absent" / "eo.log")).exit_code == 0


# init-db ----------------------------------------------------------------------------------------------------------


def test_the_database_is_prepared_as_often_as_one_likes_with_its_address_alone(bare: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path, DATABASE_URL=bare)
    outputs = [shell.run("init-db") for _ in range(2)]
    assert [result.exit_code for result in outputs] == [0, 0]
    assert [result.stdout for result in outputs] == [
        f"The database is prepared (schema version {schema.VERSION}).\n",
        f"The database was prepared already (schema version {schema.VERSION}).\n",
    ]
    assert shell.run("list").stdout == "There are no workflows yet.\n"


def test_on_a_database_that_was_not_prepared_every_command_names_the_one_that_helps(bare: str, tmp_path: Path) -> None:
    for command in (*EVERY_COMMAND, ("run",)):
        result = Shell(tmp_path, DATABASE_URL=bare, **ACCOUNT).run(*command)
        assert (result.exit_code, result.stdout) == (78, "")
        assert result.stderr == "Error: The database is not prepared yet: run `email-orchestrator init-db`.\n"


def test_why_the_service_ended_is_in_its_log_file_too(bare: str, tmp_path: Path) -> None:
    log = tmp_path / "eo.log"
    result = Shell(tmp_path, DATABASE_URL=bare, **ACCOUNT).run("run", LOG_FILE=str(log), LOG_FORMAT="json")
    assert result.exit_code == 78
    last = json.loads(log.read_text().splitlines()[-1])
    assert (last["log.level"], last["event.action"]) == ("critical", "ended")
    assert result.stderr == f"Error: {last['message']}\n"


def test_a_database_of_a_newer_program_is_left_alone(belt: Belt, shell: Shell) -> None:
    belt.sql("INSERT INTO schema_version (version) VALUES (%s)", schema.VERSION + 1)
    for command in ("init-db", "list", "poll"):
        result = shell.run(command)
        assert result.exit_code == 78
        assert "install the newer program again" in result.stderr


# The embedded database --------------------------------------------------------------------------------------------


def test_the_embedded_database_serves_a_shell_alone_and_beside_the_service(server_folder: Path, tmp_path: Path) -> None:
    kept, log = server_folder / "kept", tmp_path / "eo.log"
    with GatewayStandIn(owner=ACCOUNT["YOUR_PHONE_NUMBER"]) as gateway:
        shell = Shell(
            tmp_path,
            DATA_DIR=str(kept),
            EMAIL_SOURCE="database",
            POLL_INTERVAL="1",
            SMS_GATEWAY_URL=gateway.url,
            AI_REPLY_GENERATOR_URL=NOWHERE,
            PORT="0",
            **ACCOUNT,
        )
        outputs = [shell.run("init-db").stdout for _ in range(2)]
        assert outputs[0] == f"The database is prepared (schema version {schema.VERSION}).\n"
        assert outputs[1] == f"The database was prepared already (schema version {schema.VERSION}).\n"
        assert shell.run("list").stdout == "There are no workflows yet.\n"
        service = shell.process("run", LOG_FILE=str(log))
        try:
            assert wait_until(lambda: log.exists() and " ready on " in log.read_text())
            with closing(psycopg2.connect(find_running(kept) or "")) as monitor, monitor:
                monitor.cursor().execute(
                    "INSERT INTO processed_emails (message_id, from_address, subject, body_text, received_at)"
                    " VALUES ('<e1@example.com>', 'ann@example.com', 'Hi', 'Hello', now())"
                )
            assert wait_until(lambda: "ann@example.com" in shell.run("list").stdout, every=0.2)
            assert shell.run("ignore", "1").exit_code == 0
        finally:
            service.terminate()
            service.communicate(timeout=20)
        assert service.returncode == 0
        assert "user_ignored" in shell.run("show", "1").stdout


# Trouble ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def away() -> str:
    """The address of a database server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return f"postgresql://orchestrator:s3cret-passw0rd@127.0.0.1:{port}/email_auto_reply"


@pytest.mark.parametrize("command", [*EVERY_COMMAND, ("init-db",)], ids=" ".join)
def test_without_the_database_every_command_fails_for_now_and_says_what_to_do(
    tmp_path: Path, away: str, command: tuple[str, ...]
) -> None:
    result = Shell(tmp_path, DATABASE_URL=away, **ACCOUNT).run(*command)
    assert (result.exit_code, result.stdout) == (75, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("Error: The database cannot be reached: ")
    assert line.endswith(". Check DB_HOST or DATABASE_URL, or try again later.")
    assert "s3cret" not in line


@pytest.mark.parametrize("command", [*EVERY_COMMAND, ("init-db",), ("run",)], ids=" ".join)
def test_mistakes_in_the_settings_are_told_one_a_line_before_anything_is_done(
    tmp_path: Path, away: str, command: tuple[str, ...]
) -> None:
    shell = Shell(tmp_path, DATABASE_URL=away, **ACCOUNT)
    result = shell.run(*command, POLL_INTERVAL="soon", SMS_FORMAT="long", API_TOKEN="s3cret")
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.splitlines() == [
        "Error: POLL_INTERVAL: must be a whole number from 1 to 86400",
        "Error: SMS_FORMAT: must be one of auto, condensed, multipart",
        "Error: API_TOKEN: must be at least 16 letters, digits or - . _ ~ + / = (or none)",
    ]


@pytest.mark.parametrize("command", [("approve", "1"), ("ignore", "1"), ("poll",), ("run",)], ids=" ".join)
def test_acting_needs_the_account_and_the_phone(tmp_path: Path, away: str, command: tuple[str, ...]) -> None:
    result = Shell(tmp_path, DATABASE_URL=away).run(*command)
    assert result.exit_code == 78
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == list(ACCOUNT)[:3]


@pytest.mark.parametrize("command", [("list",), ("status",), ("ignore", "1")], ids=" ".join)
def test_a_look_creates_no_database_where_there_is_none(tmp_path: Path, command: tuple[str, ...]) -> None:
    # A folder of that name may be anybody's.
    (tmp_path / "data").mkdir()
    result = Shell(tmp_path, **ACCOUNT).run(*command)
    assert result.exit_code == 78
    assert result.stderr.startswith("Error: DB_HOST: is missing, DATABASE_URL too, and there is no embedded database")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.fixture
def stranger(postgres_server: str, postgres_admin: connection, bare: str) -> Iterator[str]:
    """The DSN of an empty database for a user who may do nothing in it."""
    name = f"stranger_{secrets.token_hex(4)}"
    with postgres_admin.cursor() as commands:
        commands.execute(f"CREATE ROLE {name} LOGIN")
        yield make_dsn(bare, user=name)
        commands.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("wrong", [{"sslmode": "verify_full"}, {"port": "99999"}])
def test_an_address_of_a_database_that_can_never_be_reached_is_a_matter_of_the_settings(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    dsn = make_dsn("host=127.0.0.1 port=1 dbname=x", **wrong)
    result = Shell(tmp_path, DATABASE_URL=dsn, **ACCOUNT).run("list")
    assert result.exit_code == 78
    assert result.stderr.startswith("Error: DATABASE_URL: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("wrong", [{"dbname": "no_such_database"}, {"user": "no_such_user"}])
def test_a_database_that_does_not_let_us_in_is_a_matter_of_the_settings(
    tmp_path: Path, bare: str, wrong: dict[str, str]
) -> None:
    for command in ("list", "init-db", "poll"):
        result = Shell(tmp_path, DATABASE_URL=make_dsn(bare, **wrong), **ACCOUNT).run(command)
        assert (result.exit_code, result.stdout) == (78, "")
        [line] = result.stderr.splitlines()
        assert line.startswith("Error: The database does not let us in: ")
        assert line.endswith(" does not exist. Look at DATABASE_URL, or at DB_NAME, DB_USER and DB_PASSWORD.")


def test_a_user_who_may_make_no_tables_is_told_what_to_grant(tmp_path: Path, stranger: str) -> None:
    shell = Shell(tmp_path, DATABASE_URL=stranger, **ACCOUNT)
    result = shell.run("init-db")
    assert (result.exit_code, result.stdout) == (78, "")
    [line] = result.stderr.splitlines()
    assert "permission denied for schema public" in line
    assert "`email-orchestrator check`" in line
    found = shell.run("check").stdout
    assert "GRANT CREATE ON SCHEMA public TO stranger_" in found


def test_an_address_that_libpq_cannot_read_is_told_without_it(tmp_path: Path) -> None:
    result = Shell(tmp_path, DATABASE_URL="postgresql://u:s3cret@127.0.0.1/db?nonsense=s3cret").run("--verbose", "list")
    assert result.exit_code == 78
    assert result.stderr.endswith("Error: DATABASE_URL: cannot be read as a PostgreSQL address\n")
    assert "s3cret" not in result.output


def test_what_nobody_foresaw_is_one_line_and_with_verbose_a_traceback(belt: Belt, shell: Shell) -> None:
    belt.offered()
    belt.sql("ALTER TABLE workflow_state DROP COLUMN sender_name")
    result = shell.run("list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: this should not have happened (KeyError: 'sender_name'); --verbose shows where\n"
    explained = shell.run("--verbose", "list")
    assert explained.exit_code == 1
    assert "Traceback" in explained.stderr
    assert explained.stderr.endswith(result.stderr)


@pytest.mark.parametrize("command", ["approve", "ignore", "show"])
def test_verbose_shows_where_a_foreseen_failure_came_from(shell: Shell, command: str) -> None:
    result = shell.run(command, "99", **ACCOUNT)
    explained = shell.run("--verbose", command, "99", **ACCOUNT)
    assert result.exit_code == explained.exit_code == 3
    assert "NotFound" in explained.stderr
    assert explained.stderr.endswith(result.stderr)


def test_verbose_tells_what_a_command_does(belt: Belt, shell: Shell) -> None:
    belt.offered()
    assert "workflow 1: awaiting_user -> user_ignored (cli)" in shell.run("--verbose", "ignore", "1").stderr


# Usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("aprove", "1"),
        ("approve",),
        ("ignore",),
        ("show",),
        ("show", "1", "2"),
        ("retry", "1", "2"),
        ("list", "--all"),
        ("list", "--limit", "0"),
        ("list", "--env-file", ".env"),
        ("poll", "--lookback", "x"),
        ("--quiet", "list"),
    ],
    ids=" ".join,
)
def test_a_command_that_is_written_wrongly_is_a_mistake_of_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = Shell(tmp_path).run(*arguments)
    assert result.exit_code == 2
    if arguments:
        [line] = result.stderr.splitlines()
        assert line.startswith("Error: ")
        assert line.endswith("--help` shows how it is written.")
    else:
        assert result.stderr.startswith("Usage: ")


def test_every_command_explains_itself_in_a_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    text, _ = shell.process("--help").communicate(timeout=20)
    commands = "approve demo edit ignore init-db list poll retry run show status timeout undo"
    lines = {line.split()[0]: line for line in text.partition("Commands:")[2].splitlines() if line.strip()}
    assert set(commands.split()) <= set(lines)
    # Not one is cut short for want of room.
    assert all(len(line) <= 80 and line.endswith(".") and not line.endswith("..") for line in lines.values())
    for command in lines:
        assert shell.run(command, "--help").exit_code == 0


def test_the_named_file_of_settings_is_read(belt: Belt, tmp_path: Path) -> None:
    belt.offered()
    (tmp_path / "my.env").write_text(f'DATABASE_URL="{belt.dsn}"\n')
    shell = Shell(tmp_path)
    assert shell.run("--env-file", "my.env", "list").stdout.startswith("ID")
    absent = shell.run("--env-file", "absent.env", "list")
    assert (absent.exit_code, absent.stderr) == (78, "Error: --env-file: there is no file absent.env\n")


# Completion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_every_documented_shell_completes_commands_and_states(tmp_path: Path, name: str) -> None:
    """As each of click's scripts for these shells asks for it."""
    program = Path(sys.executable).with_name("email-orchestrator")
    if not program.exists():
        pytest.skip("the program is not installed beside Python")
    variable = "_EMAIL_ORCHESTRATOR_COMPLETE"
    manual = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    assert f"{variable}={name}_source email-orchestrator" in manual

    def ask(kind: str, **words: str) -> str:
        environment = {variable: f"{name}_{kind}", "PATH": os.environ["PATH"], **words}
        return subprocess.run([program], env=environment, cwd=tmp_path, capture_output=True, text=True).stdout

    if name != "bash" or shutil.which("bash"):  # click asks bash for its version
        assert "email-orchestrator" in ask("source")
    first = {"COMP_WORDS": "email-orchestrator ap", "COMP_CWORD": "ap" if name == "fish" else "1"}
    assert "approve" in ask("complete", **first)
    third = {"COMP_WORDS": "email-orchestrator list --state re", "COMP_CWORD": "re" if name == "fish" else "3"}
    assert "reply_sent" in ask("complete", **third)


# As a process -----------------------------------------------------------------------------------------------------


def test_exit_code_and_outputs_are_those_of_the_process(shell: Shell) -> None:
    process = shell.process("show", "7")
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (3, "")
    assert stderr == "Error: There is no workflow 7. `email-orchestrator list` shows what there is.\n"


def test_a_reader_that_goes_away_is_no_error(belt: Belt, shell: Shell) -> None:
    belt.offered()
    process = shell.process("list")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(20)


def test_a_terminal_that_cannot_show_a_character_is_no_error(belt: Belt, shell: Shell) -> None:
    belt.offered(subject="Party 🎉 tonight")
    process = shell.process("list", PYTHONIOENCODING="latin-1:strict")
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert "Party ? tonight" in stdout


HEAVY = {"bottle", "waitress", "requests", "urllib3", "phonenumbers", "prometheus_client", "schedule"}
OURS = {f"email_orchestrator.{name}" for name in ("core.commands", "core.wording", "settings", "store", "workflow")}


@pytest.mark.parametrize(
    ("command", "more"), [("--help", OURS | {"psycopg2", "dotenv", "ssl"}), ("list", set()), ("status", set())]
)
def test_a_look_loads_nothing_that_it_does_not_need(shell: Shell, command: str, more: set[str]) -> None:
    program = f"""
import sys
from email_orchestrator.cli import main
main({[command]!r}, standalone_mode=False)
print(*({HEAVY | more!r} & set(sys.modules)), file=sys.stderr)
"""
    _, stderr = shell.python("-c", program).communicate(timeout=20)
    assert stderr.split() == []
