"""Who is let in: by token, by signature, by address."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest
from bottle import HTTPError

from email_orchestrator.core.signature import sign
from email_orchestrator.vitals import Vitals
from email_orchestrator.web.doors import check_token, check_webhook, source_of
from email_orchestrator.web.front import Front
from email_orchestrator.workflow.desk import Desk

TOKEN = "tök3n-with-more-than-ascii"
KEY = "0123456789abcdef0123456789abcdef"
NOW = datetime(2024, 6, 7, 4, 41, 31, tzinfo=UTC)
BODY = b'{"event": "system:ping"}'


def front(*, networks: tuple[str, ...] = (), **options: Any) -> Front:
    allowed = tuple(ip_network(text) for text in networks)
    # No desk: whoever is turned away here must be turned away without the database.
    return Front(cast(Desk, None), Vitals(), allow_from=allowed, clock=lambda: NOW, **options)


def verdict(check: Any, *given: Any) -> int:
    try:
        check(*given)
    except HTTPError as error:
        return int(error.status_code)
    return 200


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("localhost", None),
        ("", None),
        ("127.0.0.1, 8.8.8.8", None),
    ],
)
def test_the_source_is_the_address_of_the_connection(remote: str, source: str | None) -> None:
    assert source_of({"REMOTE_ADDR": remote}) == (ip_address(source) if source else None)


def test_headers_that_name_another_source_count_for_nothing() -> None:
    forged = {"HTTP_X_FORWARDED_FOR": "127.0.0.1", "HTTP_X_REAL_IP": "127.0.0.1", "HTTP_FORWARDED": "for=127.0.0.1"}
    environ = {"REMOTE_ADDR": "203.0.113.9", **forged}
    assert verdict(check_token, front(), environ) == 403
    assert verdict(check_webhook, front(), environ, BODY) == 403
    assert verdict(check_webhook, front(networks=("127.0.0.0/8",)), environ, BODY) == 403


def bearer(token: str, scheme: str = "Bearer") -> str:
    return f"{scheme} {token}".encode().decode("latin-1")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (bearer(TOKEN), 200),
        (bearer(TOKEN, "bearer"), 200),
        (bearer(TOKEN, "BEARER "), 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (bearer(TOKEN[:-1]), 401),
        (bearer(TOKEN + "x"), 401),
        (bearer(TOKEN) + " x", 401),
        (bearer(TOKEN, "Basic"), 401),
        (bearer(TOKEN) + ", " + bearer(TOKEN), 401),
        ("Bearer \xff\xfe", 401),
        ("Bearer " + "x" * 16_000, 401),
    ],
)
def test_only_the_token_opens_the_api_where_one_is_set(header: str | None, status: int) -> None:
    environ = {"REMOTE_ADDR": "127.0.0.1"} | ({"HTTP_AUTHORIZATION": header} if header is not None else {})
    assert verdict(check_token, front(api_token=TOKEN), environ) == status


@pytest.mark.parametrize(
    ("remote", "host", "more", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8003", {}, 200),
        ("127.8.9.1", "localhost:8003", {}, 200),
        ("::1", "[::1]:8003", {}, 200),
        ("127.0.0.1", "", {}, 200),
        ("127.0.0.1", "LOCALHOST", {}, 200),
        ("127.0.0.1", "rebound.example:8003", {}, 403),
        ("127.0.0.1", "[::1", {}, 403),
        ("127.0.0.1", "127.0.0.1:8003", {"HTTP_ORIGIN": "https://evil.example"}, 403),
        ("127.0.0.1", "127.0.0.1:8003", {"HTTP_ORIGIN": "null"}, 403),
        ("192.0.2.1", "127.0.0.1:8003", {}, 403),
        ("", "127.0.0.1:8003", {}, 403),
    ],
)
def test_without_a_token_the_api_is_for_programs_of_this_machine(
    remote: str, host: str, more: dict[str, str], status: int
) -> None:
    environ = {"REMOTE_ADDR": remote, "HTTP_HOST": host, **more}
    assert verdict(check_token, front(), environ) == status


@pytest.mark.parametrize(
    ("options", "remote", "status"),
    [
        ({}, "127.0.0.1", 200),
        ({}, "::1", 200),
        ({}, "192.0.2.1", 403),
        ({}, "", 403),
        ({"networks": ("192.0.2.0/24",)}, "192.0.2.200", 200),
        ({"networks": ("192.0.2.0/24",)}, "::ffff:192.0.2.200", 200),
        ({"networks": ("192.0.2.0/24",)}, "192.0.3.1", 403),
        ({"networks": ("192.0.2.0/24",)}, "127.0.0.1", 200),
        ({"networks": ("2001:db8::/32",)}, "2001:db8::5", 200),
        ({"signing_keys": (KEY,)}, "127.0.0.1", 401),
        ({"signing_keys": (KEY,), "networks": ("127.0.0.1/32",)}, "127.0.0.1", 200),
        ({"signing_keys": (KEY,), "networks": ("127.0.0.1/32",)}, "127.0.0.2", 401),
    ],
)
def test_an_unsigned_event_is_let_in_by_its_address_alone(options: Any, remote: str, status: int) -> None:
    assert verdict(check_webhook, front(**options), {"REMOTE_ADDR": remote}, BODY) == status


@pytest.mark.parametrize(
    ("host", "by_address"),
    [
        ("localhost:8003", True),
        ("127.0.0.1:8003", True),
        ("[::1]:8003", True),
        ("10.0.0.118:8003", True),
        ("orchestrator:8003", True),
        ("CT118", True),
        ("", True),
        ("sms.example.com", False),
        ("sms.example.com:8003", False),
        ("localhost.", False),
        ("localhost, sms.example.com", False),
        ("127.0.0.1.nip.io", False),
        ("b\xfccher", False),
        ("[::1", False),
    ],
)
def test_what_a_proxy_on_this_machine_passes_on_needs_a_signature(host: str, by_address: bool) -> None:
    environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": host}
    expected = 200 if by_address else 403
    assert verdict(check_webhook, front(), environ, BODY) == expected
    assert verdict(check_webhook, front(networks=("127.0.0.0/8",)), environ, BODY) == expected
    with_a_key = front(signing_keys=(KEY,), networks=("127.0.0.1/32",))
    assert verdict(check_webhook, with_a_key, environ, BODY) == (200 if by_address else 401)
    signed = environ | {"HTTP_X_TIMESTAMP": str(SECONDS), "HTTP_X_SIGNATURE": GOOD}
    assert verdict(check_webhook, with_a_key, signed, BODY) == 200


def test_the_gateway_on_another_machine_may_ask_for_any_name() -> None:
    environ = {"REMOTE_ADDR": "192.0.2.7", "HTTP_HOST": "orchestrator.home.example:8003"}
    assert verdict(check_webhook, front(networks=("192.0.2.7/32",)), environ, BODY) == 200


def test_a_web_page_on_this_machine_cannot_deliver_an_event() -> None:
    environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_ORIGIN": "https://evil.example"}
    assert verdict(check_webhook, front(), environ, BODY) == 403
    assert verdict(check_webhook, front(networks=("127.0.0.1/32",)), environ, BODY) == 403


SECONDS = int(NOW.timestamp())
GOOD = sign(BODY, str(SECONDS), KEY)


@pytest.mark.parametrize(
    ("timestamp", "signature"),
    [
        (str(SECONDS), None),
        (None, GOOD),
        (None, None),
        (str(SECONDS), ""),
        (str(SECONDS), GOOD[:-1]),
        (str(SECONDS), GOOD.upper()),
        (str(SECONDS), GOOD + ", " + GOOD),
        (str(SECONDS), "sha256=" + GOOD),
        (str(SECONDS), "\xff" * 64),
        (str(SECONDS), sign(BODY, str(SECONDS), "")),
        (str(SECONDS), sign(BODY, str(SECONDS), KEY + "x")),
        (str(SECONDS), sign(BODY + b" ", str(SECONDS), KEY)),
        (str(SECONDS + 1), GOOD),
        (" " + str(SECONDS), GOOD),
        (f"{SECONDS}.0", GOOD),
        ("nan", GOOD),
        ("9" * 5000, GOOD),
        ("\u0661" * 10, GOOD),
    ],
)
def test_a_wrong_signature_is_refused_without_asking_the_database(timestamp: str | None, signature: str | None) -> None:
    headers = {"HTTP_X_TIMESTAMP": timestamp, "HTTP_X_SIGNATURE": signature}
    environ = {"REMOTE_ADDR": "127.0.0.1"} | {name: value for name, value in headers.items() if value is not None}
    assert verdict(check_webhook, front(signing_keys=(KEY,)), environ, BODY) == 401


@pytest.mark.parametrize("key", [KEY, "the key before"])
@pytest.mark.parametrize("skew", [-300, -1, 0, 300])
def test_either_of_two_keys_is_good_within_five_minutes(key: str, skew: int) -> None:
    timestamp = str(SECONDS + skew)
    environ = {"REMOTE_ADDR": "203.0.113.9", "HTTP_X_TIMESTAMP": timestamp}
    environ["HTTP_X_SIGNATURE"] = sign(BODY, timestamp, key)
    assert verdict(check_webhook, front(signing_keys=(KEY, "the key before")), environ, BODY) == 200
