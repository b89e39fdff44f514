"""Reading a webhook's body: a text, nothing we use, or malformed; never anything else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.models import InboundText
from email_orchestrator.web.events import Malformed, parse_event

PAYLOAD: dict[str, Any] = {
    "messageId": "a1b2c3d4",
    "message": "2 say it\nin two lines",
    "phoneNumber": "+15551234567",
    "simNumber": None,
    "receivedAt": "2024-06-07T11:41:31.000+07:00",
}
MISSING = object()


def write(**changes: Any) -> bytes:
    payload = {name: value for name, value in (PAYLOAD | changes).items() if value is not MISSING}
    return json.dumps({"deviceId": "d", "event": "sms:received", "id": "e", "payload": payload}).encode()


def test_a_text_is_read_with_its_time_in_utc() -> None:
    at = datetime(2024, 6, 7, 4, 41, 31, tzinfo=UTC)
    text = parse_event(write())
    assert text == InboundText("a1b2c3d4", "+15551234567", "2 say it\nin two lines", at)
    assert text.received_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"phoneNumber": MISSING, "sender": "6505551212"}, "6505551212"),
        ({"phoneNumber": None, "sender": "6505551212"}, "6505551212"),
        ({"phoneNumber": "+16505551212", "sender": "6505551212", "recipient": None}, "+16505551212"),
        ({"sender": 5}, "+15551234567"),
    ],
)
def test_the_number_has_its_old_or_its_new_name(changes: dict[str, Any], number: str) -> None:
    text = parse_event(write(**changes))
    assert text is not None
    assert text.phone_number == number


@pytest.mark.parametrize(
    ("at", "utc"),
    [
        ("2024-06-07T11:41:31Z", "2024-06-07T11:41:31+00:00"),
        ("2024-06-07T11:41:31.123-05:30", "2024-06-07T17:11:31.123000+00:00"),
        ("2024-12-31T23:59:59.999+14:00", "2024-12-31T09:59:59.999000+00:00"),
    ],
)
def test_a_time_is_iso_8601_with_any_offset(at: str, utc: str) -> None:
    text = parse_event(write(receivedAt=at))
    assert text is not None
    assert text.received_at.isoformat() == utc


@pytest.mark.parametrize(
    "body",
    [
        b'{"event": "sms:sent", "payload": {"messageId": "x", "sentAt": "2024-06-07T11:41:31Z"}}',
        b'{"event": "sms:delivered", "payload": {"deliveredAt": "x"}}',
        b'{"event": "sms:failed", "payload": {"reason": "no credit"}}',
        b'{"event": "sms:cancelled"}',
        b'{"event": "system:ping", "payload": {}}',
        b'{"event": "mms:received", "payload": null}',
        b'{"event": "mms:downloaded", "payload": {"body": "1"}}',
        b'{"event": "something:new", "payload": 7}',
        b'{"event": ""}',
        b'{"event": "sms:received\\u0000"}',
    ],
)
def test_an_event_we_do_not_use_is_none_of_ours_whatever_it_holds(body: bytes) -> None:
    assert parse_event(body) is None


@pytest.mark.parametrize(
    "changes",
    [
        *({name: MISSING} for name in ("messageId", "message", "phoneNumber", "receivedAt")),
        *({name: None} for name in ("messageId", "message", "phoneNumber", "receivedAt")),
        *({"messageId": value} for value in (7, "", "a\x00b", "a\nb", "\ud800", "x" * 201, ["a"])),
        *({"message": value} for value in (1, True, ["1"], {"text": "1"})),
        *({"phoneNumber": value} for value in (15551234567, ["+15551234567"])),
        *(
            {"receivedAt": value}
            for value in (
                *(1717735291, 1717735291.5, "", "yesterday", "2024-06-07", "2024-06-07T11:41:31"),
                *("2024-06-31T11:41:31Z", "2024-06-07T25:41:31Z", "2024-06-07T11:41:31+99:00", "nan", "\ud800"),
                *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "٢٠٢٤-06-07T11:41:31Z"),
            )
        ),
    ],
)
def test_a_text_with_a_missing_or_wrong_field_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_event(write(**changes))


DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"null", b"7", b'"sms:received"', b"[]", b"[{}]", b"{}", b"\x00", b"\xff\xfe{\x00}\x00"),
        *(b'{"event": 7}', b'{"event": null}', b'{"event": ["sms:received"]}', b'{"event": "sms:received"}'),
        *(b'{"event": "sms:received", "payload": %s}' % payload for payload in (b"null", b"[]", b'"x"', b"7")),
        pytest.param(write() + b"}", id="trailing brace"),
        pytest.param(write() + b"1700000000", id="trailing digits"),
        pytest.param(write() + write(), id="two values"),
        pytest.param(write()[:-1], id="cut off"),
        pytest.param(b"\xef\xbb\xbf" + write(), id="byte order mark"),
        pytest.param(write().decode().encode("utf-16"), id="utf-16"),
        pytest.param(write(message="é").replace(b"\\u00e9", b"\xe9"), id="latin-1"),
        pytest.param(b'{"event": "sms:sent", "x": NaN}', id="NaN"),
        pytest.param(b'{"event": "sms:sent", "x": -Infinity}', id="infinity"),
        pytest.param(b'{"event": "sms:sent", "event": "sms:received"}', id="same name twice"),
        pytest.param(b'{"event": "sms:sent", "payload": {"a": {"b": 1, "b": 2}}}', id="same name twice inside"),
        pytest.param(b'{"event": "sms:sent", "x": ' + b"[" * DEEP + b"]" * DEEP + b"}", id="deep lists"),
        pytest.param(b'{"event": "sms:sent", "x": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}", id="deep objects"),
        pytest.param(b'{"event": "sms:sent", "x": ' + b"9" * 5000 + b"}", id="endless number"),
    ],
)
def test_what_is_not_strict_json_of_the_right_form_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        parse_event(body)
    assert str(caught.value).endswith(".")


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_event(body)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["messageId", "message", "phoneNumber", "sender", "receivedAt", "simNumber"]), VALUES)
def test_no_value_in_a_text_is_more_than_malformed(name: str, value: Any) -> None:
    try:
        text = parse_event(write(**{name: value}))
    except Malformed:
        return
    assert isinstance(text, InboundText)
    assert isinstance(text.message_id, str)
    assert isinstance(text.phone_number, str)
    assert isinstance(text.text, str)
    assert text.received_at.tzinfo is UTC
