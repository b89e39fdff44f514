"""The signature of the phone app's webhooks."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.signature import is_recent, is_signed, sign

NOW = datetime(2024, 6, 7, 4, 41, 31, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
KEY = "a-signing-key-of-some-length"
BODY = '{"event":"sms:received","payload":{"message":"2 kürzer 👍"}}'.encode()


def test_the_signature_is_the_hmac_of_body_and_timestamp_with_nothing_between() -> None:
    expected = hmac.new(KEY.encode(), BODY + STAMP.encode(), hashlib.sha256).hexdigest()
    assert sign(BODY, STAMP, KEY) == expected
    assert expected == expected.lower()


def test_a_signed_body_is_accepted() -> None:
    assert is_signed(BODY, STAMP, sign(BODY, STAMP, KEY), [KEY])


@pytest.mark.parametrize("key", ["old-key", "new-key"])
def test_each_of_two_live_keys_is_accepted(key: str) -> None:
    assert is_signed(BODY, STAMP, sign(BODY, STAMP, key), ["old-key", "new-key"])


@pytest.mark.parametrize(("seconds", "accepted"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_the_timestamp_may_be_five_minutes_off_either_way(seconds: int, accepted: bool) -> None:
    assert is_recent(STAMP, NOW + timedelta(seconds=seconds)) is accepted


def test_another_body_is_refused() -> None:
    assert not is_signed(BODY + b" ", STAMP, sign(BODY, STAMP, KEY), [KEY])


def test_a_timestamp_cannot_borrow_digits_from_the_body() -> None:
    signature = sign(BODY, STAMP, KEY)
    assert not is_signed(BODY + STAMP[:1].encode(), STAMP[1:], signature, [KEY])


def test_another_timestamp_is_refused() -> None:
    assert not is_signed(BODY, str(int(STAMP) + 1), sign(BODY, STAMP, KEY), [KEY])


@pytest.mark.parametrize("keys", [[], [""], ["another key"]])
def test_without_the_right_key_nothing_is_accepted(keys: list[str]) -> None:
    assert not is_signed(BODY, STAMP, sign(BODY, STAMP, KEY), keys)


def test_an_empty_key_signs_nothing() -> None:
    assert not is_signed(BODY, STAMP, sign(BODY, STAMP, ""), ["", KEY])


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        f" {STAMP}",
        f"{STAMP} ",
        f"{STAMP}\n",
        f"+{STAMP}",
        f"{STAMP[:9]}",
        f"0{STAMP}",
        f"{STAMP}.0",
        f"{STAMP[0]}_{STAMP[1:]}",
        "１７１７７３５２９１",
        "1e9",
        "nan",
        "inf",
        "0x66628e2b",
        "\ud800",
    ],
)
def test_a_timestamp_is_ten_digits_and_nothing_else(timestamp: str) -> None:
    data = BODY + timestamp.encode("utf-8", "replace")
    signature = hmac.new(KEY.encode(), data, hashlib.sha256).hexdigest()
    assert not is_signed(BODY, timestamp, signature, [KEY])


@pytest.mark.parametrize("form", ["{upper}", " {lower}", "{lower}\n", "{lower}0", "sha256={lower}", "v1,{lower}"])
def test_a_signature_is_lower_case_hex_and_nothing_else(form: str) -> None:
    right = sign(BODY, STAMP, KEY)
    assert not is_signed(BODY, STAMP, form.format(lower=right, upper=right.upper()), [KEY])


@pytest.mark.parametrize("signature", ["", "é" * 64, "\ud800", "\x00", "0" * 64, "a" * 100_000])
def test_a_hostile_signature_is_refused_without_an_exception(signature: str) -> None:
    assert not is_signed(BODY, STAMP, signature, [KEY])


@given(body=st.binary(), timestamp=st.text(), signature=st.text())
def test_no_input_is_accepted_or_raises(body: bytes, timestamp: str, signature: str) -> None:
    assert not is_signed(body, timestamp, signature, [KEY])
    assert not is_signed(body, STAMP, signature, [KEY])
