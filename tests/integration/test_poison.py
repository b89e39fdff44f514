"""Emails, drafts and texts that no sane world would send: each fails alone, if at all, and the others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from email_orchestrator.core.states import State

if TYPE_CHECKING:
    from .conftest import Belt

TEN_MEGABYTES = 10 * 2**20
HOSTILE = "\x1b[2J \u202e \u2028 \x85 =?utf-8?q?a=0D=0ABcc:_evil=40x.y?=\n1=Send 2=Edit 3=Ignore\n[2/3] 📧 #9"

EMAILS: dict[str, dict[str, Any]] = {
    "received at the end of time": {"received_at": "infinity"},
    "received before time began": {"received_at": "-infinity"},
    "received by the ancients": {"received_at": "4713-01-01 00:00:00+00 BC"},
    "received in the year one": {"received_at": "0001-01-01 00:00:00+00"},
    "received in the far future": {"received_at": "9999-12-31 23:59:59+00"},
    "received beyond any calendar": {"received_at": "294276-12-31 23:59:59+00"},
    "ten megabytes of one word": {"body": "x" * TEN_MEGABYTES},
    "ten megabytes of line ends": {"body": "\n" * TEN_MEGABYTES},
    "ten megabytes of tags": {"body": None, "body_html": "<div>" * (TEN_MEGABYTES // 5)},
    "a comment without an end": {"body": None, "body_html": "<!--" + "-" * TEN_MEGABYTES},
    "quotes a thousand deep": {"body": "".join(">" * n + " deep\n" for n in range(1000))},
    "an endless subject": {"subject": "word " * 200_000},
    "a subject of control characters": {"subject": "".join(map(chr, range(1, 32))) + HOSTILE},
    "the longest id": {"message_id": "<" + "i" * 253 + ">"},
    "an id of blanks and brackets": {"message_id": "< <> ><a b>\n<%2F/../#7>"},
    "an id that is a number": {"message_id": "7"},
    "the longest thread": {"thread_id": "<" + "t" * 253 + ">", "in_reply_to": "<r> " * 63},
    "a thread that is no id": {"thread_id": "\n\t", "in_reply_to": "no id at all \n"},
    "the longest address": {"sender": "a" * 60 + "@" + "b" * 60 + "." + "c" * 60 + "." + "d" * 60 + ".example"},
    "an address with another in it": {"sender": "a@example.com,b@example.com"},
    "nothing at all": {"subject": None, "body": None},
}


@pytest.mark.parametrize("poison", EMAILS.values(), ids=EMAILS.keys())
def test_a_bad_email_never_stops_the_others(belt: Belt, poison: dict[str, Any]) -> None:
    belt.email(sender="before@example.com")
    bad = belt.email(**{"sender": "bad@example.com", **poison})
    belt.email(sender="after@example.com")
    belt.poll()
    belt.work()
    assert belt.state(1) is State.AWAITING_USER
    others = belt.sql("SELECT current_state FROM workflow_state WHERE email_from LIKE 'after@%%'")
    assert others == [("awaiting_user",)]
    found = belt.sql("SELECT current_state, error_message FROM workflow_state WHERE message_id = %s", bad)
    if not found:
        assert belt.email_status(bad) == "pending"
        assert poison["received_at"]
    elif found[0][0] != "awaiting_user":
        assert found[0][1], "what was left alone says why"
    belt.poll()
    assert len(belt.sql("SELECT id FROM workflow_state")) in (2, 3)


def test_of_an_endless_subject_no_more_is_kept_than_anybody_reads(belt: Belt) -> None:
    belt.email(subject="word " * 200_000)
    belt.poll()
    assert belt.sql("SELECT length(email_subject) <= 10000 FROM workflow_state") == [(True,)]


@pytest.mark.parametrize("absurd", [row["received_at"] for row in EMAILS.values() if "received_at" in row])
def test_an_email_of_any_date_can_be_quoted(belt: Belt, absurd: str) -> None:
    belt.with_policy(quote_original=True)
    belt.offered(received_at="now")
    belt.sql("UPDATE processed_emails SET received_at = %s", absurd)
    belt.answer("1")
    assert belt.state(1) is State.REPLY_SENT


def test_an_email_that_the_database_refuses_fails_alone_with_its_reason(belt: Belt) -> None:
    belt.sql("ALTER TABLE processed_emails ALTER thread_id TYPE TEXT")
    belt.email(sender="before@example.com")
    # More than an entry of an index can hold, and nothing to be gained by compression.
    bad = belt.email(thread_id="".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(10_000)))
    belt.email(sender="after@example.com")
    belt.poll()
    belt.work()
    assert belt.workflow(bad).state is State.FAILED
    assert belt.workflow(bad).error == "the email cannot be read"
    assert belt.sql("SELECT count(*) FROM workflow_state WHERE current_state = 'awaiting_user'") == [(2,)]


@pytest.mark.parametrize("text", ["\x00", "half a \ud83d face", HOSTILE, "x" * 5000, "\n" * 5000, "\u200b"])
def test_a_draft_of_anything_comes_to_an_end_of_its_own(belt: Belt, text: str) -> None:
    belt.generator.texts.extend([text, "A good draft."])
    belt.email()
    belt.email(sender="after@example.com")
    belt.poll()
    belt.work()
    assert belt.state(1) in (State.AWAITING_USER, State.FAILED)
    assert belt.state(2) is State.AWAITING_USER
    belt.answer("1 #2")
    belt.answer("1 #1")
    assert belt.state(2) is State.REPLY_SENT


@pytest.mark.parametrize(
    "text", ["1 \x00 #9", "\ud800", HOSTILE, "2 " + "x" * 100_000, "9" * 100_000, "#" * 1000, "\x00"]
)
def test_a_text_of_anything_is_answered_and_does_not_stop_the_next(belt: Belt, text: str) -> None:
    belt.offered()
    assert belt.answer(text) != []
    assert belt.state(1) is State.AWAITING_USER
    belt.answer("1 #1")
    assert belt.state(1) is State.REPLY_SENT
