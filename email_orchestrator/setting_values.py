"""How the text of a setting becomes a value; each parser raises ValueError with what is expected."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .core.phone import is_e164
from .core.senders import parse_sender

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)")


def text(value: str) -> str:
    """Take one line as it is."""
    if any(ord(character) < 32 for character in value):
        raise ValueError("must be one line without control characters")
    return value


def lines(value: str) -> str:
    r"""Take several lines; `\n` in the text stands for a line break, since an environment file holds one line."""
    return value.replace("\\n", "\n")


def url(value: str) -> str:
    """Take the base address of a service."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as http://localhost:8000")
    return value.rstrip("/")


def database_url(value: str) -> str:
    """Take a PostgreSQL connection string."""
    if not value.startswith(("postgresql://", "postgres://")) and "=" not in value:
        raise ValueError("must be a PostgreSQL address such as postgresql://user:password@host/email_auto_reply")
    return value


def address(value: str) -> str:
    """Take one bare email address."""
    parsed = parse_sender(value)
    if parsed is None or parsed[1] != value:
        raise ValueError("must be one email address such as me@example.com")
    return value


def password(value: str) -> str:
    """Take a password; Gmail shows app passwords in groups, whose blanks do not belong to them."""
    compact = value.replace(" ", "")
    return compact if re.fullmatch("[a-z]{16}", compact) else value


def phone_number(value: str) -> str:
    """Take a phone number in E.164."""
    if not is_e164(value):
        raise ValueError("must be a phone number in international form, such as +61491570156")
    return value


def senders(value: str) -> frozenset[str]:
    """Take addresses and `@domains`, separated by commas."""
    found = {entry.strip().lower() for entry in value.split(",") if entry.strip()}
    for entry in found:
        if not re.fullmatch(r"[^@\s]*@[^@\s]+", entry):
            raise ValueError(f"must be addresses or @domains separated by commas, and {entry!r} is neither")
    return frozenset(found)


def token(value: str) -> str:
    """Take a bearer token."""
    if len(value) < 16 or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", value):
        raise ValueError("must be at least 16 letters, digits or - . _ ~ + / =")
    return value


def keys(value: str) -> tuple[str, ...]:
    """Take one signing key, or two while one replaces the other."""
    found = tuple(key.strip() for key in value.split(",") if key.strip())
    if len(found) > 2 or any(len(key) < 8 for key in found):
        raise ValueError("must be one key of at least 8 characters, or two separated by a comma")
    return found


def networks(value: str) -> tuple[Any, ...]:
    """Take addresses and networks, separated by commas."""
    try:
        return tuple(ip_network(entry.strip(), strict=False) for entry in value.split(",") if entry.strip())
    except ValueError:
        raise ValueError(
            "must be IP addresses or networks separated by commas, such as 127.0.0.1,10.0.0.0/24"
        ) from None


def folder(value: str) -> Path:
    """Take a path."""
    return Path(value).expanduser()


def yes_or_no(value: str) -> bool:
    """Take a yes or a no."""
    word = value.lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError("must be true or false")


def one_of(*words: str) -> Callable[[str], str]:
    """Take one of some words, in any letter case."""

    def parse(value: str) -> str:
        for word in words:
            if value.lower() == word.lower():
                return word
        raise ValueError(f"must be one of {', '.join(words)}")

    return parse


def whole(least: int, most: int) -> Callable[[str], int]:
    """Take a whole number within bounds."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"\d{1,12}", value, re.ASCII) or not least <= int(value) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def seconds(least: float, most: float) -> Callable[[str], float]:
    """Take a number of seconds within bounds."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value, re.ASCII) or not least <= float(value) <= most:
            raise ValueError(f"must be a number of seconds from {least:g} to {most:g}")
        return float(value)

    return parse


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Take what `parse` takes, or one of the words for nothing."""
    return lambda value: None if value.lower() in ("none", "off", "null") else parse(value)


def span_of_day(value: str) -> tuple[time, time]:
    """Take a span such as 22:00-07:00."""
    match = _SPAN.fullmatch(value)
    if match is None:
        raise ValueError("must be a span of the day such as 22:00-07:00")
    hour, minute, end_hour, end_minute = map(int, match.groups())
    return time(hour, minute), time(end_hour, end_minute)


def time_zone(value: str) -> ZoneInfo:
    """Take the name of a time zone."""
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be the name of a time zone such as Europe/Vienna") from None


def _system_zone() -> ZoneInfo:
    """Find the machine's time zone: TZ, /etc/timezone, the target of /etc/localtime, else UTC."""
    names = [os.environ.get("TZ", "").removeprefix(":")]
    names += [Path("/etc/timezone").read_text(encoding="utf-8").strip()] if Path("/etc/timezone").is_file() else []
    names.append(str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2])
    for name in filter(None, names):
        try:
            return time_zone(name)
        except ValueError:
            continue
    return ZoneInfo("UTC")


SYSTEM_ZONE = _system_zone()


def libpq_quoted(value: str) -> str:
    """Quote a value for a libpq connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
