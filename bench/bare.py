"""A bare loop that makes the same commits and calls as the daemon and decides nothing: what that is measured by.

It calls by the standard library, which shows what the machine can do, or by `requests`, as the daemon has to, which
shows what the daemon's own work costs.
"""

from __future__ import annotations

import base64
import http.client
import json
import multiprocessing
import re
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

import psycopg2
import requests

from email_orchestrator.demo.standin_http import Answer, HttpStandIn, Request

from .house import House, read_counters, wait_for
from .limits import MAIL
from .outside import ADDRESS, PASSWORD, PHONE
from .scenes import Figures, one_at_a_time, own_times

# The number of a workflow, and the text to hand over, if that is what is to be done.
Job = tuple[int, str]


def batch(house: House, count: int, latency: float, workers: int, *, by_requests: bool = False) -> Figures:
    """Have the bare loop drive many workflows at once, as `scenes.batch` has the daemon."""
    with _bare(house, count, latency, workers, by_requests) as feed:
        before, began = read_counters(house), time.monotonic()
        feed(range(1, count + 1))
        wait_for(house, count, 60 + count / 5)
        last = max(at for at, what in house.world("story") if what == "mail")
    time.sleep(0.3)
    after = read_counters(house)
    return {
        "workflows_per_s": count / (last - began),
        "commits_per_workflow": (after.commits - before.commits) / count,
        "wal_bytes_per_workflow": (after.wal - before.wal) / count,
    }


def alone(house: House, count: int, *, by_requests: bool = False) -> Figures:
    """Have the bare loop drive one workflow at a time, as `scenes.alone` has the daemon."""
    begun = []
    with _bare(house, count, 0, 1, by_requests) as feed:

        def begin(number: int) -> None:
            begun.append(time.monotonic())
            feed(range(number, number + 1))

        story = one_at_a_time(house, count, begin)
    return own_times(begun, story)


@contextmanager
def _bare(
    house: House, count: int, latency: float, workers: int, by_requests: bool
) -> Iterator[Callable[[range], None]]:
    """Run the bare loop while in the block; yields what has it begin with some of its `count` workflows."""
    house.clear()
    house.sql(
        "CREATE TABLE bench_workflow (id int PRIMARY KEY, state text, draft text, claimed_by text, at timestamptz)"
    )
    house.sql("CREATE TABLE bench_event (id bigserial PRIMARY KEY, workflow_id int, state text, at timestamptz)")
    house.sql("INSERT INTO bench_workflow SELECT n, 'pending' FROM generate_series(1, %s) n", count)
    house.world("face", "", latency)
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(
        target=_run_bare_loop, args=(house.dsn, house.world("places"), workers, by_requests, theirs), daemon=True
    )
    process.start()
    house.world("face", ours.recv(), latency)
    try:
        yield ours.send
    finally:
        process.terminate()
        process.join()
    house.sql("DROP TABLE bench_workflow, bench_event")


class _Bare(HttpStandIn):
    """The bare loop: a commit wherever the daemon has one, a call wherever it makes one.

    As in the daemon, a job that is waiting is leased in the commit that records the last, and the commits about drafts
    and approvals do not wait for the disk.
    """

    def __init__(self, dsn: str, places: dict[str, str], by_requests: bool) -> None:
        super().__init__()
        self._dsn = dsn
        self._places = places
        self._call = self._call_by_requests if by_requests else self._call_by_standard_library
        self._mine = threading.local()
        self.to_draft: SimpleQueue[Job] = SimpleQueue()
        self.to_text: SimpleQueue[Job] = SimpleQueue()
        self.to_answer: SimpleQueue[Job] = SimpleQueue()
        self.to_reply: SimpleQueue[Job] = SimpleQueue()
        self.to_report: SimpleQueue[Job] = SimpleQueue()

    def answer(self, request: Request) -> Answer:
        number = int(re.search(rb"1 #([0-9]+)", request.body)[1])  # type: ignore[index]
        self._commit((number, "answered"))
        self.to_answer.put((number, ""))
        return Answer(body={"status": "kept"})

    def draft(self) -> None:
        def ask(number: int, _: str) -> str:
            asked = {"email_message_id": f"<{number}>", "tone": "professional", "max_length": None}
            return self._call("AI_REPLY_GENERATOR_URL", "POST", "/generate-reply", asked)["full_draft"]

        def go_on(number: int, draft: str) -> None:
            self.to_text.put((number, f'#{number} John: "Question"\nDraft: "{draft}"\n1=Send 2=Edit 3=Ignore'))

        self._in_turn(self.to_draft, ("ai_generating", "ai_generated"), ask, go_on, waits_for_disk=False)

    def text(self) -> None:
        def hand_over(_: int, words: str) -> str:
            self._call("SMS_GATEWAY_URL", "POST", "/sms/send", {"to": PHONE, "message": words})
            return ""

        self._in_turn(self.to_text, ("sms_sending", "awaiting_user"), hand_over)

    def act(self) -> None:
        number, _ = self.to_answer.get()
        self._commit((number, "user_approved"), waits_for_disk=False)
        self.to_reply.put((number, ""))

    def reply(self) -> None:
        def send(number: int, _: str) -> str:
            self._connection().sendmail(ADDRESS, ["john@example.com"], MAIL % number)
            return ""

        def go_on(number: int, _: str) -> None:
            self.to_text.put((number, f"Sent to john@example.com (#{number})"))
            self.to_report.put((number, ""))

        self._in_turn(self.to_reply, ("sending", "reply_sent"), send, go_on)

    def report(self) -> None:
        number, _ = self.to_report.get()
        self._call("AI_REPLY_GENERATOR_URL", "PUT", f"/drafts/{number:08X}/action", {"action": "approve"})

    def _in_turn(
        self,
        jobs: SimpleQueue[Job],
        states: tuple[str, str],
        work: Callable[[int, str], str],
        go_on: Callable[[int, str], None] | None = None,
        waits_for_disk: bool = True,
    ) -> None:
        """Do jobs one after the other until none is waiting; `states` are those of the lease and of the record."""
        lease, record = states
        waiting = [jobs.get()]
        self._commit((waiting[0][0], lease), waits_for_disk=waits_for_disk)
        while waiting:
            number, words = waiting.pop()
            draft = work(number, words)
            with suppress(Empty):
                waiting.append(jobs.get_nowait())
            leased = [(job[0], lease) for job in waiting]
            self._commit((number, record), *leased, draft=draft, waits_for_disk=waits_for_disk)
            if go_on is not None:
                go_on(number, draft)

    def _commit(self, *moves: tuple[int, str], draft: str = "", waits_for_disk: bool = True) -> None:
        """Move workflows in one commit; the first of them gets the draft, if there is one."""
        if not hasattr(self._mine, "database"):
            self._mine.database = psycopg2.connect(self._dsn)
            self._mine.database.autocommit = True
        statements = [] if waits_for_disk else ["SELECT set_config('synchronous_commit', 'off', true)"]
        values: list[object] = []
        for number, state in moves:
            statements.append(
                "WITH moved AS (UPDATE bench_workflow SET state = %s, draft = coalesce(%s, draft), at = now()"
                " WHERE id = %s RETURNING id)"
                " INSERT INTO bench_event (workflow_id, state, at) SELECT id, %s, now() FROM moved"
            )
            values += [state, draft or None, number, state]
            draft = ""
        with self._mine.database.cursor() as cursor:
            # Statements that are sent together are one transaction.
            cursor.execute("; ".join(statements), values)

    def _call_by_requests(self, service: str, method: str, path: str, body: object) -> dict[str, str]:
        if not hasattr(self._mine, "session"):
            self._mine.session = requests.Session()
            self._mine.session.trust_env = False
        session: requests.Session = self._mine.session
        found: dict[str, str] = session.request(method, self._places[service] + path, json=body, timeout=60).json()
        return found

    def _call_by_standard_library(self, service: str, method: str, path: str, body: object) -> dict[str, str]:
        if not hasattr(self._mine, "services"):
            self._mine.services = {}
        if service not in self._mine.services:
            self._mine.services[service] = http.client.HTTPConnection(urlsplit(self._places[service]).netloc)
        connection = self._mine.services[service]
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        found: dict[str, str] = json.loads(connection.getresponse().read())
        return found

    def _connection(self) -> smtplib.SMTP:
        if not hasattr(self._mine, "mail"):
            self._mine.mail = smtplib.SMTP(self._places["GMAIL_SMTP_SERVER"], int(self._places["GMAIL_SMTP_PORT"]))
            self._mine.mail.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._mine.mail.ehlo()
            self._mine.mail.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{ADDRESS}\0{PASSWORD}".encode()).decode())
        mail: smtplib.SMTP = self._mine.mail
        return mail


def _run_bare_loop(dsn: str, places: dict[str, str], workers: int, by_requests: bool, pipe: Connection) -> None:
    bare = _Bare(dsn, places, by_requests)
    bare.start()
    steps = [bare.draft] * workers + [bare.text] * 2 + [bare.act, bare.reply, bare.report]

    def repeat(step: Callable[[], None]) -> None:
        while True:
            step()

    for step in steps:
        threading.Thread(target=repeat, args=(step,), daemon=True).start()
    pipe.send(bare.url)
    while True:
        for number in pipe.recv():
            bare.to_draft.put((number, ""))
