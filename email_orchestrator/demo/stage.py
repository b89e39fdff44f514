"""The stage of the demo: the real daemon and database, with stand-ins for everything outside."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from ..embedded import EmbeddedPostgres
from ..embedded.process import end_with_this_process
from ..errors import OrchestratorError
from ..store import schema
from ..store.connection import Database
from .standins import GatewayStandIn, GeneratorStandIn, MailStandIn, MonitorStandIn

OWNER_PHONE = "+15551234567"
OWNER_ADDRESS = "owner@example.com"
START_SECONDS = 30.0
STOP_SECONDS = 15.0


class DemoFailed(OrchestratorError):
    """Something in the demo is not as it should be."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that plays."""

    monitor: MonitorStandIn
    generator: GeneratorStandIn
    gateway: GatewayStandIn
    mail: MailStandIn
    database: Database


@contextmanager
def set_stage(settings: dict[str, str]) -> Iterator[Stage]:
    """Start the stand-ins, a private database and the daemon, `settings` above the demo's own; stop them all after.

    Raises DemoFailed when the daemon does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="email-orchestrator-demo-")))
        folder.chmod(0o711)
        dsn = stack.enter_context(EmbeddedPostgres(folder / "postgres", durable=False))
        monitor = stack.enter_context(MonitorStandIn(dsn))
        monitor.create_table()
        database = Database(dsn)
        schema.apply(database)
        generator = stack.enter_context(GeneratorStandIn(dsn))
        gateway = stack.enter_context(GatewayStandIn(owner=OWNER_PHONE))
        password = secrets.token_urlsafe(16)
        mail = stack.enter_context(MailStandIn(OWNER_ADDRESS, password))
        log = folder / "daemon.log"
        environment = {
            "EMAIL_MONITOR_URL": monitor.url,
            "AI_REPLY_GENERATOR_URL": generator.url,
            "SMS_GATEWAY_URL": gateway.url,
            "GMAIL_SMTP_SERVER": mail.host,
            "GMAIL_SMTP_PORT": str(mail.port),
            "SENT_CHECK": "off",
            "EMAIL_ADDRESS": OWNER_ADDRESS,
            "EMAIL_PASSWORD": password,
            "YOUR_PHONE_NUMBER": OWNER_PHONE,
            "DATABASE_URL": dsn,
            "HOST": "127.0.0.1",
            "PORT": "0",
            "POLL_INTERVAL": "1",
            "LOG_FILE": str(log),
            "SMS_PART_GAP": "0.2",
            **settings,
        }
        port = stack.enter_context(_daemon(folder, environment, log))
        gateway.orchestrator_url = f"http://127.0.0.1:{port}"
        yield Stage(monitor, generator, gateway, mail, database)
        database.close()


@contextmanager
def _daemon(folder: Path, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run the daemon as a process of its own; yields the port it listens on."""
    # Nothing of this shell's own settings may reach the demo.
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "email_orchestrator", "run"],
        cwd=folder,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        # Killed outright, the demo must not leave a daemon behind.
        preexec_fn=end_with_this_process(),
    )
    try:
        yield _wait_until_ready(process, log)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
            address = line.rpartition(" ready on ")[2]
            if address != line:
                port = int(address.rpartition(":")[2])
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
                return port
        time.sleep(0.05)
    tail = log.read_text(encoding="utf-8")[-2000:] if log.exists() else ""
    raise DemoFailed(f"The daemon did not start. Its log ends with:\n{tail}")
