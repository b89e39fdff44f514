"""`check` finds what is amiss, says how to mend it, and leaves everything as it was."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import make_dsn

from email_orchestrator.checks import webhook
from email_orchestrator.checks.everything import check_everything
from email_orchestrator.checks.finding import Finding, Grade
from email_orchestrator.demo.standin_http import Answer, HttpStandIn, Request
from email_orchestrator.demo.standins import GatewayStandIn, GeneratorStandIn, MailStandIn, MonitorStandIn
from email_orchestrator.embedded import EmbeddedPostgres
from email_orchestrator.settings import load_settings
from email_orchestrator.store.mail_pause import UNTIL_A_PERSON_ACTS, Pause

CERTIFICATE = Path(__file__).parents[1] / "support" / "loopback.pem"
PHONE = "+61491570156"
SECRET = "correct-horse-battery"


class Gateway(GatewayStandIn):
    """A gateway that says of itself what `health` says, when that is set."""

    health: dict[str, Any] | None = None

    def answer(self, request: Request) -> Answer:
        if request.path == "/health" and self.health is not None:
            return Answer(body=self.health)
        return super().answer(request)


class Daemon(HttpStandIn):
    """Whatever listens on our port: by default a daemon in good health."""

    health = Answer(body={"status": "healthy", "service": "orchestrator", "problems": []})

    def answer(self, request: Request) -> Answer:
        return self.health if request.path == "/health" else Answer(404, {})


@dataclass
class House:
    """Everything that `check` looks at, in good order, and the settings that lead there."""

    dsn: str
    monitor: MonitorStandIn
    generator: GeneratorStandIn
    gateway: Gateway
    mail: MailStandIn
    daemon: Daemon
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "EMAIL_MONITOR_URL": self.monitor.url,
            "AI_REPLY_GENERATOR_URL": self.generator.url,
            "SMS_GATEWAY_URL": self.gateway.url,
            "GMAIL_SMTP_SERVER": self.mail.host,
            "GMAIL_SMTP_PORT": str(self.mail.port),
            "SENT_CHECK": "off",
            "EMAIL_ADDRESS": self.mail.user,
            "EMAIL_PASSWORD": self.mail.password,
            "YOUR_PHONE_NUMBER": PHONE,
            "DATABASE_URL": self.dsn,
            "PORT": str(self.daemon.port),
            **self.settings,
        }

    def findings(self, *, send_test_sms: bool = False) -> list[Finding]:
        settings = load_settings(environ=self.environment)
        return list(check_everything(settings, None, send_test_sms=send_test_sms))

    def amiss(self) -> list[Finding]:
        return [finding for finding in self.findings() if finding.grade is not Grade.OK]

    def find(self, name: str) -> Finding:
        (finding,) = [finding for finding in self.findings() if finding.name == name]
        return finding

    def sql(self, statement: str) -> None:
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute(statement)

    def command(self, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the command as a person does, in an empty folder."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "email_orchestrator", "check", *options],
            env=inherited | self.environment | settings,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def house(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        parts: tuple[Any, ...] = (MonitorStandIn(dsn), GeneratorStandIn(dsn), Gateway(), MailStandIn(password=SECRET))
        yield House(dsn, *(stack.enter_context(part) for part in (*parts, Daemon())))


def test_nothing_is_amiss_where_everything_is_in_order(house: House) -> None:
    assert house.amiss() == []
    names = {finding.name for finding in house.findings()}
    assert names >= {"Settings", "Database", "Schema", "Rights", "Clock", "Disk", "Time zone", "Older emails", "Daemon"}
    assert names >= {"Email Monitor", "AI Reply Generator", "SMS Gateway", "SMTP", "Sent Mail"}


def test_nobody_is_paid_or_texted_or_mailed(house: House) -> None:
    house.findings()
    assert house.generator.calls == []
    assert house.generator.connections == 1
    assert house.monitor.calls == ["GET /health"]
    assert house.gateway.calls == ["GET /health"]
    assert house.mail.mails == []
    assert house.mail.logins == 1


def test_a_test_text_goes_out_when_it_is_asked_for(house: House) -> None:
    (finding,) = [one for one in house.findings(send_test_sms=True) if one.name == "Test text"]
    assert finding.grade is Grade.OK
    assert [text.to for text in house.gateway.sent] == [PHONE]


def test_the_database_is_only_read(house: House) -> None:
    forbid = "ALTER DATABASE %I SET default_transaction_read_only = on"
    house.sql(f"DO $$ BEGIN EXECUTE format('{forbid}', current_database()); END $$")
    (only,) = house.amiss()
    assert (only.name, only.grade) == ("Database", Grade.WRONG)
    assert "takes no writing" in only.says


def stop(name: str) -> Callable[[House], None]:
    return lambda house: getattr(house, name).stop()


def run(statement: str) -> Callable[[House], None]:
    return lambda house: house.sql(statement)


def choose(**settings: str) -> Callable[[House], None]:
    return lambda house: house.settings.update(settings)


def say(**health: Any) -> Callable[[House], None]:
    return lambda house: setattr(house.gateway, "health", {"status": "healthy", "gateway_connected": True} | health)


def answer(status: int = 200, **health: Any) -> Callable[[House], None]:
    return lambda house: setattr(house.daemon, "health", Answer(status, health))


def hours_ago(hours: int) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


def pause_until(moment: datetime) -> str:
    return json.dumps(asdict(Pause(moment, "any", "no", 1)), default=datetime.isoformat)


TROUBLES: list[tuple[str, Callable[[House], None], str, Grade, str]] = [
    ("the monitor is down", stop("monitor"), "Email Monitor", Grade.AWAY, "no connection"),
    ("the generator is down", stop("generator"), "AI Reply Generator", Grade.AWAY, "no connection"),
    ("the gateway is down", stop("gateway"), "SMS Gateway", Grade.AWAY, "no connection"),
    ("the phone is off", say(gateway_connected=False), "SMS Gateway", Grade.AWAY, "no connection to the phone"),
    ("the gateway is unwell", say(status="degraded"), "SMS Gateway", Grade.WARNING, "degraded"),
    ("the gateway's clock", say(timestamp=hours_ago(2)), "Gateway's clock", Grade.WARNING, "s behind"),
    ("SMTP is down", stop("mail"), "SMTP", Grade.AWAY, "no connection"),
    ("a wrong password", choose(EMAIL_PASSWORD="wrong-one"), "SMTP", Grade.WRONG, "535"),
    ("too many logins", lambda h: h.mail.refuse("auth", "454 4.7.0 Too many"), "SMTP", Grade.AWAY, "454"),
    ("the daemon is down", stop("daemon"), "Daemon", Grade.WARNING, "does not run"),
    ("the daemon is unwell", answer(503, service="orchestrator"), "Daemon", Grade.AWAY, "503"),
    ("the daemon limps", answer(service="orchestrator", problems=["Oh."]), "Daemon", Grade.WARNING, "Oh."),
    ("a stranger on our port", answer(service="email-monitor"), "Daemon", Grade.WRONG, "something else"),
    ("any port", choose(PORT="0"), "Daemon", Grade.WARNING, "PORT=0"),
    ("no schema", run("DROP TABLE schema_version"), "Schema", Grade.WRONG, "init-db"),
    ("a newer schema", run("INSERT INTO schema_version VALUES (999)"), "Schema", Grade.WRONG, "newer"),
    ("a strange emails table", run("ALTER TABLE processed_emails DROP thread_id"), "Emails", Grade.WRONG, "thread_id"),
    ("no server", choose(DATABASE_URL="postgresql://127.0.0.1:1/x"), "Database", Grade.AWAY, "cannot be reached"),
    (
        "a wrong database",
        lambda house: choose(DATABASE_URL=make_dsn(house.dsn, dbname="no_such_one"))(house),
        *("Database", Grade.WRONG, "Look at DATABASE_URL"),
    ),
    (
        "the monitor's address for the gateway",
        lambda house: choose(SMS_GATEWAY_URL=house.monitor.url)(house),
        *("SMS Gateway", Grade.WRONG, "calls itself 'email-monitor'"),
    ),
    (
        "the gateway's address for the monitor",
        lambda house: choose(EMAIL_MONITOR_URL=house.gateway.url)(house),
        *("Email Monitor", Grade.WRONG, "speaks as the SMS Gateway does"),
    ),
    ("no time zone", choose(TIMEZONE="UTC", QUIET_HOURS="22:00-07:00"), "Time zone", Grade.WARNING, "22:00-07:00"),
    ("a made-up number", choose(YOUR_PHONE_NUMBER="+15551234567"), "Phone number", Grade.WARNING, "no network"),
    (
        "a short key",
        choose(SMS_WEBHOOK_SIGNING_KEY="abcdefgh", SMS_WEBHOOK_ALLOW_FROM="127.0.0.0/8"),
        *("Signing key", Grade.WARNING, "32"),
    ),
    ("a key for all", choose(SMS_WEBHOOK_SIGNING_KEY="k" * 32), "Webhook", Grade.WARNING, "unsigned as it is"),
    ("no log folder", choose(LOG_FILE="/nowhere/at/all.log"), "Log", Grade.WRONG, "cannot be written"),
    (
        "the owner texted STOP",
        run("INSERT INTO service_state VALUES ('texting_blocked', jsonb_build_object('word', 'STOP', 'at', now()))"),
        *("Texting", Grade.WARNING, "STOP"),
    ),
    (
        "replies rest",
        run(f"INSERT INTO service_state VALUES ('mail_pause', '{pause_until(UNTIL_A_PERSON_ACTS)}')"),
        *("Replies", Grade.WARNING, "somebody acts"),
    ),
]


@pytest.mark.parametrize(
    ("cause", "name", "grade", "words"), [one[1:] for one in TROUBLES], ids=[one[0] for one in TROUBLES]
)
def test_one_thing_amiss_is_the_one_thing_found(
    house: House, cause: Callable[[House], None], name: str, grade: Grade, words: str
) -> None:
    cause(house)
    (found,) = house.amiss()
    assert (found.name, found.grade) == (name, grade), found
    assert words in f"{found.says} {found.mend}"
    # What is amiss comes with what to do about it.
    assert found.mend or "`" in found.says or "install" in found.says


def test_moments_are_told_by_the_owners_clock(house: House) -> None:
    at = "2026-01-02T03:04Z"
    house.sql(f"""INSERT INTO service_state VALUES ('texting_blocked', '{{"word": "STOP", "at": "{at}"}}')""")
    paused = pause_until(datetime.fromisoformat(f"2999{at[4:]}"))
    house.sql(f"INSERT INTO service_state VALUES ('mail_pause', '{paused}')")
    house.settings["TIMEZONE"] = "Asia/Kolkata"
    assert "on 2026-01-02 08:34 IST" in house.find("Texting").says
    assert "until 2999-01-02 08:34 IST" in house.find("Replies").says


AWAY = {"SMS_GATEWAY_URL": "http://192.0.2.1"}
KEY = {"SMS_WEBHOOK_SIGNING_KEY": "k" * 32}
DOORS: list[tuple[dict[str, str], str]] = [
    ({}, ""),
    (KEY, "SMS_WEBHOOK_ALLOW_FROM=127.0.0.1"),
    (KEY | {"SMS_WEBHOOK_ALLOW_FROM": "127.0.0.0/8"}, ""),
    (AWAY, "HOST=0.0.0.0"),
    (AWAY | {"HOST": "192.0.2.2"}, "SMS_WEBHOOK_ALLOW_FROM=its address"),
    (AWAY | {"HOST": "192.0.2.2", "SMS_WEBHOOK_ALLOW_FROM": "192.0.2.3"}, "SMS_WEBHOOK_ALLOW_FROM=its address"),
    (AWAY | KEY | {"HOST": "192.0.2.2"}, "SMS_WEBHOOK_ALLOW_FROM=its address"),
    (AWAY | {"HOST": "192.0.2.2", "SMS_WEBHOOK_ALLOW_FROM": "192.0.2.0/24"}, ""),
]


@pytest.mark.parametrize(("settings", "mend"), DOORS)
def test_a_door_that_the_gateway_cannot_pass_is_pointed_out(settings: dict[str, str], mend: str) -> None:
    required = {"EMAIL_ADDRESS": "me@example.com", "EMAIL_PASSWORD": SECRET, "YOUR_PHONE_NUMBER": PHONE, "PORT": "0"}
    (door,) = [one for one in webhook.look(load_settings(environ=required | settings)) if one.name == "Webhook"]
    assert door.grade is (Grade.WARNING if mend else Grade.OK)
    assert mend in door.mend


def test_rights_that_are_missing_are_named(house: House) -> None:
    reader = f"reader_{secrets.token_hex(4)}"  # roles belong to the whole server, which other tests share
    house.sql(f"CREATE ROLE {reader} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
    house.settings["DATABASE_URL"] = make_dsn(house.dsn, user=reader)
    try:
        (found,) = house.amiss()
    finally:
        house.sql(f"DROP OWNED BY {reader}; DROP ROLE {reader}")
    assert (found.name, found.grade) == ("Rights", Grade.WRONG)
    assert "UPDATE on processed_emails" in found.says


def test_emails_that_are_left_alone_are_counted(house: House) -> None:
    for number in range(3):
        house.monitor.add_email(
            f"<{number}@x>", "john@example.com", "Old", "Old", received_at=datetime(2020, 1, 1, tzinfo=UTC)
        )
    finding = house.find("Older emails")
    assert finding.grade is Grade.OK
    assert finding.says.startswith("3 older than 24 hours")


def test_without_imap_there_is_only_a_warning(house: House) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        port = unused.getsockname()[1]
    house.settings |= {"SENT_CHECK": "imap", "GMAIL_IMAP_SERVER": "127.0.0.1", "GMAIL_IMAP_PORT": str(port)}
    (found,) = house.amiss()
    assert (found.name, found.grade) == ("Sent Mail", Grade.WARNING)
    assert house.command().returncode == 0


def test_a_refused_password_is_not_tried_a_second_time(house: House) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as imap:
        port = imap.getsockname()[1]
        house.settings |= {"SENT_CHECK": "imap", "GMAIL_IMAP_SERVER": "127.0.0.1", "GMAIL_IMAP_PORT": str(port)}
        house.settings["EMAIL_PASSWORD"] = "wrong-one"
        imap.settimeout(0)
        assert house.find("Sent Mail").says == "not tried, because SMTP refused the login"
        with pytest.raises(BlockingIOError):
            imap.accept()
    assert house.mail.refused_logins == 1


def test_without_a_server_the_embedded_database_is_announced_and_not_made(house: House, tmp_path: Path) -> None:
    house.settings |= {"DATABASE_URL": "", "DATA_DIR": str(tmp_path / "kept")}
    assert "embedded" in house.find("Database").says
    assert not (tmp_path / "kept").exists()


def test_a_look_at_the_embedded_database_changes_nothing_in_it(house: House, server_folder: Path) -> None:
    house.settings |= {"DATABASE_URL": "", "DATA_DIR": str(server_folder / "kept")}
    with EmbeddedPostgres(server_folder / "kept", durable=False):
        pass
    assert house.find("Schema").grade is Grade.WRONG
    with EmbeddedPostgres(server_folder / "kept", durable=False) as dsn, closing(psycopg2.connect(dsn)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone() == (0,)


def test_data_that_no_program_here_can_run_is_wrong_and_not_away(house: House, server_folder: Path) -> None:
    (server_folder / "kept" / "data").mkdir(parents=True)
    (server_folder / "kept" / "data" / "PG_VERSION").write_text("9\n")
    house.settings |= {"DATABASE_URL": "", "DATA_DIR": str(server_folder / "kept")}
    found = house.find("Database")
    assert found.grade is Grade.WRONG
    assert "PostgreSQL 9 is needed" in found.says
    assert found.mend == ""


@pytest.mark.parametrize(("free", "grade"), [(299, Grade.WARNING), (29, Grade.FAILED), (301, Grade.OK)])
def test_little_room_on_the_disk_is_pointed_out(
    house: House, monkeypatch: pytest.MonkeyPatch, free: int, grade: Grade
) -> None:
    usage = shutil.disk_usage("/")._replace(free=free * 2**20)
    monkeypatch.setattr("email_orchestrator.checks.machine.shutil.disk_usage", lambda _: usage)
    found = house.find("Disk")
    assert found.grade is grade
    assert found.says.startswith(f"{free} MB free at ")


def test_a_clock_that_is_apart_from_the_databases_is_pointed_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("email_orchestrator.checks.database.CLOCK_TOLERANCE", timedelta(seconds=-1))
    found = house.find("Clock")
    assert found.grade is Grade.WARNING
    assert "NTP" in found.mend


def test_a_settings_file_with_secrets_that_all_may_read_is_pointed_out(house: House, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"EMAIL_PASSWORD={SECRET}\n")
    file.chmod(0o640)
    assert house.amiss() == []
    file.chmod(0o644)
    (found,) = house.amiss()
    assert (found.name, found.grade) == ("Secrets", Grade.WARNING)
    assert "chmod o=" in found.mend


def test_a_name_that_is_nearly_a_settings_is_pointed_out(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("# POLL_INTERVALS=9\nSMS_FORMATT=condensed\nexport OTHER_PROGRAM=1\nHOSTS=x\n")
    (found,) = house.amiss()
    assert (found.name, found.grade) == ("Settings", Grade.WARNING)
    assert found.says.startswith("SMS_FORMATT is set")
    assert "SMS_FORMAT " in found.mend
    (tmp_path / ".env").unlink()
    monkeypatch.setenv("USER_RESPONSE_TIMEOUTS", "9")
    (found,) = house.amiss()
    assert found.says.startswith("USER_RESPONSE_TIMEOUTS is set")


@contextmanager
def _tls_server() -> Iterator[int]:
    """A TLS server on loopback, with the tests' certificate; yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_the_end_of_a_certificate_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with _tls_server() as port:
        house.settings["AI_REPLY_GENERATOR_URL"] = f"https://127.0.0.1:{port}"
        finding = house.find("Certificate")
        assert finding.grade is Grade.OK
        assert "is valid until 2" in finding.says
        monkeypatch.setattr("email_orchestrator.checks.services.CERTIFICATE_MARGIN", timedelta(days=100_000))
        assert house.find("Certificate").grade is Grade.WARNING


def test_a_certificate_that_nobody_vouches_for_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with _tls_server() as port:
        house.settings["AI_REPLY_GENERATOR_URL"] = f"https://127.0.0.1:{port}"
        finding = house.find("Certificate")
    assert finding.grade is Grade.WARNING
    assert "not valid" in finding.says
    assert "127.0.0.1" in finding.mend


def test_the_command_prints_a_line_for_each_and_exits_0(house: House) -> None:
    done = house.command()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(house.findings())
    assert all(line.startswith("ok ") for line in lines)
    assert "\x1b" not in done.stdout
    assert SECRET not in done.stdout


def test_warnings_alone_exit_0(house: House) -> None:
    house.daemon.stop()
    assert house.command().returncode == 0


def test_what_is_away_for_now_exits_75(house: House) -> None:
    house.gateway.stop()
    assert house.command().returncode == 75


def test_what_only_a_person_can_mend_exits_78_whatever_else_is_away(house: House) -> None:
    house.gateway.stop()
    assert house.command(EMAIL_PASSWORD="wrong-one").returncode == 78


def test_mistakes_in_the_settings_are_named_all_at_once(house: House) -> None:
    done = house.command(POLL_INTERVAL="soon", PORT="99999")
    assert done.returncode == 78
    assert "POLL_INTERVAL" in done.stderr
    assert "PORT" in done.stderr


def test_json_tells_the_same_to_a_script(house: House) -> None:
    house.gateway.stop()
    done = house.command("--json")
    report = json.loads(done.stdout)
    assert (report["ok"], report["exit_code"], done.returncode) == (False, 75, 75)
    (away,) = [one for one in report["checks"] if one["status"] == "away"]
    assert away["name"] == "SMS Gateway"
    assert away["message"]
    assert away["mend"]


def test_json_names_mistakes_in_the_settings_too(house: House) -> None:
    done = house.command("--json", POLL_INTERVAL="soon")
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_code"] == 78
    assert [(one["name"], one["status"]) for one in report["checks"]] == [("POLL_INTERVAL", "wrong")]


def test_the_command_sends_a_test_text_only_when_told_to(house: House) -> None:
    house.command()
    assert house.gateway.sent == []
    assert house.command("--send-test-sms").returncode == 0
    assert len(house.gateway.sent) == 1
