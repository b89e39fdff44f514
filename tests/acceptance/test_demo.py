"""The demo as README.md has it: a script plays the phone, or a person in a terminal."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from house import wait_until
from shell import COLOUR, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell without a single setting, as on a fresh machine."""
    return Shell(tmp_path)


def test_the_script_finds_everything_as_it_should_be(shell: Shell) -> None:
    process = shell.process("demo", "--auto")
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stderr) == (0, "")
    assert "✓ exactly two replies went out" in stdout
    assert stdout.endswith("* Everything was as it should be.\n")
    assert list(shell.folder.iterdir()) == []
    shown = [stdout.index(words) for words in ("1=Send", "you> 1", "mail accepted", "✓ the reply went", "Sent to john")]
    assert shown == sorted(shown), "nobody answers what is not on the screen yet"


def test_what_is_piped_in_before_the_first_email_is_taken_does_not_end_the_demo_without_a_draft(shell: Shell) -> None:
    process = shell.process("demo")
    stdout, _ = process.communicate("list\n", timeout=120)
    assert process.returncode == 0
    assert "1=Send" in stdout


def test_a_person_plays_the_phone_sees_the_reply_and_ends_it_with_ctrl_c(shell: Shell) -> None:
    with shell.terminal("demo") as terminal:
        terminal.wait_for("1=Send 2=Edit 3=Ignore", 60)
        assert max(map(len, COLOUR.sub("", terminal.text).splitlines())) <= 80
        terminal.type("2 shorter")
        terminal.wait_for("Draft 2")
        terminal.type("1")
        terminal.wait_for("mail accepted by the SMTP server")
        terminal.wait_for("Sent to john@example.com (#1)")
        terminal.press_ctrl_c()
        assert terminal.wait() == 0
    assert "That was it." in terminal.text
    assert "Traceback" not in terminal.text


def test_the_end_of_the_input_ends_the_demo_once_the_work_in_hand_is_done(shell: Shell) -> None:
    with shell.terminal("demo") as terminal:
        terminal.wait_for("1=Send 2=Edit 3=Ignore", 60)
        terminal.type("1")
        terminal.press_ctrl_d()
        assert terminal.wait() == 0
    assert "Sent to john@example.com (#1)" in terminal.text
    assert "That was it." in terminal.text


def test_a_terminal_that_is_closed_leaves_nothing_behind(shell: Shell, server_folder: Path) -> None:
    with shell.terminal("demo", TMPDIR=str(server_folder)) as terminal:
        terminal.wait_for("You are the phone", 60)
        started = children(terminal.process.pid)
        assert len(started) == 2, "the database and the daemon"
        terminal.process.send_signal(signal.SIGHUP)
        assert terminal.wait() == 0
    assert list(server_folder.iterdir()) == []
    assert not any(map(alive, started))


def test_a_demo_killed_outright_leaves_no_process_behind(shell: Shell, server_folder: Path) -> None:
    with shell.terminal("demo", TMPDIR=str(server_folder)) as terminal:
        terminal.wait_for("You are the phone", 60)
        started = children(terminal.process.pid)
        terminal.process.kill()
        assert wait_until(lambda: not any(map(alive, started)), 20)


def children(number: int) -> list[int]:
    """List the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()]


def alive(number: int) -> bool:
    status = Path(f"/proc/{number}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
