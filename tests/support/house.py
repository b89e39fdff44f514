"""The whole house for a test: the real daemon as a process on a real database, and stand-ins for all outside."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import requests
from imap_standin import SentMailStandIn
from invariants import Mail, all_problems, open_books
from owner import Owner

from email_orchestrator.demo.standins import DraftRequest, GatewayStandIn, GeneratorStandIn, MailStandIn, MonitorStandIn

OWNER_ADDRESS = "owner@example.com"
OWNER_PHONE = "+15551234567"
CRASHING = Path(__file__).with_name("crashing.py")
READY = "ready on "
READY_SECONDS = 20.0
INHERITED = ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH")
NEARLY_OVER = """
UPDATE workflow_state
   SET remind_at = least(remind_at, now()), timeout_at = CASE WHEN remind_at IS NULL THEN now() ELSE timeout_at END
 WHERE current_state = 'awaiting_user' AND email_from SIMILAR TO '(wait|late).%%'
   AND NOT EXISTS (SELECT FROM workflow_event e WHERE e.workflow_id = workflow_state.id AND e.from_state = 'timeout')
"""


class House:
    """A database, the stand-ins around it, and as many daemons as a test starts.

    `settings` go above those of the house, in which nothing takes longer than it must. Daemons are ended with it.
    """

    def __init__(self, dsn: str, folder: Path, **settings: str) -> None:
        self.dsn = dsn
        self.log = folder / "daemon.log"
        self._folder = folder
        self._stack = ExitStack()
        self.monitor = self._stack.enter_context(MonitorStandIn(dsn))
        self.generator = self._stack.enter_context(GeneratorStandIn(dsn))
        self.generator.write = write_draft
        self.gateway = self._stack.enter_context(GatewayStandIn(owner=OWNER_PHONE))
        self.mail = self._stack.enter_context(MailStandIn(OWNER_ADDRESS))
        self.sent_mail = self._stack.enter_context(SentMailStandIn(self.mail))
        self.port = free_port()
        self.gateway.orchestrator_url = self.url
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | {
            "EMAIL_MONITOR_URL": self.monitor.url,
            "AI_REPLY_GENERATOR_URL": self.generator.url,
            "SMS_GATEWAY_URL": self.gateway.url,
            "GMAIL_SMTP_SERVER": self.mail.host,
            "GMAIL_SMTP_PORT": str(self.mail.port),
            "GMAIL_IMAP_SERVER": "127.0.0.1",
            "GMAIL_IMAP_PORT": str(self.sent_mail.port),
            "EMAIL_ADDRESS": OWNER_ADDRESS,
            "EMAIL_PASSWORD": self.mail.password,
            "YOUR_PHONE_NUMBER": OWNER_PHONE,
            "DATABASE_URL": dsn,
            "PORT": str(self.port),
            "LOG_FILE": str(self.log),
            "LEASE_SECONDS": "2",
            "POLL_INTERVAL": "1",
            "SMS_RECONCILE_INTERVAL": "1",
            "TIMEOUT_CHECK_INTERVAL": "1",
            "SMS_PART_GAP": "0",
            "WORKERS": "2",
            "MAX_AWAITING": "1000",
            "MAX_EMAILS_PER_POLL": "1000",
            "MAX_REPLIES_PER_SENDER": "1000",
            **settings,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # Daemons --------------------------------------------------------------------------------------------------------

    def start(self, *tripwire: str, plain: bool = False, **settings: str) -> subprocess.Popen[bytes]:
        """Start a daemon with a tripwire in it (see crashing.py), or a `plain` one; `settings` are this one's own."""
        program = ["-m", "email_orchestrator"] if plain else [str(CRASHING), *tripwire]
        process = subprocess.Popen(
            [sys.executable, *program, "run"],
            cwd=self._folder,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def start_ready(self, plain: bool = False, **settings: str) -> subprocess.Popen[bytes]:
        """Start a daemon and wait until it is ready."""
        said = len(self.log_lines(READY))
        process = self.start(plain=plain, **settings)
        wait_until(lambda: len(self.log_lines(READY)) > said or process.poll() is not None, READY_SECONDS, every=0.02)
        assert process.poll() is None, "the daemon did not start"
        return process

    def command(self, *arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run the command line on the same database and stand-ins."""
        return subprocess.run(
            [sys.executable, "-m", "email_orchestrator", *arguments],
            cwd=self._folder,
            env=self.environment | {"LOG_FILE": ""},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def health(self) -> tuple[int, dict[str, Any]]:
        """Ask the daemon how it is."""
        answer = self.get("/health")
        return answer.status_code, answer.json()

    def get(self, path: str) -> requests.Response:
        """Get a page of the daemon's."""
        return requests.get(f"{self.url}{path}", timeout=10)

    # The world outside ----------------------------------------------------------------------------------------------

    def owner(self) -> Owner:
        """Give the phone to somebody who answers; ended with the house."""
        owner = Owner(self.gateway, self.went_out)
        self._stack.callback(owner.stop)
        return owner

    def email(self, sender: str, **email: Any) -> str:
        """Have an email come in; returns its Message-ID."""
        message_id = str(email.pop("message_id", f"<{sender}>"))
        given = {"subject": "A talk", "body_text": f"Can we talk? Yours, {sender}"} | email
        self.monitor.add_email(message_id, sender, **given)
        return message_id

    def went_out(self, workflow_id: int) -> bool:
        """Look into Sent Mail as a person would: is a reply to this one among the mails accepted?"""
        return any(f"Message-ID: <eo.{workflow_id}.".encode() in mail.content for mail in list(self.mail.mails))

    def replies(self) -> list[Mail]:
        """List the replies that SMTP accepted; notices to the owner are none."""
        mails = [Mail(mail.recipients[0], mail.content) for mail in list(self.mail.mails)]
        return [mail for mail in mails if mail.recipient != OWNER_ADDRESS]

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement from outside, as another program on the database would."""
        connection = psycopg2.connect(self.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def let_time_pass(self) -> None:
        """Let a day pass for the drafts that the owner means to leave unanswered, and for no others."""
        self.sql(NEARLY_OVER)

    def log_lines(self, words: str) -> list[str]:
        """List the log's lines with these words in them."""
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        return [line for line in text.splitlines() if words in line]

    # Judgement ------------------------------------------------------------------------------------------------------

    def problems(self, repeats: int = 0) -> list[str]:
        """List what is wrong now that everything should have come to rest; `repeats` of a text are forgiven."""
        texts = [text.message for text in list(self.gateway.sent)]
        found = all_problems(open_books(self.dsn), self.replies(), texts, repeats)
        return found + [f"the log: {line}" for line in self.log_lines("stumbled") + self.log_lines("Traceback")]


def wait_until(condition: Callable[[], object], seconds: float = 10.0, every: float = 0.05) -> bool:
    """Wait until a condition holds; False when it does not within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def end(process: subprocess.Popen[bytes], seconds: float = 12.0) -> int:
    """Ask a process to end, as systemd does, and return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)


def write_draft(asked: DraftRequest) -> str:
    """Write a draft short enough for one text, but for every third email one that takes several."""
    wish = "In short: yes." if asked.context_instructions else "Yes, let us talk tomorrow at ten."
    many = int(asked.email_message_id.partition("@")[0].rpartition(".")[2]) % 3 == 0
    return f"Dear {asked.email_message_id.strip('<>').partition('@')[0]}, " + wish * (20 if many else 1)


def free_port() -> int:
    """Find a port that nobody listens on, of those that no outgoing connection is given (`ip_local_port_range`)."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wishes(senders: Iterable[str]) -> list[str]:
    """Make the addresses of senders whose emails shall come to these ends."""
    return [f"{wish}.{number}@example.com" for number, wish in enumerate(senders, 1)]
