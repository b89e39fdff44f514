"""What is approved is what is sent: the reply's bytes, read back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.mail_address import ascii_address
from email_orchestrator.core.reply import (
    Reply,
    UnsafeReply,
    build_reply,
    fingerprint,
    quote_original,
    reply_body,
)
from email_orchestrator.core.reply_headers import (
    HeaderValue,
    clean_header_text,
    header_lines,
    new_message_id,
    reply_references,
    reply_subject,
)

REPLY = Reply(
    from_name="Ann Owner",
    from_address="ann@example.com",
    to="john@example.org",
    subject="Re: Meeting",
    body="Yes, 2pm works!",
    message_id="<eo.7.1@example.com>",
    date=datetime(2024, 6, 7, 11, 41, 31, tzinfo=timezone(timedelta(hours=7))),
    in_reply_to="<m@example.org>",
    references=("<t@example.org>", "<m@example.org>"),
)
HEADERS = [
    *("From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References"),
    *("Content-Type", "Content-Transfer-Encoding", "MIME-Version"),
]
HOSTILE_SUBJECTS = [
    "a\r\nBcc: evil@x.y\r\n\r\nother body",
    "=?utf-8?q?a=0D=0ABcc:_evil=40x.y=0D=0A=0D=0Aother_body?=",
    "=?utf-8?b?YQ0KQmNjOiBldmlsQHgueQ0KDQpvdGhlciBib2R5?=",
    "=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=3D0D=3D0ABcc=3A_evil=3D40x=2Ey=3F=3D?=",
    "=?utf-8?q?=3D?= =?utf-8?q?=3Futf-8?q?a=0D=0ABcc:_evil=40x.y?=",
    "=?utf-7?q?+AA0ACg-Bcc:_evil@x.y?=",
    "=?unicode_escape?q?\\x0d\\x0aBcc: evil@x.y\\d?=",
    "=?utf-8?b?====?= =?utf-8?b?!?= =?nonsense?q?x?= =?utf-8?q?",
    "line\u2028separator\u2029and\x85next\x0b\x0c\x1c\x1d\x1e",
    "null\x00byte",
    "lone \ud83d surrogate \udc00",
    "right\u202eto left\u2066 marks",
    "x" * 5000,
    ("word " * 2000),
    "=?utf-8?q?" * 500,
]


def read(written: bytes) -> EmailMessage:
    message = message_from_bytes(written, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def unwrapped(written: bytes, name: str) -> str:
    """The raw text of a header, unfolded but not decoded."""
    head = written.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").decode("ascii")
    return next(line.partition(": ")[2] for line in head.split("\r\n") if line.startswith(f"{name}: "))


# --- subject ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Meeting", "Re: Meeting"),
        ("[list] Meeting", "Re: [list] Meeting"),
        ("Regarding: Meeting", "Re: Regarding: Meeting"),
        ("Fwd: Meeting", "Re: Fwd: Meeting"),
        ("Really?", "Re: Really?"),
        (None, "Re: (no subject)"),
        ("", "Re: (no subject)"),
        (" \r\n\t ", "Re: (no subject)"),
        ("  Meeting \n at two ", "Re: Meeting at two"),
        ("=?utf-8?q?caf=C3=A9?= =?utf-8?b?IPCfmIA=?=", "Re: café 😀"),
        ("=?iso-8859-1?Q?caf=E9_today?=", "Re: café today"),
        ("=?utf-8*en?b?Y2Fmw6k?=", "Re: café"),
        ("=?nonsense?q?x?=", "Re: = ?nonsense?q?x?="),
        ("family 👨‍👩‍👧 می‌خواهم", "Re: family 👨‍👩‍👧 می‌خواهم"),
        ("full\u3000width\xa0blank", "Re: full\u3000width\xa0blank"),
    ],
)
def test_a_subject_gets_re_in_front_and_is_one_clean_line(subject: str | None, expected: str) -> None:
    assert reply_subject(subject) == expected


@pytest.mark.parametrize(
    "subject",
    [
        *("Re: x", "RE: x", "re:x", "Re : x", "Re[2]: x", "RE(3): x", "re^4: x", "Re：x", "ＲＥ：x", "Re:"),
        *("AW: x", "Antw: x", "SV: x", "VS: x", "Réf : x", "RIF: x", "R: x", "RES: x", "RV: x", "Odp: x", "Vá: x"),
        *("YNT: x", "ATB: x", "ΑΠ: x", "Σχετ: x", "Отв: x", "رد: x", "השב: x", "回复：x", "回覆: x", "返信: x"),
        *("Odp.: x", "Odgovor: x", "Svar: x", "Válasz: x", "Відповідь: x", "Yanıt: x", "תשובה: x", "Re (2): x"),
    ],
)
def test_a_subject_with_a_reply_prefix_of_any_language_stays_as_it_is(subject: str) -> None:
    assert reply_subject(subject) == subject


@given(st.text(max_size=400))
def test_a_subject_is_answered_with_the_same_subject_however_often_it_goes_back_and_forth(subject: str) -> None:
    once = reply_subject(subject)
    assert reply_subject(once) == once
    assert 0 < len(once) <= 250
    assert "=?" not in once


# --- threading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thread_id", "in_reply_to", "message_id", "expected"),
    [
        (None, None, "<m@x>", "<m@x>"),
        ("<t@x>", None, "<m@x>", "<t@x> <m@x>"),
        ("<t@x>", "<p@x>", "<m@x>", "<t@x> <p@x> <m@x>"),
        ("<t@x>", "<t@x>", "<m@x>", "<t@x> <m@x>"),
        ("<m@x>", "<p@x>", "<m@x>", "<p@x> <m@x>"),
        ("<t@x>", "<p@x>\r\n\t<q@x> <p@x>", "<m@x>", "<t@x> <p@x> <q@x> <m@x>"),
        ("<t@[10.0.0.1]>", "John's message of <p@x>", "<a/b+c=d@x>", "<t@[10.0.0.1]> <p@x> <a/b+c=d@x>"),
        ("no brackets@x", "<no-at-sign>", "<sp ace@x>", ""),
        ("<ümlaut@x>", "<=?utf-8?q?x?=@x>", "", ""),
        ("<" + "t" * 253 + ">", "<unfinished@x", "<m@x>", "<m@x>"),
        ("<a@" + "x" * 1000 + ">", None, "<m@x>", "<m@x>"),
    ],
)
def test_references_end_with_the_answered_email_and_leave_out_what_is_no_id(
    thread_id: str | None, in_reply_to: str | None, message_id: str, expected: str
) -> None:
    assert reply_references(thread_id, in_reply_to, message_id) == tuple(expected.split())


def test_a_long_chain_keeps_its_first_and_its_last_ids() -> None:
    chain = [f"<{number}@x>" for number in range(60)]
    references = reply_references(chain[0], " ".join(chain[1:-1]), chain[-1])
    assert references == (chain[0], *chain[-20:])


@pytest.mark.parametrize("length", [20, 77, 78, 79, 150, 255, 500])
def test_message_ids_go_out_unencoded_however_long(length: int) -> None:
    ids = [f"<{letter * (length - 4)}@x>" for letter in "abc"]
    written = build_reply(replace(REPLY, in_reply_to=ids[2], references=tuple(ids)))
    assert unwrapped(written, "References") == " ".join(ids)
    assert unwrapped(written, "In-Reply-To") == ids[2]


@pytest.mark.parametrize("odd", ["", "<a b@x>", "no at sign", "<" + "x" * 253 + ">", "<a@x", "<\ud83d@x>", "<a@x>\0"])
def test_an_odd_message_id_never_stops_a_reply(odd: str) -> None:
    message = read(build_reply(replace(REPLY, in_reply_to=odd, references=("<t@x>", odd, "<m@x>"))))
    assert message["References"].split()[::2] in (["<t@x>", "<m@x>"], ["<t@x>"])


def test_without_a_usable_id_there_are_no_threading_headers() -> None:
    message = read(build_reply(replace(REPLY, in_reply_to="<a b@x>", references=())))
    assert [name for name in HEADERS if name not in message] == ["In-Reply-To", "References"]


def test_a_message_id_is_made_of_a_unique_text_and_the_senders_domain() -> None:
    assert new_message_id("7.1.c0ffee", "ann@example.com") == "<eo.7.1.c0ffee@example.com>"
    assert new_message_id("7", "ann@exämple.com") == "<eo.7@xn--exmple-cua.com>"


@pytest.mark.parametrize("unique", ["", "7:1", "a b", "a..b", ".a", "a@b", "a>", "é", "a\n"])
def test_a_message_id_holds_nothing_but_a_dot_atom(unique: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        new_message_id(unique, "ann@example.com")


# --- body and fingerprint --------------------------------------------------------------------------------------------


def test_signature_and_quote_stand_below_the_draft() -> None:
    assert reply_body("Yes.", "", "") == "Yes."
    assert reply_body("Yes.\n", "Ann", "") == "Yes.\n\n\nAnn"
    assert reply_body("Yes.", "Ann", "> hi") == "Yes.\n\nAnn\n\n> hi"


def test_the_original_is_quoted_with_its_sender_and_time() -> None:
    quote = quote_original("john@example.org", datetime(2024, 6, 7, 4, 41, tzinfo=UTC), "Hi\r\n\n> old\rbye\x00\n")
    assert quote == "On Fri, 07 Jun 2024 04:41:00 +0000, john@example.org wrote:\n> Hi\n>\n>> old\n> bye"


def test_a_huge_original_is_cut_and_the_cut_is_marked() -> None:
    when = datetime(1, 1, 1, tzinfo=UTC)
    many, wide = quote_original("j@x", when, "line\n" * 1000), quote_original("j@x", when, "x" * 10_000_000)
    assert many.count("\n") == 201
    assert len(wide) < 21_000
    assert many.endswith("> […]")
    assert wide.endswith("> […]")


def test_every_text_counts_in_the_fingerprint_and_where_one_ends() -> None:
    prints = {
        fingerprint(*texts)
        for texts in [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ('a","b', "", "c"), ("a", "b", "c\ud83d")]
    }
    assert len(prints) == 5
    assert all(len(one) == 64 and set(one) <= set("0123456789abcdef") for one in prints)
    assert fingerprint("a", "b", "c") == fingerprint("a", "b", "c")


# --- the whole message -----------------------------------------------------------------------------------------------


def test_a_reply_has_exactly_the_headers_meant_and_no_other() -> None:
    written = build_reply(REPLY)
    message = read(written)
    assert sorted(message.keys()) == sorted(HEADERS)
    assert message["From"] == '"Ann Owner" <ann@example.com>' or message["From"] == "Ann Owner <ann@example.com>"
    assert message["To"] == "john@example.org"
    assert message["Subject"] == "Re: Meeting"
    assert message["Date"] == "Fri, 07 Jun 2024 11:41:31 +0700"
    assert message["Message-ID"] == "<eo.7.1@example.com>"
    assert message.get_content() == "Yes, 2pm works!\r\n"
    assert build_reply(REPLY) == written


@pytest.mark.parametrize("subject", HOSTILE_SUBJECTS)
def test_a_hostile_subject_is_only_ever_a_subject(subject: str) -> None:
    for given_subject, expected in (
        (reply_subject(subject), reply_subject(subject)),
        (subject, clean_header_text(subject)),
    ):
        message = read(build_reply(replace(REPLY, subject=given_subject)))
        assert sorted(message.keys()) == sorted(HEADERS)
        assert message["To"] == "john@example.org"
        assert message.get_content() == "Yes, 2pm works!\r\n"
        assert message["Subject"] == expected


SUBJECT_PIECES = st.sampled_from(["=?", "?=", "?q?", "=0D=0A", "\r\n", "Bcc: ", "é", "日本", "😀", " ", ",", "\u2028"])


@given(st.lists(st.text(max_size=12) | SUBJECT_PIECES, max_size=40).map("".join))
def test_any_subject_arrives_as_it_was_approved(text: str) -> None:
    subject = reply_subject(text)
    message = read(build_reply(replace(REPLY, subject=subject)))
    assert message["Subject"] == subject
    assert sorted(message.keys()) == sorted(HEADERS)


BODY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
BODY_PIECES = st.sampled_from(
    ["\n", "\r\n", "\r", ".", "\n.\n", "From ", " \n", "=", "é" * 50, "x" * 1200, "\x85", "\t"]
)


@given(st.lists(BODY_TEXT | BODY_PIECES, max_size=20).map("".join))
def test_any_body_arrives_as_it_was_approved(body: str) -> None:
    written = build_reply(replace(REPLY, body=body))
    arrived = read(written).get_content()
    meant = body.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").replace("\n", "\r\n") + "\r\n"
    assert arrived == meant
    assert written.isascii()
    assert max(map(len, written.split(b"\r\n"))) <= 998
    assert b"\n" not in written.replace(b"\r\n", b"")
    assert b"\r" not in written.replace(b"\r\n", b"")


@pytest.mark.parametrize("body", ["null\0byte", "lone \ud83d surrogate"])
def test_a_body_no_email_can_carry_is_refused(body: str) -> None:
    with pytest.raises(UnsafeReply, match="characters that no email can carry"):
        build_reply(replace(REPLY, body=body))


@given(st.text(max_size=80))
def test_any_name_of_the_owner_stays_a_name(name: str) -> None:
    addresses = read(build_reply(replace(REPLY, from_name=name)))["From"].addresses
    assert [address.addr_spec for address in addresses] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("john@example.org", "john@example.org"),
        ("John.O'Neil+tag@Sub.Example.ORG", "John.O'Neil+tag@Sub.Example.ORG"),
        ('"john doe"@example.org', '"john doe"@example.org'),
        ("root@localhost", "root@localhost"),
        ("john@[192.0.2.1]", "john@[192.0.2.1]"),
        ("joe@exämple.com", "joe@xn--exmple-cua.com"),
        ("joe@EXÄMPLE.com", "joe@xn--exmple-cua.com"),
        ("joe@例え.jp", "joe@xn--r8jz45g.jp"),
        ("a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".com", "a" * 64 + "@" + ".".join(["b" * 60] * 3) + ".com"),
    ],
)
def test_a_reply_goes_to_the_one_address_it_was_given(address: str, expected: str) -> None:
    message = read(build_reply(replace(REPLY, to=address)))
    assert [found.addr_spec for found in message["To"].addresses] == [expected]
    assert ascii_address(address) == expected


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "exactly one"),
        ("john", "exactly one"),
        ("@example.org", "exactly one"),
        ("john@", "domain"),
        ("john@example.org, evil@x.y", "exactly one"),
        ("john@example.org,evil@x.y", "exactly one"),
        ("a@b@example.org", "exactly one"),
        ("John <john@example.org>", "exactly one"),
        ("<john@example.org>", "exactly one"),
        ("team: a@example.org;", "exactly one"),
        ("john@example.org)evil@x.y", "exactly one"),
        ("john@example.org\r\nBcc: evil@x.y", "exactly one"),
        ("john\0@example.org", "exactly one"),
        ("john@exam ple.org", "domain"),
        ("john@example.org\n", "domain"),
        ("john@example..org", "domain"),
        ("john@-example.org", "domain"),
        ("john@" + "b" * 64 + ".org", "domain"),
        ("j" * 250 + "@example.org", "254"),
        ("jösé@example.org", "outside ASCII"),
        ("joe@straße.de", "without changing it"),
        ("joe@ｅxample.org", "without changing it"),
        ("joe@ex\u200dample.org", "without changing it"),
        ("joe@ex\ud83dample.org", "without changing it"),
        ("=?utf-8?q?evil=40x.y=2C?=@example.org", "encoded-word"),
    ],
)
def test_a_recipient_that_is_not_exactly_one_plain_address_is_refused(address: str, reason: str) -> None:
    with pytest.raises(UnsafeReply, match=reason):
        build_reply(replace(REPLY, to=address))


@pytest.mark.parametrize("message_id", ["", "no brackets", "<a@b> <c@d>", "<a@b>\r\nBcc: evil@x.y", "<a b@c>"])
def test_a_reply_without_a_proper_message_id_is_refused(message_id: str) -> None:
    with pytest.raises(UnsafeReply, match="Message-ID"):
        build_reply(replace(REPLY, message_id=message_id))


def test_a_message_that_reads_back_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_badly(_message: EmailMessage) -> bytes:
        return b"From: ann@example.com\r\nTo: john@example.org\r\nBcc: evil@x.y\r\n\r\nother body\r\n"

    monkeypatch.setattr(EmailMessage, "as_bytes", write_badly)
    with pytest.raises(UnsafeReply, match="header names"):
        build_reply(REPLY)


@pytest.mark.parametrize(
    "line",
    [
        'From: "Ann Owner" <else@example.com>',
        'From: "Ann Others" <ann@example.com>',
        'From: "Ann Owner" <ann@example.com>, else@example.com',
        "To: evil@example.org",
        "To: john@example.org, evil@example.org",
        "To: John <john@example.org>",
        "Subject: Re: Meeting\r\n again",
        "Subject: =?utf-8?q?Re:_Another?=",
        "Date: Fri, 07 Jun 2024 11:41:31 +0600",
        "Message-ID: <eo.7.2@example.com>",
        "In-Reply-To: <other@example.org>",
        "References: <m@example.org>",
    ],
)
def test_a_header_that_says_anything_else_stops_the_reply(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    changed = line.partition(":")[0]

    def write_badly(name: str, value: HeaderValue) -> bytes:
        return f"{line}\r\n".encode() if name == changed else header_lines(name, value)

    monkeypatch.setattr("email_orchestrator.core.reply.header_lines", write_badly)
    with pytest.raises(UnsafeReply, match=f"header {changed}"):
        build_reply(REPLY)


@pytest.mark.parametrize(
    ("difference", "written"),
    [
        ("content type", b'text/html; charset="utf-8"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nYes, 2pm works!'),
        ("content type", b'text/plain; charset="utf-7"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nYes, 2pm works!'),
        ("body", b'text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: 7bit\r\n\r\nYes, 3pm works!'),
        ("body", b'text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\nYes, 2pm works!'),
    ],
)
def test_a_body_that_is_anything_else_stops_the_reply(
    monkeypatch: pytest.MonkeyPatch, difference: str, written: bytes
) -> None:
    monkeypatch.setattr(EmailMessage, "as_bytes", lambda _message: b"MIME-Version: 1.0\r\nContent-Type: " + written)
    with pytest.raises(UnsafeReply, match=rf"\({difference}\)"):
        build_reply(REPLY)
