"""The daemon as a process: how it ends, how it bears with what is away, and how quick it is while it is busy."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import requests
from house import House, end, free_port, wait_until

from email_orchestrator.demo.standins import Answer
from email_orchestrator.embedded import EmbeddedPostgres

MakeHouse = Callable[..., House]
LONG_LEASE = {"LEASE_SECONDS": "120"}


def offered(house: House, sender: str) -> int:
    """Have an email come in and wait until its draft is on the phone; returns its number."""
    house.email(sender)
    house.gateway.wait_for_text(lambda text: sender in text.message, timeout=10)
    statement = "SELECT id FROM workflow_state WHERE email_from = %s AND current_state = 'awaiting_user'"
    assert wait_until(lambda: house.sql(statement, sender))
    return int(house.sql(statement, sender)[0][0])


def state(house: House, number: int) -> str:
    return str(house.sql("SELECT current_state FROM workflow_state WHERE id = %s", number)[0][0])


# The end ------------------------------------------------------------------------------------------------------------


def test_it_ends_within_ten_seconds_of_the_signal_and_the_next_goes_on_at_once(new_house: MakeHouse) -> None:
    house = new_house(**LONG_LEASE)
    house.generator.latency = 60.0
    process = house.start_ready(plain=True)
    for number in (1, 2, 3):
        house.email(f"approve.{number}@example.com")
    house.generator.requests.wait_for(after=1)
    begun = time.monotonic()
    assert end(process) == 0
    assert time.monotonic() - begun < 10
    assert house.sql("SELECT count(*) FROM workflow_state WHERE claimed_by IS NOT NULL") == [(0,)]
    house.generator.latency = 0.0
    house.start_ready(plain=True)
    begun = time.monotonic()
    for number in (1, 2, 3):
        house.gateway.wait_for_text(lambda text, n=number: f"approve.{n}@" in text.message)  # type: ignore[misc]
    assert time.monotonic() - begun < 5


def test_a_mail_in_hand_when_the_signal_comes_is_found_out_about_by_the_next(new_house: MakeHouse) -> None:
    house = new_house(**LONG_LEASE)
    process = house.start_ready(plain=True)
    number = offered(house, "approve.1@example.com")
    house.mail.hang_after_dot(40, accepted=True)
    house.gateway.text_from_owner("1")
    house.mail.wait_for_mail()
    begun = time.monotonic()
    assert end(process) == 0
    assert time.monotonic() - begun < 10
    house.start_ready(plain=True)
    house.gateway.wait_for_text(lambda text: "Sent to" in text.message)
    assert (state(house, number), len(house.mail.mails)) == ("reply_sent", 1)


@pytest.mark.parametrize("away", ["monitor", "gateway"])
def test_it_ends_in_time_while_an_outside_system_says_nothing(
    new_house: MakeHouse, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = new_house(**LONG_LEASE)
    process = house.start_ready(plain=True)
    standin = house.monitor if away == "monitor" else house.gateway
    monkeypatch.setattr(standin, "answer", lambda _: Answer(hang=60.0))
    calls = len(standin.calls)
    assert wait_until(lambda: len(standin.calls) > calls)
    begun = time.monotonic()
    assert end(process) == 0
    assert time.monotonic() - begun < 10


def test_a_hangup_of_the_terminal_changes_nothing(house: House) -> None:
    process = house.start_ready(plain=True)
    process.send_signal(signal.SIGHUP)
    offered(house, "approve.1@example.com")
    assert process.poll() is None
    assert end(process) == 0


# A second one -------------------------------------------------------------------------------------------------------


def test_a_second_daemon_on_the_same_port_ends_with_a_sentence_and_disturbs_nobody(house: House) -> None:
    first = house.start_ready(plain=True)
    second = house.command("run")
    assert second.returncode == 1
    assert [line.partition(" ")[0] for line in second.stderr.splitlines()] == ["Error:"]
    assert f":{house.port}" in second.stderr
    offered(house, "approve.1@example.com")
    assert first.poll() is None


def test_a_second_daemon_on_another_port_does_its_share_and_nothing_twice(house: House) -> None:
    owner = house.owner()
    house.start_ready(plain=True)
    house.start_ready(plain=True, PORT=str(free_port()))
    for number in range(1, 9):
        house.email(f"approve.{number}@example.com")
    wait_until(lambda: owner.idle and not house.problems())
    assert house.problems() == []
    assert len(house.replies()) == 8


# Without the database -----------------------------------------------------------------------------------------------


def test_without_the_database_it_stays_up_says_so_once_and_goes_on_by_itself(
    server: EmbeddedPostgres, house_of: House
) -> None:
    house = house_of
    process = house.start_ready(plain=True)
    number = offered(house, "approve.1@example.com")
    server.stop()
    assert wait_until(lambda: house.health()[0] == 503, 5)
    assert house.health()[1]["database"] == "away"
    begun = time.monotonic()
    assert house.gateway.text_from_owner("1") == 503
    assert time.monotonic() - begun < 2
    time.sleep(2.5)  # everybody has looked in vain more than once by now
    assert process.poll() is None
    assert len(house.log_lines(". Work goes on when it is back")) == 1
    assert house.log_lines("The database is back") == []
    server.start()
    house.gateway.wait_for_text(lambda text: "Sent to" in text.message, timeout=10)
    assert state(house, number) == "reply_sent"
    assert wait_until(lambda: _status(house) == 200, 5)
    assert len(house.log_lines("The database is back")) == 1
    assert house.log_lines("stumbled") == []
    assert end(process) == 0


def test_a_database_that_can_only_be_read_is_as_good_as_away(house: House) -> None:
    process = house.start_ready(plain=True)
    number = offered(house, "approve.1@example.com")
    forbid_writing(house, "on")
    assert wait_until(lambda: house.health()[0] == 503, 5)
    assert house.gateway.text_from_owner("1") == 503
    assert wait_until(lambda: house.log_lines(". Work goes on when it is back") != [])
    forbid_writing(house, "off")
    house.gateway.wait_for_text(lambda text: "Sent to" in text.message, timeout=10)
    assert state(house, number) == "reply_sent"
    assert len(house.log_lines(". Work goes on when it is back")) == len(house.log_lines("The database is back")) == 1
    assert house.log_lines("stumbled") + house.log_lines("Traceback") == []
    assert end(process) == 0


def forbid_writing(house: House, whether: str) -> None:
    """Let nobody write in the database, or everybody again, as after a change from a server to its copy and back."""
    house.sql(
        "SET TRANSACTION READ WRITE; DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET default_transaction_read_only"
        f" = {whether}', current_database()); END $$"
    )
    if whether == "on":
        # Not afterwards: who is back by then would lose the database a second time, and say so.
        house.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_daemon_that_starts_before_its_database_waits_for_it_and_says_so(
    server: EmbeddedPostgres, house_of: House
) -> None:
    house = house_of
    server.stop()
    process = house.start(plain=True)
    assert wait_until(lambda: _status(house) == 503)
    assert house.gateway.text_from_owner("1") == 503
    assert end(process) == 0
    process = house.start(plain=True)
    assert wait_until(lambda: _status(house) == 503)
    server.start()
    offered(house, "approve.1@example.com")
    assert wait_until(lambda: _status(house) == 200)
    assert len(house.log_lines(". Work goes on when it is back")) == 2
    assert end(process) == 0


def _status(house: House) -> int:
    with suppress(requests.ConnectionError):
        return house.health()[0]
    return 0


# In a hurry ---------------------------------------------------------------------------------------------------------


def test_a_text_is_acknowledged_acted_on_and_answered_at_once_while_all_workers_wait_for_drafts(
    new_house: MakeHouse,
) -> None:
    house = new_house(WORKERS="4", **LONG_LEASE)
    house.start_ready(plain=True)
    number = offered(house, "approve.1@example.com")
    house.generator.latency = 60.0
    before = len(house.generator.requests)
    for other in range(2, 8):
        house.email(f"approve.{other}@example.com")
    house.generator.requests.wait_for(after=before + 3)
    begun = time.monotonic()
    assert house.gateway.text_from_owner("1") == 200
    acknowledged = time.monotonic() - begun
    assert wait_until(lambda: state(house, number) != "awaiting_user", 5, every=0.01)
    acted_on = time.monotonic() - begun
    house.gateway.wait_for_text(lambda text: "Sent to approve.1@" in text.message)
    answered = time.monotonic() - begun
    assert (acknowledged < 1, acted_on < 2, answered < 3) == (True, True, True), (acknowledged, acted_on, answered)


def test_a_new_email_is_taken_at_once_however_seldom_the_poll_comes_round(new_house: MakeHouse) -> None:
    house = new_house(POLL_INTERVAL="3600")
    house.start_ready(plain=True)
    house.email("approve.1@example.com")
    assert wait_until(lambda: house.gateway.sent, 5)
    # While the Email Monitor is away, one line says so, and the email waits for the poll.
    house.monitor.stop()
    house.email("approve.2@example.com")
    assert wait_until(lambda: house.log_lines("Email Monitor"), 5)
    house.email("approve.3@example.com")
    assert not wait_until(lambda: len(house.log_lines("Email Monitor")) > 1, 3)
