"""What the machine itself can do, measured in the same run: commits, mails, and both in a bare loop."""

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
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from queue import SimpleQueue
from urllib.parse import urlsplit

import psycopg2

from email_orchestrator.demo.standin_http import Answer, HttpStandIn, Request

from .house import House, wait_for
from .outside import ADDRESS, PASSWORD, PHONE
from .scenes import one_at_a_time, own_times

MAIL = (
    f"From: {ADDRESS}\r\nTo: john@example.com\r\nSubject: Re: Question\r\nMessage-ID: <%d@example.com>\r\n\r\n"
    "Hello, yes, that suits me. I will be there.\r\n"
)


def commit_rate(house: House, connections: int, seconds: float) -> float:
    """Count the commits a second of so many connections, each with one small row in it."""
    house.sql("CREATE TABLE IF NOT EXISTS bench_commit (id bigserial PRIMARY KEY, note text)")
    done = [0] * connections
    end = time.monotonic() + seconds

    def commit(place: int) -> None:
        with closing(psycopg2.connect(house.dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while time.monotonic() < end:
                cursor.execute(
                    "INSERT INTO bench_commit (note) VALUES ('a row of about a hundred bytes with its head')"
                )
                done[place] += 1

    threads = [threading.Thread(target=commit, args=(place,)) for place in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.sql("DROP TABLE bench_commit")
    return sum(done) / seconds


def mail_rate(house: House, seconds: float, kept: bool) -> float:
    """Count the mails a second that are accepted one after the other, over one connection or each over a fresh one."""
    places = house.world("places")
    count = 0
    end = time.monotonic() + seconds
    connection: smtplib.SMTP | None = None
    while time.monotonic() < end:
        if connection is None:
            connection = smtplib.SMTP(places["GMAIL_SMTP_SERVER"], int(places["GMAIL_SMTP_PORT"]))
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]
            connection.login(ADDRESS, PASSWORD)
        connection.sendmail(ADDRESS, ["john@example.com"], MAIL % count)
        count += 1
        if not kept:
            connection.quit()
            connection = None
    if connection is not None:
        connection.quit()
    return count / seconds


def bare_loop(house: House, count: int, latency: float, workers: int) -> float:
    """Count the workflows a second of a loop that makes the same commits and calls and decides nothing."""
    with _bare(house, count, latency, workers) as feed:
        began = time.monotonic()
        feed(range(1, count + 1))
        wait_for(house, count, 60 + count / 5)
        last = max(at for at, what in house.world("story") if what == "mail")
    return float(count / (last - began))


def bare_alone(house: House, count: int) -> dict[str, float]:
    """Measure what the bare loop needs for one workflow at a time, as `scenes.alone` measures the daemon."""
    begun = []
    with _bare(house, count, 0, 1) as feed:

        def begin(number: int) -> None:
            begun.append(time.monotonic())
            feed(range(number, number + 1))

        story = one_at_a_time(house, count, begin)
    return own_times(begun, story)


@contextmanager
def _bare(house: House, count: int, latency: float, workers: int) -> Iterator[Callable[[range], None]]:
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
        target=_run_bare_loop, args=(house.dsn, house.world("places"), workers, theirs), daemon=True
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
    """The bare loop: a commit wherever the daemon has one, a call wherever it makes one."""

    def __init__(self, dsn: str, places: dict[str, str]) -> None:
        super().__init__()
        self._dsn = dsn
        self._places = places
        self._mine = threading.local()
        self.to_draft: SimpleQueue[int] = SimpleQueue()
        self.to_text: SimpleQueue[tuple[int, str]] = SimpleQueue()
        self.to_answer: SimpleQueue[int] = SimpleQueue()
        self.to_reply: SimpleQueue[int] = SimpleQueue()
        self.to_report: SimpleQueue[int] = SimpleQueue()

    def answer(self, request: Request) -> Answer:
        number = int(re.search(rb"1 #([0-9]+)", request.body)[1])  # type: ignore[index]
        self._commit(number, "answered")
        self.to_answer.put(number)
        return Answer(body={"status": "kept"})

    def draft(self) -> None:
        number = self.to_draft.get()
        self._commit(number, "ai_generating")
        asked = {"email_message_id": f"<{number}>", "tone": "professional", "max_length": None}
        draft = self._call("AI_REPLY_GENERATOR_URL", "POST", "/generate-reply", asked)["full_draft"]
        self._commit(number, "ai_generated", draft)
        self.to_text.put((number, f'#{number} John: "Question"\nDraft: "{draft}"\n1=Send 2=Edit 3=Ignore'))

    def text(self) -> None:
        number, words = self.to_text.get()
        self._commit(number, "sms_sending")
        self._call("SMS_GATEWAY_URL", "POST", "/sms/send", {"to": PHONE, "message": words})
        self._commit(number, "awaiting_user")

    def act(self) -> None:
        number = self.to_answer.get()
        self._commit(number, "user_approved")
        self.to_reply.put(number)

    def reply(self) -> None:
        number = self.to_reply.get()
        self._commit(number, "sending")
        self._connection().sendmail(ADDRESS, ["john@example.com"], MAIL % number)
        self._commit(number, "reply_sent")
        self.to_text.put((number, f"Sent to john@example.com (#{number})"))
        self.to_report.put(number)

    def report(self) -> None:
        number = self.to_report.get()
        self._call("AI_REPLY_GENERATOR_URL", "PUT", f"/drafts/{number:08X}/action", {"action": "approve"})

    def _commit(self, number: int, state: str, draft: str | None = None) -> None:
        if not hasattr(self._mine, "database"):
            self._mine.database = psycopg2.connect(self._dsn)
            self._mine.database.autocommit = True
        with self._mine.database.cursor() as cursor:
            cursor.execute(
                "WITH moved AS (UPDATE bench_workflow SET state = %s, draft = coalesce(%s, draft), at = now()"
                " WHERE id = %s RETURNING id)"
                " INSERT INTO bench_event (workflow_id, state, at) SELECT id, %s, now() FROM moved",
                (state, draft, number, state),
            )

    def _call(self, service: str, method: str, path: str, body: object) -> dict[str, str]:
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


def _run_bare_loop(dsn: str, places: dict[str, str], workers: int, pipe: Connection) -> None:
    bare = _Bare(dsn, places)
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
            bare.to_draft.put(number)
