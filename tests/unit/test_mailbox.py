import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from email_orchestrator.demo.mailbox import MonitorRow, read_email, read_mailbox

SAMPLES = Path(os.environ.get("EMAIL_SAMPLES") or Path(__file__).resolve().parents[3] / "shared" / "emails")
ARRIVED = datetime(2024, 6, 7, 12, 0, tzinfo=UTC)

LETTER = b"""\
From: "Doe, Joe" <joe@example.com>
To: Owner <owner@example.com>, second@example.com
Subject: =?utf-8?q?Lunch_=F0=9F=98=80?=
Date: Fri, 07 Jun 2024 12:34:56 +0200
Message-ID: <2@example.com>
In-Reply-To: <1@example.com>
 <0@example.com>
References: <first@example.com>
 <1@example.com>
Content-Type: text/plain; charset=iso-8859-1

Caf\xe9?
"""


def read(source: bytes) -> MonitorRow:
    return read_email(source, ARRIVED)


def test_an_email_becomes_the_row_the_monitor_would_store() -> None:
    assert read(LETTER) == MonitorRow(
        message_id="<2@example.com>",
        from_address="joe@example.com",
        subject="Lunch 😀",
        received_at=datetime(2024, 6, 7, 10, 34, 56, tzinfo=UTC),
        body_text="Café?\n",
        body_html=None,
        thread_id="<first@example.com>",
        in_reply_to="<1@example.com>\n <0@example.com>",
    )


def test_an_email_that_starts_a_thread_is_its_own_thread() -> None:
    row = read(b"From: a@example.com\nMessage-ID: <1@example.com>\n\nHi")
    assert row.thread_id == "<1@example.com>"
    assert row.in_reply_to is None
    assert row.subject is None


def test_an_email_without_a_message_id_has_an_empty_one() -> None:
    row = read(b"From: a@example.com\n\nHi")
    assert row.message_id == ""
    assert row.thread_id is None


def test_both_bodies_are_taken_and_attachments_left() -> None:
    row = read(
        b"From: a@example.com\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n"
        b"--o\nContent-Type: text/plain\nContent-Disposition: attachment\n\nattached\n"
        b"--o\nContent-Type: multipart/alternative; boundary=i\n\n"
        b"--i\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nSMOpbGxv\n"
        b"--i\nContent-Type: text/html\n\n<p>Hello</p>\n--i--\n"
        b"--o\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner text\n--o--\n"
    )
    assert row.body_text == "Héllo"
    assert row.body_html is not None
    assert row.body_html.strip() == "<p>Hello</p>"


@pytest.mark.parametrize("charset", [b"no-such-charset", b"undefined", b"base64", b"idna", b"utf-8\0", b""])
def test_an_unknown_charset_still_gives_text(charset: bytes) -> None:
    row = read(b"From: a@example.com\nContent-Type: text/plain; charset=" + charset + b"\n\nHi \xff there\n")
    assert row.body_text is not None
    assert "there" in row.body_text


def test_an_encoded_word_may_put_line_breaks_into_a_subject() -> None:
    row = read(b"From: a@example.com\nSubject: =?utf-8?q?a=0D=0ABcc:_evil=40example.com?=\n\nHi")
    assert row.subject == "a\r\nBcc: evil@example.com"


def test_nothing_is_stored_that_postgresql_refuses() -> None:
    row = read(
        b"From: a@example.com\nSubject: =?utf-8?b?AO2ggA==?= \xff\nMessage-ID: <\xff\0@x>\n\nH\0i \xed\xa0\x80\n"
    )
    for text in (row.subject, row.message_id, row.body_text):
        assert text is not None
        assert "\0" not in text
        text.encode()


def test_values_are_cut_to_the_width_of_their_columns() -> None:
    long = b"<" + b"x" * 400 + b"@example.com>"
    row = read(b"From: " + b"a" * 300 + b"@example.com\nMessage-ID: " + long + b"\nIn-Reply-To: " + long + b"\n\nHi")
    assert [len(value or "") for value in (row.message_id, row.from_address, row.thread_id, row.in_reply_to)] == [
        255
    ] * 4


@pytest.mark.parametrize(
    "date",
    [
        b"",
        b"yesterday",
        b"Mon, 30 Jun 3609 15:33:50 +0600",
        b"Thu, 01 Jan 1970 00:00:00 +0000",
        b"31 Dec 9999 23:59 -2359",
    ],
)
def test_an_absurd_date_is_replaced_by_the_time_of_arrival(date: bytes) -> None:
    assert read(b"From: a@example.com\nDate: " + date + b"\n\nHi").received_at == ARRIVED


@pytest.mark.parametrize(
    "header",
    [
        b"From: \xff\xfe <a@example.com",
        b"From: a@example.com, (((",
        b"From: =?utf-8?q?=00?= <a@example.com>",
        b"Content-Type: text/plain; charset*0*=x''%ff; \0=\0",
        b"Content-Type: multipart/mixed; boundary=\0",
        b"Content-Type: multipart/mixed",
        b"Content-Disposition: ;;;=\0",
        b"Content-Transfer-Encoding: base64",
        b"Date: \0",
        b"To: <<>>,,;;@@",
        b"References: <\0> <<a@b>>",
        b"no colon at all",
    ],
)
def test_a_malformed_header_never_raises(header: bytes) -> None:
    row = read(b"Subject: x\n" + header + b"\nMessage-ID: <1@example.com>\n\n!!! not base64 \xff")
    assert isinstance(row.from_address, str)


def test_thousands_of_nested_parts_are_read_as_text() -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(3000))
    assert read(b"From: a@example.com\n" + nested + b"\nHi").from_address == "a@example.com"


def test_a_folder_is_read_in_order_and_repeats_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "b.eml").write_bytes(LETTER.replace(b"<2@example.com>", b"<3@example.com>"))
    (tmp_path / "a.EML").write_bytes(LETTER)
    (tmp_path / "c.eml").write_bytes(LETTER.replace(b"Caf", b"caf"))
    (tmp_path / "notes.txt").write_bytes(LETTER.replace(b"<2@", b"<9@"))
    rows = read_mailbox(tmp_path)
    assert [row.message_id for row in rows] == ["<2@example.com>", "<3@example.com>"]
    assert rows[0].body_text == "Café?\n"
    assert "left out c.eml" in caplog.text


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="there is no folder of sample emails")
def test_every_sample_email_becomes_a_row_that_can_be_stored() -> None:
    paths = sorted(SAMPLES.glob("*.eml"))
    assert paths
    for path in paths:
        row = read(path.read_bytes())
        texts = (row.message_id, row.from_address, row.subject, row.body_text, row.body_html, row.in_reply_to)
        for text in texts:
            (text or "").encode()
            assert "\0" not in (text or ""), path.name


def test_repeats_of_a_message_id_can_be_told_apart(tmp_path: Path) -> None:
    for name in ("1.eml", "2.eml", "3.eml"):
        (tmp_path / name).write_bytes(b"From: a@example.com\r\nMessage-ID: <one@example.com>\r\n\r\nHello\r\n")
    (tmp_path / "4.eml").write_bytes(b"From: a@example.com\r\n\r\nHello\r\n")
    (tmp_path / "5.eml").write_bytes(b"From: a@example.com\r\n\r\nHello\r\n")
    ids = [row.message_id for row in read_mailbox(tmp_path, tell_repeats_apart=True)]
    assert ids == ["<one@example.com>", "<one.2@example.com>", "<one.3@example.com>", ""]
