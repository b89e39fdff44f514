"""The command line on a real terminal, wide and narrow, and in a pipe."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from imap_standin import SentMailStandIn
from shell import ACCOUNT, COLOUR, Shell

from email_orchestrator.cli.terminal import cells_of, fit, wrap
from email_orchestrator.core.states import State
from email_orchestrator.demo.standins import MailStandIn

if TYPE_CHECKING:
    from .conftest import Belt

LONG_SENDER = "a.very.long.name.of.somebody@a-long-name-of-a-company.example.com"
LONG_SUBJECT = "About what we said on Tuesday, and what is still to be done about it"
SUBJECTS = (
    LONG_SUBJECT,
    "日本語の件名" * 9,
    "🎉🧑‍💻❤️🇦🇹👍🏽" * 9,
    "\U0001fae8\U0001fada" * 40,  # emoji that Python's tables do not know yet
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘" * 30,
    "a\x1b[2Jb\x07\x08\x7f\x9b31mc\r\nd\te" * 9,
    "\u202eevil\u2066 \u200f" * 30,
    "",
)


@pytest.fixture
def mail() -> Iterator[MailStandIn]:
    with MailStandIn(ACCOUNT["EMAIL_ADDRESS"], ACCOUNT["EMAIL_PASSWORD"]) as made:
        yield made


@pytest.fixture
def shell(belt: Belt, mail: MailStandIn, tmp_path: Path) -> Shell:
    server = {"GMAIL_SMTP_SERVER": mail.host, "GMAIL_SMTP_PORT": str(mail.port)}
    return Shell(tmp_path, DATABASE_URL=belt.dsn, TIMEZONE="UTC", **ACCOUNT, **server)


def width(line: str) -> int:
    """Count terminal cells in a way of the test's own: every emoji and ideograph two, and no mark any."""
    marks = ("Mn", "Me", "Cf")
    wide = [unicodedata.east_asian_width(c) in "WF" or "\U0001f300" <= c <= "\U0001ffff" or c == "❤" for c in line]
    return sum(2 if two else unicodedata.category(c) not in marks for c, two in zip(line, wide, strict=True))


def plain(shown: str) -> list[str]:
    return COLOUR.sub("", shown).splitlines()


# list -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 60, 80, 132])
def test_a_list_fits_its_terminal_whatever_is_in_it(belt: Belt, shell: Shell, columns: int) -> None:
    belt.with_policy(max_emails_per_poll=len(SUBJECTS))
    for subject in SUBJECTS:
        belt.email(sender=LONG_SENDER, subject=subject)
    belt.poll()
    belt.sql("UPDATE workflow_state SET current_state = 'user_edit_requested'")
    lines = plain(shell.shown("list", columns=columns))
    assert max(map(width, lines)) <= columns
    assert all(one.isprintable() or unicodedata.category(one) in ("Cf", "Cn") for line in lines for one in line)
    assert not set("".join(lines)) & set("\u202e\u2066\u200f")
    assert next(line for line in lines if line.startswith("#")).startswith(f"#{len(SUBJECTS)}  user_edit_requested  ")
    assert sum("a.very.lo" in line for line in lines) == len(SUBJECTS)
    assert any("About wha" in line for line in lines)


def test_in_a_pipe_nothing_of_a_list_is_cut_and_every_workflow_is_one_line(belt: Belt, shell: Shell) -> None:
    for subject in SUBJECTS[:2]:
        belt.email(sender=LONG_SENDER, subject=subject)
    belt.email(sender="ann@example.com", subject="Short")
    belt.poll()
    heading, *rows = shell.run("list").stdout.splitlines()
    assert len(rows) == 3
    assert LONG_SENDER in rows[1]
    assert rows[1].endswith(SUBJECTS[1])
    assert rows[2].endswith(LONG_SUBJECT)
    # What is too long for its column does not push the others about.
    assert rows[0].index("ann@example.com") == heading.index("FROM")
    assert rows[0].index("Short") == heading.index("SUBJECT")


def test_columns_named_in_the_environment_count_in_a_pipe_too(belt: Belt, shell: Shell) -> None:
    belt.email(sender=LONG_SENDER, subject=LONG_SUBJECT)
    belt.poll()
    for columns in (40, 80):
        lines = shell.run("list", COLUMNS=str(columns)).stdout.splitlines()
        assert columns - 30 < max(map(width, lines)) <= columns
    assert LONG_SUBJECT in shell.run("list", COLUMNS="x").stdout


# Colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("list",), ("show", "1"), ("check",)], ids=" ".join)
def test_colours_are_for_terminals_that_want_them(belt: Belt, shell: Shell, command: tuple[str, ...]) -> None:
    belt.offered()
    coloured = shell.shown(*command)
    assert COLOUR.search(coloured)
    for shown in (shell.shown(*command, NO_COLOR="1"), shell.shown(*command, TERM="dumb")):
        assert "\x1b" not in shown
        assert len(shown.splitlines()) == len(coloured.splitlines())
    assert COLOUR.search(shell.shown(*command, NO_COLOR=""))
    assert "\x1b" not in shell.run(*command).output


def test_a_terminal_gets_nothing_to_obey_from_an_email(belt: Belt, shell: Shell) -> None:
    evil = "a\x1b[2J\x1b]0;x\x07\x9b2Jb\r#9  reply_sent\x08\x08 \u202ec"
    belt.generator.texts.append(f"Dear\x1b[31m you {evil}")
    belt.offered(subject=evil, body=f"Hello {evil}\x1b]52;c;ZQ==\x07", body_html=f"<p>{evil}</p>")
    belt.sql("UPDATE workflow_state SET error_message = %s, sender_name = %s", evil, evil)
    belt.sql("UPDATE workflow_event SET reason = %s", evil)
    for command in (("list",), ("show", "1"), ("show", "1", "--json"), ("retry", "1"), ("undo", "1")):
        shown = COLOUR.sub("", shell.shown(*command))
        assert all(one.isprintable() or one == "\n" for one in shown), command
        assert "\n#9" not in shown


# show -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80])
def test_a_page_is_broken_between_words_and_keeps_its_margin(belt: Belt, shell: Shell, columns: int) -> None:
    words = " ".join(["word"] * 60)
    belt.generator.texts.append(f"Dear Ann,\n\n{words}\n" + "日本語" * 40 + "\nhttps://example.com/" + "x" * 100)
    belt.offered(sender=LONG_SENDER, subject=LONG_SUBJECT, body=words)
    belt.answer("2 " + words)
    lines = plain(shell.shown("show", "1", columns=columns))
    assert max(map(width, lines)) <= columns
    assert not any(line.endswith(("wor", "wo")) for line in lines)
    draft = lines[lines.index("  | Dear Ann,") : next(n for n, line in enumerate(lines) if line.startswith("Draft 2"))]
    assert all(line.startswith("  |") for line in draft if line)
    assert "".join(line.removeprefix("  |").replace(" ", "") for line in draft).count("日本語" * 40) == 1


def test_in_a_pipe_a_paragraph_is_one_line(belt: Belt, shell: Shell) -> None:
    words = " ".join(["word"] * 60)
    belt.offered(body=words)
    assert f"  | {words}\n" in shell.run("show", "1").stdout


@pytest.mark.parametrize(
    ("text", "cells", "lines"),
    [
        ("one two three", 7, ["one two", "three"]),
        ("one two three", None, ["one two three"]),
        ("  indented words", 10, ["  indented", "words"]),
        ("abcdefgh ij", 4, ["abcd", "efgh", "ij"]),
        ("日本語", 4, ["日本", "語"]),
        ("日本", 1, ["日", "本"]),
        ("", 3, [""]),
        ("a  b", 2, ["a", "b"]),
    ],
)
def test_a_text_is_broken_where_it_must_be(text: str, cells: int | None, lines: list[str]) -> None:
    assert wrap(text, cells) == lines


def test_what_goes_beneath_a_line_begins_under_its_text() -> None:
    assert wrap("one two three", 9, "> ", "  ") == ["> one two", "  three"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("abc", 3),
        ("日本", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("❤", 1),
        ("❤\ufe0f", 2),
        ("🎉", 2),
        ("🧑\u200d💻", 4),
        ("", 0),
    ],
)
def test_a_text_takes_as_many_cells_as_a_terminal_gives_it(text: str, cells: int) -> None:
    assert cells_of(text) == cells


@pytest.mark.parametrize(
    ("text", "cells", "shown"),
    [("abc", 5, "abc  "), ("abcdef", 4, "abc…"), ("日本語", 4, "日… "), ("日本語", 6, "日本語"), ("abc", 3, "abc")],
)
def test_a_text_is_cut_or_filled_to_its_cells(text: str, cells: int, shown: str) -> None:
    assert fit(text, cells) == shown
    assert cells_of(shown) == cells


# Progress and Ctrl-C ----------------------------------------------------------------------------------------------


def test_approving_several_shows_which_one_is_in_hand_and_leaves_only_the_results(belt: Belt, shell: Shell) -> None:
    for sender in ("ann@example.com", "bob@example.com"):
        belt.offered(sender=sender)
    shown = shell.shown("approve", "1", "#2")
    assert re.search("Sending 1, 1 of 2 ….*Sending #2, 2 of 2 …", shown, re.DOTALL)
    # Each begins by clearing its line, and is cleared before its result is told.
    last_in_each_line = [line.split("\r\x1b[K")[-1] for line in shown.split("\n")[:-1]]
    assert last_in_each_line == ["Sent to ann@example.com (#1).", "Sent to bob@example.com (#2)."]


@pytest.fixture
def looking(shell: Shell, mail: MailStandIn) -> Iterator[None]:
    """Sent Mail can be looked into."""
    with SentMailStandIn(mail) as sent_mail:
        port = str(sent_mail.port)
        shell.settings |= {"SENT_CHECK": "imap", "GMAIL_IMAP_SERVER": "127.0.0.1", "GMAIL_IMAP_PORT": port}
        yield


@pytest.mark.usefixtures("looking")
def test_ctrl_c_lets_the_reply_in_hand_be_finished_and_leaves_the_others(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    for sender in ("ann@example.com", "bob@example.com", "cy@example.com"):
        belt.offered(sender=sender)
    mail.hang_after_dot(1.0, accepted=True)
    with shell.terminal("approve", "1", "2", "3") as terminal:
        mail.wait_for_mail(timeout=20)
        terminal.press_ctrl_c()
        terminal.wait_for("Finishing what is in hand")
        assert terminal.wait() == 1
    assert "Sent to ann@example.com (#1)." in terminal.text
    assert "Error: stopped; left as they are: 2, 3." in terminal.text
    assert [belt.state(number) for number in (1, 2, 3)] == [State.REPLY_SENT, *[State.AWAITING_USER] * 2]
    assert len(mail.mails) == 1


@pytest.mark.usefixtures("looking")
def test_a_second_ctrl_c_breaks_off_and_nothing_is_ever_sent_twice(belt: Belt, shell: Shell, mail: MailStandIn) -> None:
    belt.offered()
    mail.hang_after_dot(60.0, accepted=True)
    with shell.terminal("approve", "1") as terminal:
        mail.wait_for_mail(timeout=20)
        terminal.press_ctrl_c()
        terminal.wait_for("Finishing what is in hand")
        terminal.press_ctrl_c()
        assert terminal.wait() == 75
    assert "#1 may be out or not: the service looks for it in Sent Mail" in terminal.text
    assert "Traceback" not in terminal.text
    assert belt.workflow(1).send_started_at is not None
    assert shell.run("undo", "1").exit_code == 4
    belt.lapse()
    belt.hurry()
    assert belt.sent_mail is not None
    belt.sent_mail.everything = True
    belt.work()
    assert belt.state(1) is State.REPLY_SENT
    assert (len(mail.mails), belt.mailer.mails) == (1, [])


@pytest.mark.usefixtures("looking")
def test_ctrl_c_while_sent_mail_is_looked_into_leaves_that_to_the_service(
    belt: Belt, shell: Shell, mail: MailStandIn
) -> None:
    belt.offered()
    mail.cut_after_dot(accepted=False)
    with shell.terminal("approve", "1") as terminal:
        terminal.wait_for("Looking into Sent Mail")
        terminal.press_ctrl_c()
        assert terminal.wait(4) == 75
    assert "#1 may be out or not" in terminal.text
    assert belt.state(1) is State.USER_APPROVED
    assert "Next: Sent Mail is looked into" in " ".join(shell.run("show", "1").stdout.split())
