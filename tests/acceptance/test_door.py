"""The door of the real daemon: what it says of itself, and what it stands, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from house import House, end, wait_until

from email_orchestrator.embedded import EmbeddedPostgres

MakeHouse = Callable[..., House]

WITHOUT_ITS_WEB_SERVER = """
import threading
from email_orchestrator import daemon
from email_orchestrator.cli import main

class Dying(daemon.WebServer):
    def start(self):
        super().start()
        threading.Timer(1.0, lambda: self._server.close()).start()
        threading.Timer(1.0, lambda: self._map.clear()).start()

daemon.WebServer = Dying
main(["run"])
"""


def test_without_its_web_server_the_service_ends_to_be_started_anew(house: House) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ITS_WEB_SERVER],
        cwd=house.log.parent,
        env=house.environment | {"LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr == "Error: The thread web has stopped: start the service anew.\n"
    last = json.loads(house.log.read_text().splitlines()[-1])
    assert (last["log.level"], last["event.action"]) == ("critical", "ended")
    assert house.sql("SELECT count(*) FROM workflow_state WHERE claimed_by IS NOT NULL") == [(0,)]


# A database that is there and says nothing ---------------------------------------------------------------------------


@contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    """Stop every process of a database server where it stands: its kernel goes on taking what it is sent."""
    assert server._process is not None
    parent = server._process.pid
    family = [parent, *(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == parent)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


def _parent(stat: Path) -> int | None:
    with suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return None


def timed(call: Callable[[], int | None]) -> tuple[int | None, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def test_while_the_database_hangs_everybody_is_told_so_in_time_and_afterwards_all_goes_on(
    server: EmbeddedPostgres, house_of: House
) -> None:
    house = house_of
    process = house.start_ready(plain=True)
    for number in range(20):
        # Every thread of the server has been to the database, and keeps a connection.
        assert house.gateway.text_from_owner(f"list {number}") == 200
    with ThreadPoolExecutor(24) as pool:
        with frozen(server):
            pages = [pool.submit(house.get, "/workflow/status") for _ in range(8)]
            texts = [pool.submit(timed, partial(house.gateway.text_from_owner, f"hm {n}")) for n in range(12)]
            looks = [timed(lambda: house.health()[0]) for _ in range(4)]
            answers = [text.result() for text in texts]
        assert {page.result().status_code for page in pages} <= {200, 503}
    assert {status for status, _ in (*answers, *looks)} == {503}
    # The gateway waits ten seconds. Few wait for the database at all, and a health check never.
    assert max(took for _, took in answers) < 5
    assert sorted(took for _, took in answers)[-3] < 2
    assert max(took for _, took in looks) < 1
    assert wait_until(lambda: house.health()[0] == 200, 5)
    house.gateway.text_from_owner("list")
    assert wait_until(lambda: house.log_lines("inbox"), 10)
    assert house.log_lines("Traceback") == []
    assert end(process) == 0
