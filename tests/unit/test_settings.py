"""Settings: where they come from, which wins, that every mistake is told at once, and that secrets stay secret."""

from __future__ import annotations

import os
import re
import threading
import traceback
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from email_orchestrator.core.phone import is_owner
from email_orchestrator.errors import SettingsError
from email_orchestrator.settings import REQUIRED, SECRETS, Settings, load_settings, secrets_of

ROOT = Path(__file__).parents[2]
NEEDED = {
    "EMAIL_ADDRESS": "me@example.com",
    "EMAIL_PASSWORD": "abcd efgh ijkl mnop",
    "YOUR_PHONE_NUMBER": "+61491570156",
}

# What people and scripts rely on: the name of every setting and its default, written as it is in an environment.
DEFAULTS = {
    "EMAIL_MONITOR_URL": "http://localhost:8001",
    "AI_REPLY_GENERATOR_URL": "http://localhost:8002",
    "SMS_GATEWAY_URL": "http://localhost:8000",
    "GMAIL_SMTP_SERVER": "smtp.gmail.com",
    "GMAIL_SMTP_PORT": "465",
    "GMAIL_IMAP_SERVER": "imap.gmail.com",
    "GMAIL_IMAP_PORT": "993",
    "SENT_CHECK": "imap",
    "EMAIL_ADDRESS": "",
    "EMAIL_PASSWORD": "",
    "EMAIL_FROM_NAME": "",
    "EMAIL_SIGNATURE": "",
    "QUOTE_ORIGINAL": "false",
    "YOUR_PHONE_NUMBER": "",
    "DB_HOST": "",
    "DB_PORT": "5432",
    "DB_NAME": "email_auto_reply",
    "DB_USER": "",
    "DB_PASSWORD": "",
    "DATABASE_URL": "",
    "DATA_DIR": "data",
    "EMAIL_SOURCE": "monitor",
    "POLL_INTERVAL": "30",
    "POLL_LOOKBACK_HOURS": "24",
    "MAX_EMAILS_PER_POLL": "5",
    "MAX_AWAITING": "10",
    "MAX_REPLIES_PER_SENDER": "10",
    "SKIP_SENDERS": "",
    "ALLOW_SENDERS": "",
    "AI_TONE": "professional",
    "AI_MAX_LENGTH": "",
    "USER_RESPONSE_TIMEOUT": "86400",
    "USER_FINAL_TIMEOUT": "172800",
    "MAX_RETRY_ATTEMPTS": "3",
    "MAX_EDIT_ITERATIONS": "10",
    "SMS_FORMAT": "auto",
    "SMS_CHARSET": "unicode",
    "SMS_MAX_PARTS": "6",
    "SMS_PART_GAP": "2",
    "SMS_CONFIRM": "true",
    "SMS_RECONCILE_INTERVAL": "60",
    "SEND_DELAY": "0",
    "QUIET_HOURS": "",
    "TIMEZONE": "",
    "HOST": "127.0.0.1",
    "PORT": "8003",
    "API_TOKEN": "",
    "SMS_WEBHOOK_SIGNING_KEY": "",
    "SMS_WEBHOOK_ALLOW_FROM": "",
    "WORKERS": "4",
    "LEASE_SECONDS": "120",
    "TIMEOUT_CHECK_INTERVAL": "300",
    "RETENTION_DAYS": "90",
    "LOG_LEVEL": "INFO",
    "LOG_FORMAT": "text",
    "LOG_FILE": "",
}
SECRET_VALUES = {
    "EMAIL_PASSWORD": "s3cret-mail-passw0rd",
    "DB_PASSWORD": "s3cret-db-passw0rd",
    "DATABASE_URL": "postgresql://orchestrator:s3cret-url-passw0rd@db.example.com/email_auto_reply",
    "API_TOKEN": "s3cret-api-token-0123456789",
    "SMS_WEBHOOK_SIGNING_KEY": "s3cret-signing-key,s3cret-second-key",
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` of the machine gets into a test."""
    monkeypatch.chdir(tmp_path)


def load(**given: str) -> Settings:
    return load_settings(environ=NEEDED | given)


def problems_of(env_file: Path | None = None, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file, environ=NEEDED if environ is None else environ)
    return caught.value.problems


def default(name: str) -> Any:
    return getattr(Settings(), name.lower())


def parsed(name: str, text: str) -> Any:
    """The value that a setting has when its text is `text`; an empty one leaves the default."""
    [rule] = [field.metadata["rule"] for field in fields(Settings) if field.name == name.lower()]
    return rule.parse(text) if text else default(name)


def test_every_setting_has_the_name_and_the_default_that_people_rely_on() -> None:
    assert [field.name.upper() for field in fields(Settings)] == list(DEFAULTS)
    assert {name: parsed(name, text) for name, text in DEFAULTS.items()} == {name: default(name) for name in DEFAULTS}


def test_three_settings_are_needed_and_nothing_else() -> None:
    settings = load()
    assert (settings.email_address, settings.your_phone_number) == ("me@example.com", "+61491570156")
    assert {field.name for field in fields(Settings) if getattr(settings, field.name) != default(field.name)} == {
        name.lower() for name in NEEDED
    }
    assert set(REQUIRED) == set(NEEDED)


def test_a_look_at_the_database_needs_no_mail_account_and_no_phone() -> None:
    settings = load_settings(environ={"DATABASE_URL": "postgresql://host/db"}, required=())
    assert settings.dsn == "postgresql://host/db"


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(FrozenInstanceError):
        load().port = 1  # type: ignore[misc]


# Mistakes ---------------------------------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once_each_with_its_name_and_what_is_expected() -> None:
    problems = problems_of(
        environ={
            "EMAIL_ADDRESS": "nobody",
            "YOUR_PHONE_NUMBER": "0491570156",
            "POLL_INTERVAL": "soon",
            "SMS_FORMAT": "long",
            "QUIET_HOURS": "night",
            "TIMEZONE": "Vienna",
            "USER_FINAL_TIMEOUT": "60",
        }
    )
    expected = {
        "EMAIL_ADDRESS": "must be one email address such as me@example.com",
        "YOUR_PHONE_NUMBER": "must be a phone number in international form, such as +61491570156",
        "POLL_INTERVAL": "must be a whole number from 1 to 86400",
        "SMS_FORMAT": "must be one of auto, condensed, multipart",
        "QUIET_HOURS": "must be a span of the day such as 22:00-07:00 (or none)",
        "TIMEZONE": "must be the name of a time zone such as Europe/Vienna",
        "EMAIL_PASSWORD": "is missing; it must be the mail account's app password",
        "USER_FINAL_TIMEOUT": "must be longer than USER_RESPONSE_TIMEOUT",
    }
    assert dict(problem.split(": ", 1) for problem in problems) == expected


def test_a_mistake_is_not_told_a_second_time_as_a_contradiction() -> None:
    [problem] = problems_of(environ=NEEDED | {"USER_RESPONSE_TIMEOUT": "a day", "USER_FINAL_TIMEOUT": "3600"})
    assert problem.startswith("USER_RESPONSE_TIMEOUT: must be a whole number")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"USER_RESPONSE_TIMEOUT": "600", "USER_FINAL_TIMEOUT": "600"}, "USER_FINAL_TIMEOUT: must be longer than"),
        ({"DB_HOST": "db"}, "DB_USER: is missing, though DB_HOST is set"),
        ({"DB_USER": "readwrite"}, "DB_HOST: is missing, though DB_USER is set"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str], problem: str) -> None:
    [found] = problems_of(environ=NEEDED | given)
    assert found.startswith(problem)


def test_the_parts_of_the_database_do_not_matter_beside_its_address() -> None:
    assert load(DATABASE_URL="postgresql://host/db", DB_USER="left", DB_PASSWORD="over").dsn == "postgresql://host/db"


# Where settings come from -----------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults() -> None:
    Path(".env").write_text("POLL_INTERVAL=5\nWORKERS=2\n")
    settings = load(POLL_INTERVAL="7")
    assert (settings.poll_interval, settings.workers, settings.port) == (7, 2, 8003)


@pytest.mark.parametrize("blank", ["", "   "])
def test_an_empty_variable_does_not_blank_what_the_file_says(blank: str) -> None:
    Path(".env").write_text("QUIET_HOURS=22:00-07:00\n")
    assert load(QUIET_HOURS=blank).quiet_hours is not None


@pytest.mark.parametrize("word", ["none", "off", "None"])
def test_a_value_of_the_file_is_taken_back_with_a_word_for_nothing(word: str) -> None:
    Path(".env").write_text("QUIET_HOURS=22:00-07:00\nRETENTION_DAYS=60\n")
    settings = load(QUIET_HOURS=word, RETENTION_DAYS=word)
    assert (settings.quiet_hours, settings.retention_days) == (None, None)


def test_what_is_empty_everywhere_is_the_default_or_missing() -> None:
    assert load(POLL_INTERVAL="").poll_interval == 30
    assert problems_of(environ=NEEDED | {"EMAIL_ADDRESS": " "})[0].startswith("EMAIL_ADDRESS: is missing")


def test_the_named_file_is_read_instead_of_the_one_in_the_working_directory(tmp_path: Path) -> None:
    Path(".env").write_text("WORKERS=2\nPORT=1\n")
    other = tmp_path / "other.env"
    other.write_text("WORKERS=3\n")
    settings = load_settings(other, environ=NEEDED)
    assert (settings.workers, settings.port) == (3, 8003)


def test_a_named_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "absent.env") == (f"--env-file: there is no file {tmp_path / 'absent.env'}",)
    assert problems_of(tmp_path) == (f"--env-file: there is no file {tmp_path}",)


def test_a_file_that_comes_through_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("WORKERS=3\n",))
    writer.start()
    assert load_settings(pipe, environ=NEEDED).workers == 3
    writer.join()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EMAIL_FROM_NAME=Jo Doe # a comment\n", "Jo Doe"),
        ("EMAIL_FROM_NAME='Jo # Doe'\n", "Jo # Doe"),
        ('export EMAIL_FROM_NAME="Jo Doe"\r\n', "Jo Doe"),
        ("\ufeffEMAIL_FROM_NAME=Jo Doe", "Jo Doe"),
        ("# first\n\nEMAIL_FROM_NAME = Jo Doe\n", "Jo Doe"),
        ("EMAIL_FROM_NAME=${HOME} $$ `id`\n", "${HOME} $$ `id`"),
    ],
)
def test_the_file_may_be_written_as_people_write_such_files(text: str, expected: str) -> None:
    Path(".env").write_text(text, encoding="utf-8", newline="")
    assert load().email_from_name == expected


def test_a_line_that_cannot_be_read_is_a_mistake_told_without_its_content() -> None:
    Path(".env").write_text("\n# fine\n\nWORKERS=2\nQUIET_HOURS 22:00-07:00\n\nEMAIL_PASSWORD='s3cret\n")
    assert problems_of() == (
        ".env: line 5 is not of the form NAME=value, or its quotes do not match",
        ".env: line 7 is not of the form NAME=value, or its quotes do not match",
    )


def test_a_name_alone_on_its_line_is_a_mistake() -> None:
    Path(".env").write_text("SMS_CONFIRM\n")
    assert problems_of() == (".env: line 1 is not of the form NAME=value, or its quotes do not match",)


def test_a_file_that_is_no_text_is_a_mistake() -> None:
    Path(".env").write_bytes(b"EMAIL_FROM_NAME=\xff\xfe\n")
    assert problems_of() == (".env: is not UTF-8 text: save it as that",)


def test_what_stands_in_a_file_that_cannot_be_read_is_not_missing() -> None:
    Path(".env").write_bytes("EMAIL_ADDRESS=me@example.com\n".encode("utf-16"))
    assert problems_of(environ={}) == (".env: is not UTF-8 text: save it as that",)


@pytest.mark.parametrize("word", ["none", "off", "OFF"])
@pytest.mark.parametrize(
    "name",
    [
        *("EMAIL_FROM_NAME", "EMAIL_SIGNATURE", "SKIP_SENDERS", "ALLOW_SENDERS", "SMS_WEBHOOK_SIGNING_KEY"),
        *("SMS_WEBHOOK_ALLOW_FROM", "DATABASE_URL", "AI_MAX_LENGTH", "QUIET_HOURS", "API_TOKEN", "LOG_FILE"),
    ],
)
def test_what_a_file_says_can_be_switched_off_in_the_environment(name: str, word: str) -> None:
    assert not getattr(load(**{name: word}), name.lower())


def test_what_is_no_setting_of_ours_is_left_alone() -> None:
    Path(".env").write_text("TZ=UTC\nPGOPTIONS=-c x=y\n")
    assert load(PATH="/bin").workers == 4


def test_systemds_credentials_win_over_everything_and_lose_their_line_end(tmp_path: Path) -> None:
    (tmp_path / "EMAIL_PASSWORD").write_text("from-systemd\n")
    (tmp_path / "API_TOKEN").write_text("\n")
    Path(".env").write_text("EMAIL_PASSWORD=from-file\nAPI_TOKEN=0123456789abcdef\n")
    settings = load(CREDENTIALS_DIRECTORY=str(tmp_path), EMAIL_PASSWORD="from-environment")
    assert (settings.email_password, settings.api_token) == ("from-systemd", "0123456789abcdef")


def test_only_secrets_are_credentials(tmp_path: Path) -> None:
    (tmp_path / "WORKERS").write_text("9")
    assert load(CREDENTIALS_DIRECTORY=str(tmp_path)).workers == 4


def test_a_credential_that_cannot_be_read_is_a_mistake_told_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "EMAIL_PASSWORD").write_bytes(b"s3cret\xff")
    problems = problems_of(environ=NEEDED | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert problems == ("EMAIL_PASSWORD: its credential is not UTF-8 text: save it as that",)


# Values -----------------------------------------------------------------------------------------------------------


def test_lists_and_keys_and_networks_become_values() -> None:
    settings = load(
        SKIP_SENDERS="Ads@Example.com, @news.example.com,",
        SMS_WEBHOOK_SIGNING_KEY="first-key, second-key",
        SMS_WEBHOOK_ALLOW_FROM="10.0.0.7, 192.168.1.9/24, ::1",
    )
    assert settings.skip_senders == {"ads@example.com", "@news.example.com"}
    assert settings.sms_webhook_signing_key == ("first-key", "second-key")
    expected = [ip_network(text) for text in ("10.0.0.7/32", "192.168.1.0/24", "::1/128")]
    assert list(settings.sms_webhook_allow_from) == expected


def test_every_number_that_is_accepted_is_recognised_as_the_owners() -> None:
    # The library of phone numbers holds the first to be impossible; its owner's answers must count all the same.
    for number in ("+1234567890", "+15551234567", "+61491570156"):
        assert is_owner(number, load(YOUR_PHONE_NUMBER=number).your_phone_number)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"DB_NAME": "other"}, None),
        (
            {"DB_HOST": "db", "DB_USER": "readwrite"},
            "host='db' port='5432' dbname='email_auto_reply' user='readwrite'",
        ),
        (
            {"DB_HOST": "db", "DB_USER": "me", "DB_PASSWORD": r"it's \ this", "DB_PORT": "5433", "DB_NAME": "x"},
            r"host='db' port='5433' dbname='x' user='me' password='it\'s \\ this'",
        ),
        ({"DATABASE_URL": "postgresql://u:p@h/d", "DB_HOST": "db"}, "postgresql://u:p@h/d"),
    ],
)
def test_the_database_is_reached_as_the_settings_say(given: dict[str, str], expected: str | None) -> None:
    assert load(**given).dsn == expected


# Secrets ----------------------------------------------------------------------------------------------------------


def test_the_secrets_are_the_five_that_open_something() -> None:
    assert set(SECRETS) == set(SECRET_VALUES)


def test_no_secret_shows_in_a_settings_repr() -> None:
    settings = load(**SECRET_VALUES)
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)
    assert "me@example.com" in repr(settings)


def test_no_secret_shows_in_an_error_or_its_traceback() -> None:
    wrong = {
        "EMAIL_PASSWORD": "",
        "DB_PASSWORD": "s3cret\x1b",
        "DATABASE_URL": "postgresql://u:s3cret@extra@host/db",
        "API_TOKEN": "s3cret",
        "SMS_WEBHOOK_SIGNING_KEY": "s3c,r3t",
        "SMS_GATEWAY_URL": "http://u:s3cret@host:8000",
        "EMAIL_MONITOR_URL": "http://[s3cret",
    }
    Path(".env").write_text("AI_TONE='s3cret\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=NEEDED | wrong)
    told = "".join(traceback.format_exception(caught.value))
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        ".env",
        "EMAIL_MONITOR_URL",
        "SMS_GATEWAY_URL",
        "DB_PASSWORD",
        "DATABASE_URL",
        "API_TOKEN",
        "SMS_WEBHOOK_SIGNING_KEY",
        "EMAIL_PASSWORD",
    ]
    assert "s3c" not in told


def test_the_log_is_told_every_secret_and_the_password_within_an_address() -> None:
    assert set(secrets_of(load(**SECRET_VALUES))) == {
        "s3cret-mail-passw0rd",
        "s3cret-db-passw0rd",
        SECRET_VALUES["DATABASE_URL"],
        "s3cret-url-passw0rd",
        "s3cret-api-token-0123456789",
        "s3cret-signing-key",
        "s3cret-second-key",
    }
    assert secrets_of(Settings()) == []


# Documents --------------------------------------------------------------------------------------------------------


def test_the_example_file_names_every_setting_with_its_default_and_a_line_about_it() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    found = {}
    for number, line in enumerate(lines):
        if setting := re.fullmatch(r"#? ?([A-Z_]+)=(.*)", line):
            name, text = setting.groups()
            assert name not in found, f"{name} stands there twice"
            assert re.match(r"# \S.* \S", lines[number - 1]), f"{name} has no line about it"
            assert line.startswith("#") == (name not in REQUIRED), f"{name} is a comment, or should be one"
            found[name] = text
    assert found == DEFAULTS


def test_the_example_file_as_it_is_lacks_just_what_has_to_be_filled_in() -> None:
    problems = problems_of(ROOT / ".env.example", environ={})
    assert [problem.split(":")[0] for problem in problems] == list(REQUIRED)


def test_the_example_file_with_every_comment_sign_taken_off_gives_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    Path(".env").write_text(re.sub(r"^# ?([A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    assert load() == Settings(**{name.lower(): parsed(name, text) for name, text in NEEDED.items()})


def test_the_page_about_the_settings_explains_every_one_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names))
    assert set(names) == set(DEFAULTS)
    for name, told, explanation in rows:
        text = "" if told in ("–", "the system's", "needed") else told.strip("`")
        assert text == DEFAULTS[name], name
        assert (told == "needed") == (name in REQUIRED), name
        assert len(explanation.split()) >= 4, name
