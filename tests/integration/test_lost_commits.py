"""The database's server dies and takes with it what was committed and not yet on the disk; nobody notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from email_orchestrator.core.states import Actor, State
from email_orchestrator.embedded import EmbeddedPostgres
from email_orchestrator.store import schema
from email_orchestrator.workflow import actions, answering, replying

from .conftest import SENDER, Belt


class Shaky:
    """A server that writes to the disk only what somebody waits for, and can be made to die."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedPostgres(folder, durable=False)
        self.belt = Belt(self._server.start())

    def hold_back(self) -> None:
        """Keep the server from writing down by itself what nobody waits for."""
        (pid,) = self.belt.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")[0]
        os.kill(pid, signal.SIGSTOP)

    def die_and_come_back(self) -> None:
        main = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in (main, *map(int, children)):
            with suppress(ProcessLookupError):  # without the main process they end by themselves
                os.kill(pid, signal.SIGKILL)
        self._server.stop()
        assert self._server.start() == self.belt.dsn

    def stop(self) -> None:
        self.belt.database.close()
        self._server.stop()


@pytest.fixture
def shaky(server_folder: Path) -> Iterator[Shaky]:
    server = Shaky(server_folder)
    try:
        schema.apply(server.belt.database)
        yield server
    finally:
        server.stop()


def test_an_email_whose_taking_went_down_with_the_server_is_taken_again(shaky: Shaky) -> None:
    belt = shaky.belt
    belt.poll()
    belt.email()
    shaky.hold_back()
    assert belt.poll() == 1
    shaky.die_and_come_back()
    assert belt.sql("SELECT count(*) FROM workflow_state") == [(0,)]
    assert belt.poll() == 1
    belt.work()
    assert belt.state(1) is State.AWAITING_USER


def test_a_draft_that_went_down_with_the_server_is_asked_for_again_and_texted_once(shaky: Shaky) -> None:
    belt = shaky.belt
    belt.email()
    belt.poll()
    belt.sql("UPDATE service_state SET updated_at = now()")  # waits for the disk, and brings along what is before it
    shaky.hold_back()
    belt.draft()
    assert belt.state(1) is State.SMS_SENDING
    shaky.die_and_come_back()
    assert belt.state(1) is State.PENDING
    belt.work()
    assert belt.state(1) is State.AWAITING_USER
    assert (len(belt.generator.asked), len(belt.gateway.texts)) == (2, 1)


def test_an_approval_by_text_that_went_down_with_the_server_is_acted_on_again_and_sent_once(shaky: Shaky) -> None:
    belt = shaky.belt
    belt.offered()
    belt.text("1")
    shaky.hold_back()
    assert answering.answer_one(belt.desk)
    assert belt.state(1) is State.USER_APPROVED
    shaky.die_and_come_back()
    assert belt.state(1) is State.AWAITING_USER
    belt.work()
    assert belt.state(1) is State.REPLY_SENT
    assert [recipient for _, recipient, _ in belt.mailer.mails] == [SENDER]


def test_an_approval_in_a_shell_is_on_the_disk_before_the_shell_says_so(shaky: Shaky) -> None:
    belt = shaky.belt
    belt.offered()
    shaky.hold_back()
    with belt.database.transaction() as tx:
        actions.approve(tx, belt.desk, actions.find(tx, "1"), Actor.CLI)
    shaky.die_and_come_back()
    assert belt.state(1) is State.USER_APPROVED


def test_what_is_about_to_leave_the_house_is_on_the_disk_before_it_does(shaky: Shaky) -> None:
    belt = shaky.belt
    belt.offered()
    belt.text("1")
    shaky.hold_back()
    answering.answer_one(belt.desk)
    send = belt.mailer.send

    def send_and_die(sender: str, recipient: str, message: bytes, until: float) -> str:
        answer = send(sender, recipient, message, until)
        shaky.die_and_come_back()
        return answer

    belt.mailer.send = send_and_die  # type: ignore[method-assign]
    assert replying.reply_one(belt.desk, belt.mailer, belt.sent_mail)
    belt.keep_trying(2)
    assert belt.state(1) is State.REPLY_SENT
    assert len(belt.mailer.mails) == 1
