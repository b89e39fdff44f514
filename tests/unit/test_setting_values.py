"""How the text of each sort of setting becomes a value, and what is said when it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from email_orchestrator import setting_values as to

optional_number = to.optional(to.whole(1, 9))
direction = to.one_of("LEFT", "right")


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (to.text, "a b é $x", "a b é $x"),
        (to.lines, r"Jo Doe\n+61 491", "Jo Doe\n+61 491"),
        (to.lines, "Jo\r\nDoe\x1b", "Jo\nDoe"),
        (to.host, "smtp.gmail.com", "smtp.gmail.com"),
        (to.host, "mail_host-1", "mail_host-1"),
        (to.host, "127.0.0.1", "127.0.0.1"),
        (to.host, "::1", "::1"),
        (to.url, "http://localhost:8001", "http://localhost:8001"),
        (to.url, "HTTPS://gateway.example.com/sms/", "HTTPS://gateway.example.com/sms"),
        (to.url, "http://[::1]:8000", "http://[::1]:8000"),
        (to.database_url, "postgresql://u:p@h:5432/d?sslmode=require", "postgresql://u:p@h:5432/d?sslmode=require"),
        (to.database_url, "postgres://h1:1,h2:2/d", "postgres://h1:1,h2:2/d"),
        (to.database_url, "postgresql://u:p%40%2F@[::1]:1/d", "postgresql://u:p%40%2F@[::1]:1/d"),
        (to.database_url, "postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
        (to.database_url, r"host=h password='a \' b' dbname = d", r"host=h password='a \' b' dbname = d"),
        (to.address, "me@example.com", "me@example.com"),
        (to.address, "me+tag@münchen.example", "me+tag@münchen.example"),
        (to.password, "abcd efgh ijkl mnop", "abcdefghijklmnop"),
        (to.password, "abcd\u00a0efgh\u00a0ijkl\u00a0mnop", "abcdefghijklmnop"),
        (to.password, "a pass phrase of mine", "a pass phrase of mine"),
        (to.password, "abcd efgh ijkl MNOP", "abcd efgh ijkl MNOP"),
        (to.phone_number, "+61491570156", "+61491570156"),
        (to.senders, " A@x.com ,@Y.org,", {"a@x.com", "@y.org"}),
        (to.token, "0123456789abcdef", "0123456789abcdef"),
        (to.keys, "12345678", ("12345678",)),
        (to.path, "/var/log/eo.log", Path("/var/log/eo.log")),
        (to.path, "~/data", Path.home() / "data"),
        (to.yes_or_no, "Yes", True),
        (to.yes_or_no, "0", False),
        (direction, "left", "LEFT"),
        (direction, "RIGHT", "right"),
        (to.whole(1, 65535), "65535", 65535),
        (to.whole(1, 65535), "0001", 1),
        (to.seconds(0, 60), "0", 0.0),
        (to.seconds(0, 60), "1.5", 1.5),
        (optional_number, "3", 3),
        (optional_number, "None", None),
        (to.span_of_day, "22:00-07:00", (time(22), time(7))),
        (to.span_of_day, "00:00 - 23:59", (time(0), time(23, 59))),
        (to.time_zone, "Europe/Vienna", ZoneInfo("Europe/Vienna")),
    ],
)
def test_a_proper_text_becomes_its_value(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (to.text, ["two\nlines", "a\x00b", "a\x7fb", "a\x9bb", "a\u2028b", "a\ud800b"]),
        (to.host, ["smtp.gmail.com:465", "https://smtp.gmail.com", "a b", "me@host", "[::1]", "h/x"]),
        (
            to.url,
            [
                "localhost:8001",
                "ftp://localhost",
                "http://",
                "http:///path",
                "http://host:port",
                "http://host:99999",
                "http://host:0",
                "http://user:secret@host",
                "http://host/x?y=1",
                "http://host/#x",
                "http://ho st",
                "http://ho\tst",
                "http://[::1",
            ],
        ),
        (
            to.database_url,
            [
                "db.example.com",
                "mysql://host/db",
                "postgresql://u:secret@more@host/db",
                "postgresql://u:sec/ret@host/db",
                "postgresql://u:sec#ret@host/db",
                "postgresql://u:100%@host/db",
                "postgresql://u:p@host:port/db",
                "postgresql://u:se cret@host/db",
                "host=h password=it's",
                "host=h and more",
            ],
        ),
        (to.address, ["me", "me@", "me@localhost", "Me <me@x.com>", "a@x.com,b@x.com", "me@x.com\n", "mé@x.com"]),
        (to.phone_number, ["0491570156", "+61 491 570 156", "61491570156", "+0491570156", "+1", "+6149157015600000"]),
        (
            to.senders,
            ["example.com", "a b@x.com", "a@b@c", "<a@x.com>", "a@x.com; b@x.com", "*@x.com", "@*.x.com", "a@x.com;"],
        ),
        (to.token, ["short", "0123456789 abcdef", "0123456789abcdé", "x" * 20 + "\n"]),
        (to.keys, ["short", "12345678,23456789,34567890", "12345678,short", ","]),
        (to.networks, ["localhost", "10.0.0.0/33", "10.0.0.1;10.0.0.2"]),
        (to.path, ["a\x00b", "~nobody-of-this-name/data"]),
        (to.yes_or_no, ["maybe", "2", "j"]),
        (direction, ["", "up", "LEFT,right"]),
        (to.whole(1, 10), ["0", "11", "-1", "1.0", "1e1", "1_0", "٣", "²", "ten", "9" * 20]),
        (to.seconds(0, 60), ["61", "-1", "nan", "inf", "1e1", "1.", ".5", "٣"]),
        (optional_number, ["0", "nothing"]),
        (to.span_of_day, ["22:00", "22-7", "24:00-07:00", "22:60-07:00", "7:00-9:00", "07:00-07:00", "a"]),
        (to.time_zone, ["Vienna", "../../etc/passwd", "/etc/localtime", "Europe", "x\x00"]),
    ],
)
def test_anything_else_is_refused_with_what_is_expected_and_without_the_text(
    parse: Callable[[str], Any], texts: list[str]
) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=r"^must be") as caught:
            parse(text)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "passwords"),
    [
        ("", []),
        ("postgresql://host/db", []),
        ("postgresql://user@host/db", []),
        ("postgresql://user:plain@host/db", ["plain"]),
        ("postgresql://user:a%40b@host/db", ["a%40b", "a@b"]),
        ("postgresql://host/db?user=u&password=q%20q&x=y", ["q%20q", "q q"]),
        ("host=h password=plain user=u", ["plain"]),
        (r"password = 'it\'s mine' host=h", [r"it\'s mine", "it's mine"]),
    ],
)
def test_the_password_within_a_database_address_is_found(address: str, passwords: list[str]) -> None:
    assert to.passwords_in(address) == passwords


@pytest.mark.parametrize("value", ["", "plain", "with blanks", "it's", "back\\slash", "'", "\\'", "é"])
def test_a_quoted_value_is_read_back_by_libpq_as_it_was(value: str) -> None:
    from psycopg2.extensions import parse_dsn

    assert parse_dsn(f"host=h password={to.libpq_quoted(value)} user=u")["password"] == value


@pytest.mark.parametrize(
    ("zone", "expected"), [("Asia/Tokyo", "Asia/Tokyo"), (":Asia/Tokyo", "Asia/Tokyo"), ("UTC", "UTC")]
)
def test_the_systems_time_zone_is_that_of_the_environment_first(zone: str, expected: str) -> None:
    program = "from email_orchestrator.setting_values import SYSTEM_ZONE; print(SYSTEM_ZONE)"
    answer = subprocess.run(
        [sys.executable, "-c", program], env={"TZ": zone}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == expected


def test_a_time_zone_of_another_form_does_not_stop_the_program() -> None:
    program = "from email_orchestrator.setting_values import SYSTEM_ZONE; print(type(SYSTEM_ZONE).__name__)"
    answer = subprocess.run(
        [sys.executable, "-c", program], env={"TZ": "CET-1CEST"}, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "ZoneInfo"
