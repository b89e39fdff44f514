"""The log: one line or one object a time, safe to show, without secrets, and where logrotate wants it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from email_orchestrator.log import set_up_logging

SECRETS = ("s3cret-passw0rd", "s3cret", "root")
log = logging.getLogger("email_orchestrator.test")


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Call it for what has been written to standard error since the last call."""
    return lambda: capsys.readouterr().err


def objects(written: str) -> list[dict[str, Any]]:
    """Read what was logged as JSON: one object a line, whatever stands in it."""
    return [json.loads(line) for line in written.removesuffix("\n").split("\n")]


def fail(message: str) -> None:
    try:
        raise RuntimeError(message)
    except RuntimeError:
        log.exception("it failed")


# Form -------------------------------------------------------------------------------------------------------------


def test_a_line_tells_time_level_and_message(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "text", None, SECRETS)
    log.warning("workflow %d: %s", 7, "late")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING workflow 7: late\n", stderr())


def test_an_object_has_the_names_of_the_elastic_common_schema(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "json", None, SECRETS)
    log.info("workflow 7: sent", extra={"fields": {"action": "transition", "workflow": 7, "state": "reply_sent"}})
    [entry] = objects(stderr())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry.pop("@timestamp"))
    assert entry == {
        "log.level": "info",
        "message": "workflow 7: sent",
        "ecs.version": "8.11.0",
        "service.name": "email-auto-reply",
        "log.logger": "email_orchestrator.test",
        "process.thread.name": "MainThread",
        "event.action": "transition",
        "orchestrator.workflow": 7,
        "orchestrator.state": "reply_sent",
    }


def test_an_object_tells_the_error_with_its_type_and_trace(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "json", None, SECRETS)
    fail("first line\nsecond line")
    [entry] = objects(stderr())
    assert (entry["log.level"], entry["message"], entry["error.type"]) == ("error", "it failed", "RuntimeError")
    assert entry["error.stack_trace"].startswith("Traceback")
    assert entry["error.stack_trace"].endswith("RuntimeError: first line\nsecond line")
    assert entry["error.message"] == "first line\nsecond line"


HOSTILE = "a\nb\r\n\x1b[31mred\x07\x00\x7f\x9b1m\u2028c\u202ed\u2069\ud800\U0001f600é"


def test_whatever_a_message_holds_it_stays_one_line_of_plain_characters(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "text", None, SECRETS)
    log.info("%s", HOSTILE)
    line = stderr()
    assert line.count("\n") == 1
    assert line.endswith(r"a\nb\r\n\x1b[31mred\x07\x00\x7f\x9b1m\u2028c\u202ed\u2069\ud800" + "\U0001f600é\n")


def test_whatever_a_message_holds_it_stays_one_object_on_one_line(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "json", None, SECRETS)
    log.info("%s", HOSTILE, extra={"fields": {"outcome": HOSTILE}})
    fail(HOSTILE)
    first, second = objects(stderr())
    for shown in (
        first["message"],
        first["orchestrator.outcome"],
        second["error.message"],
        second["error.stack_trace"],
    ):
        assert all(character.isprintable() or character == "\n" for character in shown)
        assert shown.endswith("\U0001f600é")


def test_no_line_of_an_error_can_pass_for_a_line_of_the_log(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "text", None, SECRETS)
    fail("oh\n2026-01-01T00:00:00Z INFO    workflow 7: awaiting_user -> reply_sent")
    first, *trace = stderr().splitlines()
    assert first.endswith("it failed")
    assert trace
    assert all(line.startswith("    ") for line in trace)


def test_values_that_json_does_not_know_are_written_as_text(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "json", None, SECRETS)
    values = {"file": Path("/x"), "none": None, "ok": True, "seconds": 0.5, "who": "a@b.org", "odd": float("nan")}
    log.info("x", extra={"fields": values})
    [entry] = objects(stderr())
    told = {name: entry[f"orchestrator.{name}"] for name in values}
    assert told == {"file": "/x", "none": None, "ok": True, "seconds": 0.5, "who": "a***@b.org", "odd": "nan"}


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_message_whose_values_do_not_fit_is_logged_without_them(style: str, stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", style, None, SECRETS)
    logging.getLogger("urllib3").warning("%d of %s", "john.doe@example.com")
    written = stderr()
    assert "%d of %s (its values do not fit)" in written
    assert "john" not in written
    assert written.count("\n") == 1


# Secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["text", "json"])
def test_secrets_numbers_and_addresses_are_masked_in_messages_values_and_errors(
    style: str, stderr: Callable[[], str]
) -> None:
    set_up_logging("INFO", style, None, SECRETS)
    told = "password s3cret-passw0rd of john.doe@example.com at +61 491 570 156 or +15551234567, user root"
    log.info("%s", told, extra={"fields": {"outcome": told}})
    fail(told)
    written = stderr()
    for hidden in ("s3cret", "passw0rd", "john.doe", "491", "5551234", "user root"):
        assert hidden not in written
    assert written.count("password *** of j***@example.com at +…56 or +…67, user ***") == (2 if style == "text" else 4)


# Levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "count"), [("DEBUG", 4), ("INFO", 3), ("WARNING", 2), ("ERROR", 1)])
def test_the_level_decides_how_much_is_logged(level: str, count: int, stderr: Callable[[], str]) -> None:
    set_up_logging(level, "text", None, ())
    for write in (log.debug, log.info, log.warning, log.error):
        write("x")
    assert stderr().count("\n") == count


@pytest.mark.parametrize("level", ["DEBUG", "ERROR"])
def test_libraries_say_no_more_than_warnings_at_any_level(level: str, stderr: Callable[[], str]) -> None:
    set_up_logging(level, "text", None, ())
    for library in ("urllib3.connectionpool", "mailparser_reply", "email_orchestrator_of_others"):
        logging.getLogger(library).info("chatter")
        logging.getLogger(library).warning("trouble")
    written = stderr()
    assert "chatter" not in written
    assert written.count("trouble") == (3 if level == "DEBUG" else 0)


def test_setting_it_up_again_replaces_what_was_there(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "json", None, ())
    set_up_logging("INFO", "text", None, ())
    log.info("once")
    assert stderr().count("once") == 1


# The file ---------------------------------------------------------------------------------------------------------


def test_a_file_that_logrotate_moves_away_is_begun_anew(tmp_path: Path, stderr: Callable[[], str]) -> None:
    file = tmp_path / "eo.log"
    set_up_logging("INFO", "text", file, ())
    log.info("before")
    file.rename(tmp_path / "eo.log.1")
    log.info("after")
    assert "before" in (tmp_path / "eo.log.1").read_text()
    assert "after" in file.read_text()
    assert "before" not in file.read_text()
    assert stderr() == ""


def test_a_file_that_logrotate_copies_and_truncates_goes_on_at_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "eo.log"
    set_up_logging("INFO", "text", file, ())
    log.info("before")
    os.truncate(file, 0)
    log.info("after")
    assert re.fullmatch(r"\S+ INFO    after\n", file.read_text())


def test_a_log_is_added_to_the_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "eo.log"
    file.write_text("yesterday\n")
    set_up_logging("INFO", "text", file, ())
    log.info("today é")
    assert re.fullmatch(r"yesterday\n\S+ INFO    today é\n", file.read_text(encoding="utf-8"))


def test_while_the_file_cannot_be_written_the_log_goes_to_standard_error(
    tmp_path: Path, stderr: Callable[[], str]
) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    set_up_logging("INFO", "text", folder / "eo.log", SECRETS)
    folder.rename(tmp_path / "moved")
    log.info("lost? s3cret")
    assert stderr().endswith("INFO    lost? ***\n")
    folder.mkdir()
    log.info("found")
    assert "found" in (folder / "eo.log").read_text()
    assert "found" not in stderr()


def test_a_full_disk_stops_nobody_and_the_log_goes_to_standard_error(stderr: Callable[[], str]) -> None:
    set_up_logging("INFO", "text", Path("/dev/full"), SECRETS)
    log.info("no room for s3cret")
    assert stderr().endswith("INFO    no room for ***\n")
    [handler] = logging.getLogger().handlers
    assert isinstance(handler, logging.FileHandler)
    with suppress(OSError):
        handler.close()


def test_nowhere_to_write_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Path("/dev/full").open("w", buffering=1, encoding="utf-8")  # noqa: SIM115 - it cannot be closed in peace
    monkeypatch.setattr(sys, "stderr", nowhere)
    set_up_logging("INFO", "text", Path("/dev/full"), SECRETS)
    log.info("no room here, and none there")
    [handler] = logging.getLogger().handlers
    for full in (handler, nowhere):
        with suppress(OSError):
            full.close()


ON_A_FULL_DISK = """
import json, logging, resource, sys
from pathlib import Path
from email_orchestrator.log import set_up_logging

file = Path(sys.argv[1])
set_up_logging("INFO", "json", file, ())
log = logging.getLogger("email_orchestrator")
log.info("before")
before = file.stat().st_size
# As on a full disk, of a line only the beginning fits in.
resource.setrlimit(resource.RLIMIT_FSIZE, (before + 40, resource.RLIM_INFINITY))
for number in range(200):
    log.info("no room %d", number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.info("after")
"""


def test_when_the_disk_has_room_again_the_file_goes_on_with_a_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "eo.log"
    done = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(file)], capture_output=True, text=True, check=True)
    assert [entry["message"] for entry in objects(done.stderr)] == [f"no room {number}" for number in range(200)]
    first, torn, last = file.read_text().splitlines()
    assert json.loads(first)["message"] == "before"
    assert len(torn) == 40
    assert json.loads(last)["message"] == "after"


def test_a_file_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        set_up_logging("INFO", "text", tmp_path / "absent" / "eo.log", ())


# What nobody catches ----------------------------------------------------------------------------------------------

UNCAUGHT = """
import gc, threading, warnings
from pathlib import Path
from email_orchestrator.log import log_what_nobody_catches, set_up_logging

set_up_logging("INFO", "json", None, ("s3cret",))
log_what_nobody_catches()

def fail():
    raise RuntimeError("s3cret of john.doe@example.com")

class Last:
    def __del__(self):
        fail()

threading.Thread(target=fail, name="texting").start()
warnings.warn("s3cret is deprecated", stacklevel=1)
Last()
gc.collect()
"""


def test_what_nobody_catches_is_logged_as_everything_is() -> None:
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=True)
    entries = {entry["message"].splitlines()[0]: entry for entry in objects(done.stderr)}
    assert len(entries) == 3
    ended = entries["the thread texting ended by an error"]
    assert (ended["log.level"], ended["event.action"]) == ("critical", "uncaught")
    for entry in (ended, entries["an error that could not be raised"]):
        assert entry["error.message"] == "*** of j***@example.com"
        assert "in fail" in entry["error.stack_trace"]
    [warning] = [entry for entry in entries.values() if entry["log.logger"] == "py.warnings"]
    assert "*** is deprecated" in warning["message"]
