"""Settings: environment, `.env` file and systemd credentials become one frozen value, or all the mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from . import setting_values as to
from .errors import SettingsError

if TYPE_CHECKING:
    from dotenv.parser import Binding

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
    gmail_smtp_server: str = _setting(to.host, "smtp.gmail.com")
    gmail_smtp_port: int = _setting(to.whole(1, 65535), 465)
    gmail_imap_server: str = _setting(to.host, "imap.gmail.com")
    gmail_imap_port: int = _setting(to.whole(1, 65535), 993)
    sent_check: str = _setting(to.one_of("imap", "off"), "imap")
    email_address: str = _setting(to.address, "")
    email_password: str = _setting(to.password, "", secret=True)
    email_from_name: str = _setting(to.optional(to.text, ""), "")
    email_signature: str = _setting(to.optional(to.lines, ""), "")
    quote_original: bool = _setting(to.yes_or_no, False)
    your_phone_number: str = _setting(to.phone_number, "")
    db_host: str = _setting(to.optional(to.text, ""), "")
    db_port: int = _setting(to.whole(1, 65535), 5432)
    db_name: str = _setting(to.text, "email_auto_reply")
    db_user: str = _setting(to.text, "")
    db_password: str = _setting(to.text, "", secret=True)
    database_url: str = _setting(to.optional(to.database_url, ""), "", secret=True)
    data_dir: Path = _setting(to.path, Path("data"))
    email_source: str = _setting(to.one_of("monitor", "database"), "monitor")
    poll_interval: int = _setting(to.whole(1, 86_400), 30)
    poll_lookback_hours: int = _setting(to.whole(1, 24 * 365), 24)
    max_emails_per_poll: int = _setting(to.whole(1, 10_000), 5)
    max_awaiting: int = _setting(to.whole(1, 1_000_000), 10)
    max_replies_per_sender: int = _setting(to.whole(1, 1_000_000), 10)
    skip_senders: frozenset[str] = _setting(to.optional(to.senders, frozenset()), frozenset())
    allow_senders: frozenset[str] = _setting(to.optional(to.senders, frozenset()), frozenset())
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
    host: str = _setting(to.host, "127.0.0.1")
    port: int = _setting(to.whole(0, 65535), 8003)
    api_token: str | None = _setting(to.optional(to.token), None, secret=True)
    sms_webhook_signing_key: tuple[str, ...] = _setting(to.optional(to.keys, ()), (), secret=True)
    sms_webhook_allow_from: tuple[Network, ...] = _setting(to.optional(to.networks, ()), ())
    workers: int = _setting(to.whole(1, 64), 4)
    lease_seconds: int = _setting(to.whole(2, 3600), 120)
    timeout_check_interval: int = _setting(to.whole(1, 86_400), 300)
    retention_days: int | None = _setting(to.optional(to.whole(14, 36_500)), 90)
    log_level: str = _setting(to.one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO")
    log_format: str = _setting(to.one_of("text", "json"), "text")
    log_file: Path | None = _setting(to.optional(to.path), None)

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
# What answering email cannot do without; a look at the database needs none of it.
REQUIRED = {
    "EMAIL_ADDRESS": "the address that replies come from",
    "EMAIL_PASSWORD": "the mail account's app password",
    "YOUR_PHONE_NUMBER": "the number of the owner's phone, such as +61491570156",
}


def load_settings(
    env_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    required: Collection[str] = tuple(REQUIRED),
) -> Settings:
    """Read the settings; a systemd credential wins over the environment, that over the file, and all over the defaults.

    `env_file` must exist when it is given; otherwise `.env` of the working directory is read where there is one. What
    is empty counts as not given, wherever it stands. Raises SettingsError with every mistake, those of `required`
    that are missing among them.
    """
    environment = dict(os.environ if environ is None else environ)
    problems: list[str] = []
    file = _read_file(env_file, problems)
    sources = (file or {}, environment, _read_credentials(environment, problems))
    given = {name: text.strip() for source in sources for name, text in source.items() if text.strip()}
    # What cannot be read is not missing.
    unread = set(required) if file is None else {problem.partition(":")[0] for problem in problems}
    missing = [name for name in required if name not in given and name not in unread]
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for setting in fields(Settings):
        name = setting.name.upper()
        if name not in given:
            continue
        try:
            values[setting.name] = setting.metadata["rule"].parse(given[name])
        except ValueError as error:
            wrong.add(name)
            problems.append(f"{name}: {error}")
    problems += [f"{name}: is missing; it must be {REQUIRED[name]}" for name in missing]
    problems += [
        f"{name}: {problem}"
        for name, other, problem in _contradictions(Settings(**values))
        if not wrong & {name, other}
    ]
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def secrets_of(settings: Settings) -> list[str]:
    """List every secret text of the settings, for the log to leave out; a password within an address is one of them."""
    found: list[str] = []
    for name in SECRETS:
        value = getattr(settings, name.lower())
        found += value if isinstance(value, tuple) else [value] if value else []
    return found + to.passwords_in(settings.database_url)


def _contradictions(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield what settings do not make sense beside one another: the one at fault, the other, and the sentence."""
    if settings.user_final_timeout <= settings.user_response_timeout:
        yield "USER_FINAL_TIMEOUT", "USER_RESPONSE_TIMEOUT", "must be longer than USER_RESPONSE_TIMEOUT"
    if settings.database_url:
        return
    if settings.db_host and not settings.db_user:
        yield "DB_USER", "DB_HOST", "is missing, though DB_HOST is set; it must be the name of the database's user"
    if settings.db_user and not settings.db_host:
        yield "DB_HOST", "DB_USER", "is missing, though DB_USER is set; it must be the host of the database server"


def _read_file(env_file: Path | None, problems: list[str]) -> dict[str, str] | None:
    """Read the settings of a file; None when it cannot be read."""
    from dotenv.parser import parse_stream

    path = env_file or Path(".env")
    try:
        if not path.is_file() and not path.is_fifo():
            if env_file is not None:
                problems.append(f"--env-file: there is no file {env_file}")
            return {}
        # The parser alone: it expands nothing, since passwords may hold a dollar sign.
        with path.open(encoding="utf-8-sig") as lines:
            bindings = list(parse_stream(lines))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: {_why_unread(error)}")
        return None
    problems += [
        f"{path}: line {_line(one)} is not of the form NAME=value, or its quotes do not match"
        for one in bindings
        if one.error or (one.key and one.value is None)
    ]
    return {one.key: one.value for one in bindings if one.key and one.value}


def _line(binding: Binding) -> int:
    """Return the number of the line that a binding begins in, after the empty lines that the parser counts to it."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _read_credentials(environment: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Read the secrets that systemd hands over (systemd.exec(5), LoadCredential=)."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    found: dict[str, str] = {}
    for name in SECRETS if directory else ():
        path = Path(directory or "") / name
        try:
            if path.is_file():
                found[name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{name}: its credential {_why_unread(error)}")
    return found


def _why_unread(error: OSError | UnicodeDecodeError) -> str:
    return f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "is not UTF-8 text: save it as that"
