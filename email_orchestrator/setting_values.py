"""How the text of a setting becomes a value; each parser raises ValueError with what is expected."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import time
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .core.clean import clean_text
from .core.mail_address import ascii_address
from .core.phone import is_e164
from .core.senders import parse_sender

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_HOST = r"[\w.-]+"
_URL = re.compile(rf"https?://(?:{_HOST}|\[[0-9a-f:.]+\])(?::(\d{{1,5}}))?(?:/[^\s?#]*)?", re.ASCII | re.IGNORECASE)
# What libpq takes (PostgreSQL manual, Connection Strings): an address, or words such as host=... user=...
_LOGIN = r"[^\s/?#@:]*(?::((?:[^\s/?#@%]|%[0-9A-Fa-f]{2})*))?@"
_SERVER = r"(?:[^\s/?#@:,\[\]]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?"
_SERVERS = rf"{_SERVER}(?:,{_SERVER})*"
_DATABASE_ADDRESS = re.compile(rf"postgres(?:ql)?://(?:{_LOGIN})?{_SERVERS}(?:/[^\s?#]*)?(?:\?\S*)?")
_DATABASE_WORD = r"\w+\s*=\s*(?:'(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)"
_DATABASE_WORDS = re.compile(rf"{_DATABASE_WORD}(?:\s+{_DATABASE_WORD})*", re.DOTALL)
_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)")


def text(value: str) -> str:
    """Take one line as it is."""
    if _CONTROL.search(value):
        raise ValueError("must be one line without control characters")
    return value


def lines(value: str) -> str:
    r"""Take several lines; `\n` in the text stands for a line break, since an environment file holds one line."""
    return clean_text(value.replace("\\n", "\n"))


def host(value: str) -> str:
    """Take the name or the address of a host, without a port."""
    if not re.fullmatch(_HOST, value) and not _is_ip_address(value):
        raise ValueError("must be a host name or an IP address, such as smtp.gmail.com")
    return value


def url(value: str) -> str:
    """Take the base address of a service, without a user and password: addresses are shown in the log."""
    match = _URL.fullmatch(value)
    if match is None or not 0 < int(match[1] or 80) < 65536:
        raise ValueError("must be an address such as http://localhost:8000")
    return value.rstrip("/")


def database_url(value: str) -> str:
    """Take a PostgreSQL connection string."""
    if not _DATABASE_ADDRESS.fullmatch(value) and not _DATABASE_WORDS.fullmatch(value):
        raise ValueError(
            "must be a PostgreSQL address such as postgresql://user:password@host/email_auto_reply, "
            "with any @ / ? # % or blank in the password written as %40 %2F %3F %23 %25 %20"
        )
    return value


def passwords_in(database_address: str) -> list[str]:
    """List the password of a PostgreSQL connection string, as it is written there and as it is meant."""
    address = _DATABASE_ADDRESS.fullmatch(database_address)
    if address:
        written = [address[1], *re.findall(r"[?&]password=([^&]*)", database_address)]
    else:
        written = re.findall(r"password\s*=\s*('(?:[^'\\]|\\.)*'|\S+)", database_address)
    plain = [text.strip("'") for text in written if text]
    return plain + [meant for text in plain if (meant := re.sub(r"\\(.)", r"\1", unquote(text))) != text]


def address(value: str) -> str:
    """Take one bare email address."""
    try:
        usable = parse_sender(value) == ("", value) and ascii_address(value)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be one email address such as me@example.com")
    return value


def password(value: str) -> str:
    """Take a password; Gmail shows app passwords in groups, whose blanks do not belong to them."""
    compact = "".join(value.split())
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
        # No patterns: `*@example.com` would match nobody, and nobody would be told.
        if not re.fullmatch(r"[^@\s<>*;]*@[\w-]+(\.[\w-]+)*", entry):
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
    if not 1 <= len(found) <= 2 or any(len(key) < 8 for key in found):
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


def path(value: str) -> Path:
    """Take the path of a file or a folder; `~` is the home folder."""
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise ValueError("must be a path, and the home folder it begins with is not known") from None


def yes_or_no(value: str) -> bool:
    """Take a yes or a no."""
    yes, no = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
    if value.lower() not in yes + no:
        raise ValueError("must be true or false")
    return value.lower() in yes


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


def optional(parse: Callable[[str], Any], nothing: Any = None) -> Callable[[str], Any]:
    """Take what `parse` takes, or one of the words for nothing, which make it `nothing`."""

    def parse_or_nothing(value: str) -> Any:
        try:
            return nothing if value.lower() in ("none", "off", "null") else parse(value)
        except ValueError as error:
            raise ValueError(f"{error} (or none)") from None

    return parse_or_nothing


def span_of_day(value: str) -> tuple[time, time]:
    """Take a span such as 22:00-07:00."""
    match = _SPAN.fullmatch(value)
    if match is None:
        raise ValueError("must be a span of the day such as 22:00-07:00")
    hour, minute, end_hour, end_minute = map(int, match.groups())
    start, end = time(hour, minute), time(end_hour, end_minute)
    if start == end:
        raise ValueError("must begin and end at different times, such as 22:00-07:00")
    return start, end


def time_zone(value: str) -> ZoneInfo:
    """Take the name of a time zone."""
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be the name of a time zone such as Europe/Vienna") from None


def _system_zone() -> ZoneInfo:
    """Find the machine's time zone: TZ, /etc/timezone, the target of /etc/localtime, else UTC."""
    names = [os.environ.get("TZ", "").removeprefix(":")]
    with suppress(OSError, UnicodeDecodeError):
        names.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
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


def _is_ip_address(value: str) -> bool:
    with suppress(ValueError):
        ip_address(value)
        return True
    return False
