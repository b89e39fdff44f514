"""Settings: environment, `.env` file and systemd credentials become one frozen value, or all the mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from . import setting_values as to
from .errors import SettingsError

Network = IPv4Network | IPv6Network
Parser = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one setting is read: `parse` turns its text into the value or raises ValueError saying what is expected."""

    parse: Parser
    secret: bool = False


def _setting(parse: Parser, default: Any, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"rule": Rule(parse, secret)}, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the owner can choose; each field is the environment variable of the same name in capitals."""

    email_monitor_url: str = _setting(to.url, "http://localhost:8001")
    ai_reply_generator_url: str = _setting(to.url, "http://localhost:8002")
    sms_gateway_url: str = _setting(to.url, "http://localhost:8000")
    gmail_smtp_server: str = _setting(to.text, "smtp.gmail.com")
    gmail_smtp_port: int = _setting(to.whole(1, 65535), 465)
    gmail_imap_server: str = _setting(to.text, "imap.gmail.com")
    gmail_imap_port: int = _setting(to.whole(1, 65535), 993)
    sent_check: str = _setting(to.one_of("imap", "off"), "imap")
    email_address: str = _setting(to.address, "")
    email_password: str = _setting(to.password, "", secret=True)
    email_from_name: str = _setting(to.text, "")
    email_signature: str = _setting(to.lines, "")
    quote_original: bool = _setting(to.yes_or_no, False)
    your_phone_number: str = _setting(to.phone_number, "")
    db_host: str = _setting(to.text, "")
    db_port: int = _setting(to.whole(1, 65535), 5432)
    db_name: str = _setting(to.text, "email_auto_reply")
    db_user: str = _setting(to.text, "")
    db_password: str = _setting(to.text, "", secret=True)
    database_url: str = _setting(to.database_url, "", secret=True)
    data_dir: Path = _setting(to.folder, Path("data"))
    email_source: str = _setting(to.one_of("monitor", "database"), "monitor")
    poll_interval: int = _setting(to.whole(1, 86_400), 30)
    poll_lookback_hours: int = _setting(to.whole(1, 24 * 365), 24)
    max_emails_per_poll: int = _setting(to.whole(1, 10_000), 5)
    max_awaiting: int = _setting(to.whole(1, 1_000_000), 10)
    max_replies_per_sender: int = _setting(to.whole(1, 1_000_000), 10)
    skip_senders: frozenset[str] = _setting(to.senders, frozenset())
    allow_senders: frozenset[str] = _setting(to.senders, frozenset())
    ai_tone: str = _setting(to.one_of("professional", "casual", "technical", "friendly"), "professional")
    ai_max_length: int | None = _setting(to.optional(to.whole(1, 5000)), None)
    user_response_timeout: int = _setting(to.whole(1, 86_400 * 365), 86_400)
    user_final_timeout: int = _setting(to.whole(1, 86_400 * 365), 172_800)
    max_retry_attempts: int = _setting(to.whole(0, 100), 3)
    max_edit_iterations: int = _setting(to.whole(0, 1000), 10)
    sms_format: str = _setting(to.one_of("auto", "condensed", "multipart"), "auto")
    sms_charset: str = _setting(to.one_of("unicode", "gsm7"), "unicode")
    sms_max_parts: int = _setting(to.whole(2, 50), 6)
    sms_part_gap: float = _setting(to.seconds(0, 60), 2.0)
    sms_confirm: bool = _setting(to.yes_or_no, True)
    sms_reconcile_interval: int = _setting(to.whole(1, 86_400), 60)
    send_delay: int = _setting(to.whole(0, 86_400), 0)
    quiet_hours: tuple[time, time] | None = _setting(to.optional(to.span_of_day), None)
    timezone: ZoneInfo = _setting(to.time_zone, to.SYSTEM_ZONE)
    host: str = _setting(to.text, "127.0.0.1")
    port: int = _setting(to.whole(0, 65535), 8003)
    api_token: str | None = _setting(to.optional(to.token), None, secret=True)
    sms_webhook_signing_key: tuple[str, ...] = _setting(to.keys, (), secret=True)
    sms_webhook_allow_from: tuple[Network, ...] = _setting(to.networks, ())
    workers: int = _setting(to.whole(1, 64), 4)
    lease_seconds: int = _setting(to.whole(2, 3600), 120)
    timeout_check_interval: int = _setting(to.whole(1, 86_400), 300)
    log_level: str = _setting(to.one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
    log_format: str = _setting(to.one_of("text", "json"), "text")
    log_file: Path | None = _setting(to.optional(to.folder), None)

    @property
    def dsn(self) -> str | None:
        """The libpq connection string of the database server, or None when the embedded one serves."""
        if self.database_url:
            return self.database_url
        if not self.db_host:
            return None
        parts = {
            "host": self.db_host,
            "port": str(self.db_port),
            "dbname": self.db_name,
            "user": self.db_user,
            "password": self.db_password,
        }
        return " ".join(f"{key}={to.libpq_quoted(value)}" for key, value in parts.items() if value)


SECRETS = tuple(f.name.upper() for f in fields(Settings) if f.metadata["rule"].secret)
# What replying cannot do without; commands that only read do not need them.
REQUIRED = ("EMAIL_ADDRESS", "EMAIL_PASSWORD", "YOUR_PHONE_NUMBER")


def load_settings(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; the environment wins over the file, and both over the defaults.

    `env_file` must exist when it is given; otherwise `.env` of the working directory is read where there is one. A
    secret may also be a file of its name in `$CREDENTIALS_DIRECTORY`, which wins over all. Raises SettingsError with
    every mistake.
    """
    environment = dict(os.environ if environ is None else environ)
    problems: list[str] = []
    given = _read_file(env_file, problems) | environment | _read_credentials(environment, problems)
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        text = given.get(setting.name.upper(), "").strip()
        if not text:
            continue
        try:
            values[setting.name] = setting.metadata["rule"].parse(text)
        except ValueError as error:
            problems.append(f"{setting.name.upper()}: {error}")
    problems += [f"{name}: is missing" for name in REQUIRED if not given.get(name, "").strip()]
    problems += _contradictions(values)
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def _contradictions(values: dict[str, Any]) -> list[str]:
    settings = Settings(**values)
    problems = []
    if settings.user_final_timeout <= settings.user_response_timeout:
        problems.append("USER_FINAL_TIMEOUT: must be longer than USER_RESPONSE_TIMEOUT")
    if settings.db_host and not settings.db_user and not settings.database_url:
        problems.append("DB_USER: is missing, though DB_HOST is set")
    return problems


def _read_file(env_file: Path | None, problems: list[str]) -> dict[str, str]:
    from dotenv import dotenv_values

    path = env_file or Path(".env")
    if not path.is_file():
        if env_file is not None:
            problems.append(f"--env-file: there is no file {env_file}")
        return {}
    try:
        # Passwords may hold a dollar sign: nothing in the file is expanded.
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: cannot be read ({type(error).__name__})")
        return {}


def _read_credentials(environment: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Read the secrets that systemd hands over (systemd.exec(5), LoadCredential=)."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    found: dict[str, str] = {}
    for name in SECRETS if directory else ():
        path = Path(directory or "") / name
        try:
            if path.is_file():
                found[name] = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{name}: its credential cannot be read ({type(error).__name__})")
    return found
