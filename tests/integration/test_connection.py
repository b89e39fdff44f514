"""Connections to the database: what is lost, what is waited for, and what is said in one go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from house import wait_until

from email_orchestrator.errors import DatabaseUnavailable
from email_orchestrator.store import memory, patience
from email_orchestrator.store.connection import Database
from email_orchestrator.store.transaction import Transaction
from email_orchestrator.store.trouble import DataRefused

OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
OTHERS += " AND pid <> pg_backend_pid()"
SAID = "SELECT query FROM pg_stat_activity WHERE application_name = 'email-orchestrator' AND query <> ''"
SAID += " AND datname = current_database()"
FORGET_SAID = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%%EXECUTE forget%%'"
FORGET_SAID += " AND pid <> pg_backend_pid()"


@pytest.fixture
def database(dsn: str) -> Database:
    return Database(dsn)


def sleep(database: Database, seconds: float, patience: float = 10.0) -> None:
    with database.patience(patience), database.transaction() as tx:
        tx.script(f"SELECT pg_sleep({seconds})")


def test_a_connection_that_was_lost_while_it_rested_is_replaced_unnoticed(belt: Any, database: Database) -> None:
    for _ in range(3):
        sleep(database, 0)
        belt.sql(OTHERS)
    sleep(database, 0)


def test_one_that_is_lost_in_the_midst_of_its_work_is_noticed_and_nothing_is_repeated(belt: Any, dsn: str) -> None:
    database = Database(dsn)
    sleep(database, 0)

    def lose() -> None:
        with database.transaction() as tx:
            tx.script("SELECT 1")
            belt.sql(OTHERS)
            tx.script("SELECT 1")

    with pytest.raises(DatabaseUnavailable):
        lose()
    sleep(database, 0)


def test_a_transaction_begins_with_its_first_statement_and_on_the_same_journey(belt: Any, dsn: str) -> None:
    belt.sql(OTHERS)
    database = Database(dsn)
    with database.transaction() as tx:
        assert belt.sql(SAID) == []
        tx.script("SELECT 7")
        assert belt.sql(SAID) == [("BEGIN; SELECT 7",)]
    assert belt.sql(SAID) == [("COMMIT",)]
    with database.transaction():
        pass
    assert belt.sql(SAID) == [("COMMIT",)]


def test_what_is_only_deferred_goes_before_the_commit_and_never_with_it(belt: Any, dsn: str) -> None:
    belt.sql(OTHERS)
    database = Database(dsn)
    with database.transaction() as tx:
        memory.forget(tx, "none")
    assert belt.sql(SAID) == [("COMMIT",)]


def test_the_time_of_a_transaction_is_its_beginning_and_told_along_the_way(belt: Any, dsn: str) -> None:
    belt.sql(OTHERS)
    database = Database(dsn)
    with database.transaction() as tx:
        memory.remember(tx, "first", {"n": 1})
        memory.recall(tx, "first")
        told = tx.now
        assert belt.sql(SAID)[0][0].endswith("EXECUTE recall ('first')")
    with database.transaction() as tx:
        first = tx.now
        tx.script("SELECT pg_sleep(0.01)")
        assert first == tx.now > told
        assert [(first,)] == belt.sql("SELECT xact_start FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(0.01)'")


def test_a_commit_is_asynchronous_where_that_was_asked_for_and_nowhere_else(database: Database) -> None:
    def waits(tx: Transaction) -> str:
        tx.script("SELECT 1")
        with tx.line.connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            return str(cursor.fetchall()[0][0])

    with database.transaction() as tx:
        tx.commit_asynchronously()
        assert waits(tx) == "off"
    with database.transaction() as tx:
        assert waits(tx) == "on"


def test_who_has_no_patience_left_goes_and_the_next_is_served(database: Database) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        sleep(database, 10, patience=0.3)
    assert time.monotonic() - began < 2
    sleep(database, 0.1)


def test_whoever_has_patience_waits_longer_than_one_who_has_not(database: Database) -> None:
    with database.patience(0.2):
        sleep(database, 0.5, patience=5)
        with pytest.raises(DatabaseUnavailable), database.transaction() as tx:
            tx.script("SELECT pg_sleep(5)")
    with database.transaction() as tx:
        tx.script("SELECT pg_sleep(0.5)")


def test_what_is_done_in_time_is_never_cut_off_later(database: Database) -> None:
    sleep(database, 0)
    threads = threading.active_count()
    began = time.monotonic()
    while time.monotonic() - began < 0.8:
        sleep(database, 0.05, patience=0.3)
    assert threading.active_count() == threads


def test_who_has_little_patience_does_not_wait_for_one_who_has_much(belt: Any, database: Database) -> None:
    patient = threading.Thread(target=sleep, args=(database, 4, 60.0))
    patient.start()
    asleep = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%SELECT pg_sleep(4)' AND state = 'active'"
    assert wait_until(lambda: belt.sql(asleep))
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        sleep(database, 10, patience=0.3)
    assert time.monotonic() - began < 3
    patient.join()


def test_a_thread_for_patience_that_could_not_be_started_is_started_the_next_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_watch", patience._Watch())
    with monkeypatch.context() as no_threads:
        no_threads.setattr(threading.Thread, "start", mock.Mock(side_effect=RuntimeError("can't start new thread")))
        with pytest.raises(RuntimeError):
            sleep(database, 0)
    with pytest.raises(DatabaseUnavailable):
        sleep(database, 10, patience=0.3)


def test_what_is_deferred_goes_with_whatever_comes_next_and_with_the_commit_at_the_latest(
    belt: Any, database: Database
) -> None:
    with database.transaction() as tx:
        memory.forget(tx, "none")
        assert belt.sql(FORGET_SAID) == []
        assert memory.recall(tx, "none") is None
        assert belt.sql(FORGET_SAID) == [(1,)]
        memory.remember(tx, "first", {"n": 1})
        memory.remember(tx, "first", {"n": 2})
        assert memory.recall(tx, "first") == {"n": 2}
        memory.remember(tx, "second", {"n": 3})
    with database.transaction() as tx:
        assert [memory.recall(tx, key) for key in ("first", "second")] == [{"n": 2}, {"n": 3}]


def test_what_is_deferred_is_not_done_when_the_rest_is_not(database: Database) -> None:
    def defer_and(act: Callable[[Transaction], None]) -> None:
        with database.transaction() as tx:
            memory.remember(tx, "first", {"n": 1})
            act(tx)

    def stumble(_: Transaction) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        defer_and(stumble)
    with pytest.raises(DataRefused):
        defer_and(lambda tx: tx.defer("remember", key=None, value="{}"))
    with database.transaction() as tx:
        assert memory.recall(tx, "first") is None


def test_that_nothing_may_be_written_any_more_is_found_out_by_one_for_all(database: Database) -> None:
    def reader() -> int:
        with database.transaction() as tx:
            tx.script("SELECT 1")
            return int(tx.line.connection.info.backend_pid)

    def write_in_vain() -> None:
        with pytest.raises(DatabaseUnavailable), database.transaction() as tx:
            tx.script("SET TRANSACTION READ ONLY; CREATE TABLE note ()")
        found.append(True)

    found: list[bool] = []
    before = reader()
    assert reader() == before
    writer = threading.Thread(target=write_in_vain)
    writer.start()
    writer.join()
    assert found == [True]
    assert reader() != before


def test_where_nothing_may_be_written_the_database_is_as_good_as_away(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="read-only"), database.transaction() as tx:
        tx.script("SET TRANSACTION READ ONLY; CREATE TABLE note ()")
