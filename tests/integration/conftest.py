"""A belt to test on: a real database and the real steps, with the four outside systems played from the test's hand."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest

from email_orchestrator import clock
from email_orchestrator.core.models import GeneratedDraft, InboundText, SentText, TextStyle, Workflow
from email_orchestrator.core.policy import Policy
from email_orchestrator.core.states import State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.store import workflows
from email_orchestrator.store.connection import Database
from email_orchestrator.workflow import answering, drafting, emailing, intake, receiving, replying, texting, upkeep
from email_orchestrator.workflow.desk import Desk, Room

OWNER = "+15551234567"
OWN_ADDRESS = "owner@example.com"
SENDER = "john@example.com"


@dataclass
class Generator:
    """Writes what it is told to, or fails with the errors put in `failures`."""

    failures: deque[Exception] = field(default_factory=deque)
    texts: deque[str] = field(default_factory=deque)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    actions: list[tuple[str, str]] = field(default_factory=list)

    def generate(
        self, message_id: str, tone: str, max_length: int | None, context_instructions: str | None
    ) -> GeneratedDraft:
        self.asked.append((message_id, context_instructions))
        if self.failures:
            raise self.failures.popleft()
        text = self.texts.popleft() if self.texts else f"Draft number {len(self.asked)}."
        return GeneratedDraft(f"D{len(self.asked)}", text, "test", 1)

    def record_action(self, draft_id: str, action: str) -> None:
        self.actions.append((draft_id, action))


@dataclass
class Gateway:
    """Takes every text, or fails with the errors put in `failures`; `history` is what it admits to have sent."""

    failures: deque[BaseException] = field(default_factory=deque)
    texts: list[str] = field(default_factory=list)
    history: list[SentText] = field(default_factory=list)
    inbound: list[InboundText] = field(default_factory=list)

    def send(self, to: str, text: str) -> str:
        assert to == OWNER
        if self.failures:
            raise self.failures.popleft()
        self.texts.append(text)
        return f"G{len(self.texts)}"

    def incoming(self, since: datetime) -> list[InboundText]:
        return [text for text in self.inbound if text.received_at >= since]

    def outgoing(self, phone_number: str, since: datetime) -> list[SentText]:
        return [text for text in self.history if text.at >= since]


@dataclass
class Mailer:
    """Accepts every mail, or fails with the errors put in `failures`."""

    failures: deque[BaseException] = field(default_factory=deque)
    mails: list[tuple[str, str, bytes]] = field(default_factory=list)

    def send(self, sender: str, recipient: str, message: bytes, until: float) -> str:
        if clock.now() >= until:
            raise ServiceError("SMTP server", "no time was left; nothing was sent", Kind.TRANSIENT)
        if self.failures:
            raise self.failures.popleft()
        self.mails.append((sender, recipient, message))
        return "250 OK"


@dataclass
class SentMail:
    """Knows nothing, or `everything`; `error` is raised instead when it is set."""

    everything: bool = False
    asked: list[str] = field(default_factory=list)
    error: ServiceError | None = None

    def was_sent(self, message_id: str) -> bool:
        self.asked.append(message_id)
        if self.error:
            raise self.error
        return self.everything


class Belt:
    """The whole belt in one thread: emails go in, texts and mails come out."""

    def __init__(self, dsn: str, **policy: Any) -> None:
        self.dsn = dsn
        self.database = Database(dsn)
        self.generator = Generator()
        self.gateway = Gateway()
        self.mailer = Mailer()
        self.sent_mail: SentMail | None = SentMail()
        self.reports: list[tuple[int, int, str]] = []
        self.woken: list[Room] = []
        self._numbers = itertools.count(1)
        tokens = itertools.count(1)
        self.desk = Desk(
            database=self.database,
            policy=Policy(email_address=OWN_ADDRESS, phone_number=OWNER, part_gap=0, **policy),
            name="test",
            token=lambda: f"t{next(tokens)}",
            chance=lambda: 0.5,
            wake=self.woken.append,
            wait=lambda _: False,
            report=lambda *report: self.reports.append(report),
            unread=lambda: False,
        )

    def with_policy(self, **changes: Any) -> None:
        self.desk = replace(self.desk, policy=replace(self.desk.policy, **changes))

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement from outside, as another program on the database would."""
        connection = psycopg2.connect(self.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def email(
        self, sender: str = SENDER, subject: str | None = "Meeting", body: str | None = "Hello", **row: Any
    ) -> str:
        """Have an email come in; returns its Message-ID."""
        message_id = row.pop("message_id", f"<m{next(self._numbers)}@example.com>")
        columns = {"message_id": message_id, "from_address": sender, "subject": subject, "body_text": body} | row
        columns.setdefault("thread_id", message_id)
        columns.setdefault("received_at", datetime.now(UTC))
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        self.sql(f"INSERT INTO processed_emails ({names}) VALUES ({marks})", *columns.values())
        return str(message_id)

    def poll(self) -> int:
        return intake.poll(self.desk, None)

    def work(self) -> None:
        """Do whatever is due, until nothing is."""
        steps: tuple[Callable[[], bool], ...] = (
            lambda: answering.answer_one(self.desk),
            lambda: drafting.draft_one(self.desk, self.generator),
            lambda: texting.text_one(self.desk, self.gateway),
            lambda: replying.reply_one(self.desk, self.mailer, self.sent_mail),
            lambda: emailing.email_one(self.desk, self.mailer),
        )
        while any(step() for step in steps):
            pass

    def offered(self, **email: Any) -> Workflow:
        """Bring an email to where its draft waits for the owner; returns the workflow."""
        message_id = self.email(**email)
        self.poll()
        self.work()
        workflow = self.workflow(message_id)
        assert workflow.state is State.AWAITING_USER, workflow
        return workflow

    def first_part_out(self) -> None:
        """Bring an email to where the first part of its draft, and no more of it, was taken by the gateway."""
        self.with_policy(style=TextStyle("multipart"))
        self.email()
        self.poll()
        self.draft()
        assert texting.text_one(self.desk, self.gateway)

    def text(self, words: str, at: datetime | None = None, number: str = OWNER) -> receiving.Receipt:
        """Have the owner text something, a moment after everything so far; nothing is done about it yet."""
        moment = at or datetime.now(UTC) + timedelta(seconds=1)
        return receiving.receive(self.desk, InboundText(f"i{next(self._numbers)}", number, words, moment))

    def draft(self) -> None:
        """Have every draft written that is due, and nothing more."""
        while drafting.draft_one(self.desk, self.generator):
            pass

    def answer_with(self, words: str) -> None:
        """Have the owner text something and act on it, and do nothing more."""
        self.text(words)
        assert answering.answer_one(self.desk)

    def answer(self, words: str, at: datetime | None = None) -> list[str]:
        """Have the owner text something and act on it; returns what was texted back."""
        before = len(self.gateway.texts)
        self.text(words, at)
        self.work()
        return self.gateway.texts[before:]

    def workflow(self, name: str | int) -> Workflow:
        with self.database.transaction() as tx:
            found = workflows.find(tx, str(name))
        assert found is not None
        return found

    def state(self, name: str | int) -> State:
        return self.workflow(name).state

    def email_status(self, message_id: str) -> str:
        return str(self.sql("SELECT status FROM processed_emails WHERE message_id = %s", message_id)[0][0])

    def events(self, name: str | int) -> list[str]:
        workflow = self.workflow(name)
        with self.database.transaction() as tx:
            return [event.to_state for event in workflows.events(tx, workflow.id)]

    def hurry(self) -> None:
        """Let the time of every backoff pass."""
        self.sql("UPDATE workflow_state SET next_attempt_at = now() WHERE next_attempt_at > now()")
        self.sql("UPDATE sms_outbox SET next_attempt_at = now() WHERE next_attempt_at > now()")

    def keep_trying(self, times: int) -> None:
        """Do whatever is due so many times, with the time of every backoff in between."""
        for _ in range(times):
            self.work()
            self.hurry()

    def lapse(self) -> None:
        """Let the time of every lease pass, as after a crash."""
        self.sql("UPDATE workflow_state SET claimed_until = now() - interval '1 s' WHERE claimed_until IS NOT NULL")
        self.sql("UPDATE sms_outbox SET claimed_until = now() - interval '1 s' WHERE claimed_until IS NOT NULL")

    def check_timeouts(self) -> None:
        upkeep.check_timeouts(self.desk)
        self.work()


@pytest.fixture
def belt(dsn: str) -> Iterator[Belt]:
    made = Belt(dsn)
    yield made
    made.database.close()
