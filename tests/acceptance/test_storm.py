"""Everything at once, again and again: kills, restarts of the database, several daemons and a shell on one database."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest
from house import House, end, free_port, wait_until
from owner import Owner

from email_orchestrator.embedded import EmbeddedPostgres
from email_orchestrator.store import schema
from email_orchestrator.store.connection import Database

WISHES = ("approve", "approve", "edit", "ignore", "approve", "late")
ENDS = {
    "approve": "reply_sent",
    "edit": "reply_sent",
    "late": "reply_sent",
    "ignore": "user_ignored",
    "wait": "timeout",
}
MakeHouse = Callable[..., House]


@contextmanager
def emails_coming_in(house: House, count: int, every: float) -> Iterator[None]:
    """Have emails of all sorts come in on a side thread, and days pass for those that are to be answered late."""
    stop = threading.Event()

    def deliver() -> None:
        for number in range(1, count + 1):
            while not stop.is_set():
                try:
                    house.email(f"{WISHES[number % len(WISHES)]}.{number}@example.com")
                except psycopg2.IntegrityError:
                    break  # it came in before, and the connection was lost before that was heard
                except psycopg2.Error:
                    stop.wait(0.05)
                else:
                    break
            stop.wait(every)

    def pass_time() -> None:
        while not stop.wait(0.3):
            with suppress(psycopg2.Error):
                house.let_time_pass()

    threads = [threading.Thread(target=deliver), threading.Thread(target=pass_time)]
    for thread in threads:
        thread.start()
    try:
        yield
        threads[0].join()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def settle(house: House, owner: Owner, seconds: float = 90.0) -> None:
    """Wait until nothing is left to be done, or no longer."""

    def over() -> bool:
        with suppress(psycopg2.Error):
            house.let_time_pass()
            return owner.idle and not house.problems() and owner.idle
        return False

    wait_until(over, seconds, every=0.2)


def what_is_wrong(house: House, owner: Owner, count: int) -> list[str]:
    rows = house.sql("SELECT id, email_from, current_state, error_message FROM workflow_state")
    ends = [
        f"#{number} from {sender} ended as {state} ({reason})"
        for number, sender, state, reason in rows
        if state != ENDS[sender.partition(".")[0]]
    ]
    lost = [] if len(rows) == count else [f"{len(rows)} of {count} emails were taken"]
    return house.problems() + ends + lost + owner.surprises


def test_a_storm_of_kills_loses_nothing_and_sends_nothing_twice(new_house: MakeHouse) -> None:
    chance = random.Random(9)  # noqa: S311
    house, count, kills = new_house(), 36, 14
    owner = house.owner()
    process = house.start()
    with emails_coming_in(house, count, every=0.4):
        for _ in range(kills):
            time.sleep(0.3 + 1.4 * chance.random() ** 2)
            process.kill()
            process.wait()
            process = house.start()
    settle(house, owner)
    assert what_is_wrong(house, owner, count) == []
    assert end(process) == 0


@pytest.fixture
def durable_server() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="eo-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder, durable=True, settings={"max_connections": "100"})
        yield server
        server.stop()


def test_restarts_of_the_database_under_load_lose_nothing_and_send_nothing_twice(
    durable_server: EmbeddedPostgres, new_house: MakeHouse
) -> None:
    chance = random.Random(5)  # noqa: S311
    dsn = durable_server.start()
    database = Database(dsn)
    schema.apply(database)
    database.close()
    house, count, restarts = new_house(dsn), 24, 7
    owner = house.owner()
    process = house.start_ready()
    with emails_coming_in(house, count, every=0.4):
        for number in range(restarts):
            time.sleep(0.4 + chance.random())
            if number % 2:
                crash(durable_server)
            durable_server.stop()
            time.sleep(0.5 * chance.random())
            assert durable_server.start() == dsn
    settle(house, owner)
    assert what_is_wrong(house, owner, count) == []
    assert process.poll() is None, "the daemon stays up"
    away, back = (house.log_lines(words) for words in ("Work goes on when it is back", "The database is back"))
    # A connection that rested all through an outage may tell of it a moment after the others saw its end.
    assert len(away) <= 2 * restarts, "an outage is not a flood of lines"
    assert len(back) == len(away)
    assert end(process) == 0


def crash(server: EmbeddedPostgres) -> None:
    """End a server at once, without a word to its clients and without a checkpoint."""
    pid = int((server._data / "postmaster.pid").read_text().split("\n")[0])
    os.kill(pid, signal.SIGQUIT)
    time.sleep(0.1)


def test_two_daemons_and_a_shell_on_one_database_do_everything_once(new_house: MakeHouse) -> None:
    house, count = new_house(), 30
    owner = house.owner()
    port = str(free_port())
    first, second = house.start_ready(), house.start_ready(PORT=port)
    with emails_coming_in(house, count, every=0.15):
        for _ in range(3):
            assert house.command("poll").returncode == 0
            assert house.command("list").returncode == 0
            assert end(second) == 0
            second = house.start(PORT=port)
            second.kill()
            second = house.start_ready(PORT=port)
    settle(house, owner)
    assert what_is_wrong(house, owner, count) == []
    assert (end(first), end(second)) == (0, 0)
