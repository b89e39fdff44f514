"""The private PostgreSQL server: starts anywhere, keeps its data, ends with its parent, says what to do otherwise."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from email_orchestrator.embedded import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    FolderInUseError,
    ProgramsMissingError,
    UnreachableError,
    WrongVersionError,
    find_binaries,
    find_running,
    programs,
)
from email_orchestrator.embedded.programs import major_version

PROJECT = Path(programs.__file__).parents[2]
IMPORTABLE = {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run programs as another user")

# A program like ours: it keeps a server until a line arrives, or until it is killed.
HOLDER = """
import sys
from pathlib import Path
from email_orchestrator.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1]), binaries=Path(sys.argv[2]), durable=False) as dsn:
    print(dsn, flush=True)
    sys.stdin.readline()
"""


def only_source(patch: pytest.MonkeyPatch, source: str) -> None:
    """Hide PostgreSQL's programs everywhere but in the system's folder, or but in the wheel; `none` hides all."""
    patch.setenv("PATH", "")
    if source != "system":
        patch.setattr(programs, "SYSTEM_FOLDER", Path("/no/such/folder"))
    if source != "wheel":
        patch.setattr(programs, "WHEEL", "no_such_wheel")


def programs_from(source: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        only_source(patch, source)
        try:
            return find_binaries()
        except ProgramsMissingError:
            pytest.skip(f"PostgreSQL is not installed in the {source}")


@pytest.fixture(params=["system", "wheel"])
def binaries(request: pytest.FixtureRequest) -> Path:
    """The programs of either source."""
    return programs_from(request.param)


@pytest.fixture(scope="module")
def first_start(quickest_place: Path) -> Iterator[Path]:
    """A server's folder as its first start leaves it, made once because that start takes longest."""
    with tempfile.TemporaryDirectory(dir=quickest_place) as name:
        server = EmbeddedPostgres(Path(name), durable=False)
        with server as dsn:
            execute(dsn, "CREATE TABLE note (body text PRIMARY KEY)")
            execute(dsn, "INSERT INTO note VALUES ('kept')")
        yield Path(name)


@pytest.fixture
def folder(first_start: Path, server_folder: Path) -> Path:
    """A copy of that folder for one test."""
    subprocess.run(["cp", "-a", f"{first_start}/.", server_folder], check=True)
    return server_folder


def execute(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def notes(dsn: str) -> list[str]:
    return [body for (body,) in execute(dsn, "SELECT body FROM note ORDER BY body")]


def server_pid(folder: Path) -> int:
    return int((folder / "data/postmaster.pid").read_text().split()[0])


def is_alive(pid: int) -> bool:
    """A killed process may stay in the table, as a zombie, where nobody collects orphans."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def holder(folder: Path, binaries: Path, *, python: str = sys.executable, user: str | None = None) -> Iterator[Any]:
    """Run HOLDER in a process of its own, yield it with the DSN it printed, and end it unless the test killed it."""
    arguments = [python, "-c", HOLDER, str(folder), str(binaries)]
    switch: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=IMPORTABLE, cwd="/", **switch
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            # Wait for the end, so that no server writes into a folder that is being removed.
            if process.poll() is None:
                process.communicate("done\n", timeout=20)


def python_for(user: str) -> str:
    """Find a Python that another user can start and that can import this project; skip the test without one."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [python, "-c", "import sys, email_orchestrator.embedded; sys.exit(sys.version_info < (3, 11))"]
        try:
            done = subprocess.run(command, env=IMPORTABLE, user=user, cwd="/", capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip(f"user {user} can start no Python 3.11, or cannot read this project")


# --- starting, stopping, keeping -------------------------------------------------------------------------------------


def test_it_makes_a_utf8_database_and_keeps_it_over_a_restart(server_folder: Path, binaries: Path) -> None:
    with EmbeddedPostgres(server_folder, binaries=binaries) as dsn:
        assert execute(dsn, "SHOW server_encoding") == [("UTF8",)]
        assert execute(dsn, "SELECT lower('ÄÖ')") == [("äö",)]
        assert parse_dsn(dsn)["dbname"] == "email_auto_reply"
        assert parse_dsn(dsn)["user"] == "postgres"
        execute(dsn, "CREATE TABLE note (body text)")
        execute(dsn, "INSERT INTO note VALUES ('first')")
    with EmbeddedPostgres(server_folder, binaries=binaries) as dsn:
        assert notes(dsn) == ["first"]


@needs_root
def test_an_ordinary_user_can_run_it(server_folder: Path, binaries: Path) -> None:
    python = python_for("nobody")
    os.chown(server_folder, pwd.getpwnam("nobody").pw_uid, -1)
    for expected in ([], ["first"]):
        with holder(server_folder, binaries, python=python, user="nobody") as (process, dsn):
            execute(dsn, "CREATE TABLE IF NOT EXISTS note (body text)")
            assert notes(dsn) == expected
            execute(dsn, "INSERT INTO note VALUES ('first')")
            process.communicate("done\n")
        assert process.returncode == 0


@needs_root
def test_root_runs_the_data_of_an_ordinary_user_as_that_user(folder: Path) -> None:
    python = python_for("daemon")
    subprocess.run(["chown", "-R", "daemon:", folder], check=True)
    folder.chmod(0o700)
    with EmbeddedPostgres(folder, durable=False):
        assert Path(f"/proc/{server_pid(folder)}").owner() == "daemon"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with holder(folder, find_binaries(), python=python, user="daemon") as (_process, dsn):
        assert notes(dsn) == ["kept"]


@needs_root
def test_an_ordinary_user_is_told_that_the_data_is_somebody_elses(folder: Path) -> None:
    python = python_for("daemon")
    command = [python, "-c", HOLDER, str(folder), str(find_binaries())]
    done = subprocess.run(command, env=IMPORTABLE, user="daemon", cwd="/", capture_output=True, text=True, check=False)
    assert "belongs to nobody. Start the program as that user" in done.stderr


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_only_a_durable_server_waits_for_the_disk(folder: Path, durable: bool, fsync: str) -> None:
    with EmbeddedPostgres(folder, durable=durable) as dsn:
        assert execute(dsn, "SHOW fsync") == [(fsync,)]


def test_settings_of_the_caller_win(folder: Path) -> None:
    with EmbeddedPostgres(folder, settings={"max_connections": "7"}) as dsn:
        assert execute(dsn, "SHOW max_connections") == [("7",)]


def test_variables_meant_for_other_servers_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c no_such_setting=1")
    with EmbeddedPostgres(folder, durable=False) as dsn:
        monkeypatch.delenv("PGOPTIONS")
        assert notes(dsn) == ["kept"]


def test_a_database_that_was_dropped_is_made_again(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as dsn:
        execute(f"{dsn} dbname=postgres", "DROP DATABASE email_auto_reply")
    with EmbeddedPostgres(folder, durable=False) as dsn:
        assert execute(dsn, "SELECT 1") == [(1,)]


def test_a_first_start_that_was_cut_short_is_done_again(server_folder: Path) -> None:
    unfinished = server_folder / "data.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("15")
    with EmbeddedPostgres(server_folder, durable=False) as dsn:
        assert execute(dsn, "SELECT 1") == [(1,)]
    assert not unfinished.exists()


def test_stopping_twice_or_without_a_start_does_nothing(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.stop()
    server.start()
    assert find_running(folder)
    server.stop()
    server.stop()
    assert not find_running(folder)


def test_it_starts_in_the_main_thread_only(folder: Path) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedPostgres(folder).start()
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


# --- privacy ---------------------------------------------------------------------------------------------------------


def test_it_listens_on_a_private_socket_and_on_no_port(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as dsn:
        socket_folder = Path(parse_dsn(dsn)["host"])
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
        mine = {os.readlink(entry) for entry in Path(f"/proc/{server_pid(folder)}/fd").iterdir()}  # noqa: PTH115
        rows = [row.split() for table in ("tcp", "tcp6") for row in Path("/proc/net", table).read_text().splitlines()]
        assert any(name.startswith("socket:") for name in mine)
        assert mine.isdisjoint(f"socket:[{row[9]}]" for row in rows)


def test_a_statement_that_fails_leaves_no_text_of_an_email_in_the_log(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as dsn:
        execute(dsn, "INSERT INTO note VALUES ('dear diary')")
        with pytest.raises(psycopg2.errors.UniqueViolation):
            execute(dsn, "INSERT INTO note VALUES ('dear diary')")
    log = (folder / "server.log").read_text()
    assert "duplicate key" in log
    assert "dear diary" not in log


# --- the end of the parent, and other crashes ------------------------------------------------------------------------


def test_a_parent_killed_outright_takes_the_server_with_it_in_good_order(folder: Path) -> None:
    with holder(folder, find_binaries()) as (process, dsn):
        execute(dsn, "INSERT INTO note VALUES ('last words')")
        pid = server_pid(folder)
        process.kill()
        wait_until(lambda: not is_alive(pid))
    assert "received fast shutdown request" in (folder / "server.log").read_text()
    with EmbeddedPostgres(folder, durable=False) as dsn:
        assert notes(dsn) == ["kept", "last words"]


def test_a_start_right_after_a_kill_waits_for_the_old_server_to_finish(folder: Path) -> None:
    with holder(folder, find_binaries()) as (process, dsn):
        execute(dsn, "INSERT INTO note VALUES ('last words')")
        old_server = server_pid(folder)
        os.kill(old_server, signal.SIGSTOP)  # it takes its time
        process.kill()
        process.wait()
        threading.Timer(0.5, os.kill, (old_server, signal.SIGCONT)).start()
        with EmbeddedPostgres(folder, durable=False) as later:
            assert notes(later) == ["kept", "last words"]


def test_a_server_killed_outright_recovers_at_the_next_start(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    execute(server.start(), "INSERT INTO note VALUES ('committed')")
    os.kill(server_pid(folder), signal.SIGKILL)
    wait_until(lambda: not find_running(folder))
    server.stop()
    assert (folder / "data/postmaster.pid").exists()
    with server as dsn:
        assert notes(dsn) == ["committed", "kept"]


def test_a_pid_left_by_a_crash_that_is_somebody_elses_by_now_does_not_matter(folder: Path) -> None:
    owner = (folder / "data").stat()
    switch: dict[str, Any] = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, cwd="/", **switch) as somebody_else:
        pid_file = folder / "data/postmaster.pid"
        pid_file.write_text(f"{somebody_else.pid}\n{folder}/data\n1\n5432\n{folder}/socket\n\n1 1\nready   \n")
        assert find_running(folder) is None
        with EmbeddedPostgres(folder, durable=False) as dsn:
            assert notes(dsn) == ["kept"]


def test_a_key_pressed_in_the_terminal_does_not_reach_the_server(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False):
        assert os.getsid(server_pid(folder)) != os.getsid(0)


# --- one server for one folder ---------------------------------------------------------------------------------------


def test_a_second_start_is_refused_and_the_first_server_goes_on(folder: Path) -> None:
    with holder(folder, find_binaries()) as (process, dsn):
        before = time.monotonic()
        with pytest.raises(FolderInUseError, match=f"in use by process {process.pid}"):
            EmbeddedPostgres(folder).start()
        assert time.monotonic() - before < 2
        assert notes(dsn) == ["kept"]


def test_a_second_start_in_the_same_process_is_refused(folder: Path) -> None:
    with EmbeddedPostgres(folder, durable=False) as dsn:
        with pytest.raises(FolderInUseError, match="DATA_DIR"):
            EmbeddedPostgres(folder).start()
        assert notes(dsn) == ["kept"]


def test_another_process_finds_the_server_that_runs(folder: Path) -> None:
    assert find_running(folder) is None
    with holder(folder, find_binaries()) as (_process, dsn):
        assert find_running(folder) == dsn
        assert notes(dsn) == ["kept"]
    assert find_running(folder / "elsewhere") is None


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_long_name_gets_its_socket_elsewhere(server_folder: Path, first_start: Path) -> None:
    long = server_folder / ("long name " * 12)
    subprocess.run(["cp", "-a", first_start, long], check=True)
    with EmbeddedPostgres(long, durable=False) as dsn:
        socket_folder = Path(parse_dsn(dsn)["host"])
        assert notes(dsn) == ["kept"]
        assert not socket_folder.is_relative_to(server_folder)
        assert find_running(long) == dsn
    assert not socket_folder.exists()


def test_a_folder_with_blanks_and_quotes_in_its_name_works(server_folder: Path, first_start: Path) -> None:
    odd = server_folder / "it's a \\ folder"
    subprocess.run(["cp", "-a", first_start, odd], check=True)
    with EmbeddedPostgres(odd, durable=False) as dsn:
        assert notes(dsn) == ["kept"]


def test_missing_parents_are_made_so_that_the_server_reaches_its_folder(server_folder: Path) -> None:
    before = os.umask(0o077)
    try:
        with EmbeddedPostgres(server_folder / "a/b/c", durable=False) as dsn:
            assert execute(dsn, "SELECT 1") == [(1,)]
    finally:
        os.umask(before)


@needs_root
def test_a_folder_behind_a_closed_one_is_refused_and_nothing_is_opened(server_folder: Path) -> None:
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(UnreachableError, match=f"may not enter {closed}"):
        EmbeddedPostgres(closed / "database").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@needs_root
def test_programs_behind_a_closed_folder_are_copied_once_and_nothing_is_opened(server_folder: Path) -> None:
    version_folder = programs_from("wheel").parent
    package = version_folder.parent
    libraries = f"{package.name}.libs"
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(
        version_folder,
        closed / package.name / version_folder.name,
        ignore=shutil.ignore_patterns("include", "*.a"),
    )
    shutil.copytree(package.with_name(libraries), closed / libraries)
    original = closed / package.name / version_folder.name / "bin"
    # As an installation under a strict umask leaves it.
    (original / "postgres").chmod(0o700)
    copy = server_folder / "database/programs" / original.relative_to(closed) / "postgres"

    def start() -> int:
        with EmbeddedPostgres(server_folder / "database", binaries=original, durable=False) as dsn:
            assert execute(dsn, "SELECT 1") == [(1,)]
        return copy.stat().st_ino

    first = start()
    assert start() == first
    with (original / "postgres").open("ab") as program:
        program.write(b"another release")
    assert start() != first
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert (copy.owner(), stat.S_IMODE(copy.stat().st_mode)) == ("root", 0o755)


# --- what to do when it cannot be had --------------------------------------------------------------------------------


def test_a_server_that_cannot_start_says_why_and_leaves_nothing_behind(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"invalid value for parameter.*shared_buffers"):
        EmbeddedPostgres(folder, settings={"shared_buffers": "plenty"}).start()
    with EmbeddedPostgres(folder, durable=False) as dsn:
        assert notes(dsn) == ["kept"]


def test_data_of_a_version_that_is_not_installed_is_refused_with_what_to_do(folder: Path) -> None:
    (folder / "data/PG_VERSION").write_text("13\n")
    with pytest.raises(WrongVersionError, match=r"made by PostgreSQL 13.*apt install postgresql-13.*move .* away"):
        EmbeddedPostgres(folder).start()


def test_data_of_one_version_is_refused_by_the_programs_of_another(server_folder: Path) -> None:
    system, wheel = programs_from("system"), programs_from("wheel")
    if major_version(system) == major_version(wheel):
        pytest.skip("only one version of PostgreSQL is installed")
    with EmbeddedPostgres(server_folder, binaries=wheel, durable=False):
        pass
    with pytest.raises(WrongVersionError, match=f"made by PostgreSQL {major_version(wheel)}"):
        EmbeddedPostgres(server_folder, binaries=system).start()


def test_programs_are_chosen_to_fit_the_data(server_folder: Path) -> None:
    wheel = programs_from("wheel")
    with EmbeddedPostgres(server_folder, binaries=wheel, durable=False) as dsn:
        made_by = execute(dsn, "SHOW server_version")
    with EmbeddedPostgres(server_folder, durable=False) as dsn:
        assert execute(dsn, "SHOW server_version") == made_by


def test_a_folder_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramsMissingError, match="does not hold PostgreSQL's programs"):
        find_binaries(tmp_path)


def test_without_any_programs_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    only_source(monkeypatch, "none")
    with pytest.raises(ProgramsMissingError, match=r"pip install 'email-orchestrator\[demo\]'.*apt install postgresql"):
        find_binaries()


def test_programs_on_the_path_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = find_binaries()
    only_source(monkeypatch, "none")
    monkeypatch.setenv("PATH", str(installed))
    assert find_binaries() == installed.resolve()


def test_the_newest_installed_version_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_source(monkeypatch, "none")
    monkeypatch.setattr(programs, "SYSTEM_FOLDER", tmp_path)
    for version in ("9.6", "14", "15", "100"):
        pretend_programs(tmp_path / version / "bin", version)
    assert find_binaries() == tmp_path / "100/bin"
    assert find_binaries(major=14) == tmp_path / "14/bin"


def test_a_version_too_old_is_refused(tmp_path: Path) -> None:
    pretend_programs(tmp_path, "13.9")
    with pytest.raises(WrongVersionError, match="PostgreSQL 14 or newer is needed, but only 13 is installed"):
        find_binaries(tmp_path)


def pretend_programs(folder: Path, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in programs.NEEDED:
        (folder / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)


# --- the fixtures of conftest.py -------------------------------------------------------------------------------------


def test_each_test_gets_a_database_with_the_schema_to_itself(dsn: str) -> None:
    assert execute(dsn, "SELECT count(*) FROM workflow_state") == [(0,)]
