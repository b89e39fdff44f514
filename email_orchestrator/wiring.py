"""Wiring: settings become ready-made parts; nothing else builds them."""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from .clients.watching import Observer, nobody
from .core.models import TextStyle
from .core.policy import Policy
from .settings import Settings
from .store import schema
from .store.connection import Database
from .workflow.desk import Desk, Room
from .workflow.feedback import Report

# The clients are loaded when they are made: a command that only reads the database starts in half the time.
if TYPE_CHECKING:
    from .clients.ai_reply_generator import AiReplyGenerator
    from .clients.email_monitor import EmailMonitor
    from .clients.sent_mail import SentMail
    from .clients.sms_gateway import SmsGateway
    from .clients.smtp import SmtpMailer

log = logging.getLogger(__name__)

# Every call ends well within the lease of the row it is made for, so that no second worker takes the row over
# meanwhile.
AI_TIMEOUT = 90.0
GATEWAY_TIMEOUT = 40.0
MONITOR_TIMEOUT = 5.0
SMTP_TIMEOUT = 15.0
SMTP_ANSWER_TIMEOUT = 60.0
SHARE_FOR_A_CALL = 0.7


@dataclass(frozen=True, slots=True)
class Clients:
    """The outside systems, each as far as the settings want it."""

    monitor: EmailMonitor | None
    generator: AiReplyGenerator
    gateway: SmsGateway
    mailer: SmtpMailer
    sent_mail: SentMail | None


def make_policy(settings: Settings) -> Policy:
    """Pick what the steps decide by."""
    return Policy(
        email_address=settings.email_address,
        phone_number=settings.your_phone_number,
        from_name=settings.email_from_name,
        signature=settings.email_signature,
        quote_original=settings.quote_original,
        tone=settings.ai_tone,
        max_length=settings.ai_max_length,
        poll_lookback_hours=settings.poll_lookback_hours,
        max_emails_per_poll=settings.max_emails_per_poll,
        max_awaiting=settings.max_awaiting,
        max_replies_per_sender=settings.max_replies_per_sender,
        skip_senders=settings.skip_senders,
        allow_senders=settings.allow_senders,
        max_retry_attempts=settings.max_retry_attempts,
        max_edit_iterations=settings.max_edit_iterations,
        response_timeout=settings.user_response_timeout,
        final_timeout=settings.user_final_timeout,
        send_delay=settings.send_delay,
        lease_seconds=settings.lease_seconds,
        part_gap=settings.sms_part_gap,
        confirm=settings.sms_confirm,
        style=TextStyle(settings.sms_format, settings.sms_charset, settings.sms_max_parts),
        quiet_hours=settings.quiet_hours,
        timezone=settings.timezone,
    )


def make_clients(settings: Settings, observe: Observer = nobody) -> Clients:
    """Make a client for each outside system, each telling `observe` of its calls; none of them connects yet."""
    from .clients.ai_reply_generator import AiReplyGenerator
    from .clients.sms_gateway import SmsGateway
    from .clients.smtp import SmtpMailer

    bound = settings.lease_seconds * SHARE_FOR_A_CALL
    return Clients(
        monitor=_make_monitor(settings, observe),
        generator=AiReplyGenerator(settings.ai_reply_generator_url, min(AI_TIMEOUT, bound), observe),
        gateway=SmsGateway(settings.sms_gateway_url, min(GATEWAY_TIMEOUT, bound), observe),
        mailer=SmtpMailer(
            settings.gmail_smtp_server,
            settings.gmail_smtp_port,
            settings.email_address,
            settings.email_password,
            command_timeout=min(SMTP_TIMEOUT, bound / 4),
            answer_timeout=min(SMTP_ANSWER_TIMEOUT, bound / 2),
            observe=observe,
        ),
        sent_mail=_make_sent_mail(settings, observe),
    )


def make_database(dsn: str, *, writes: bool = False) -> Database:
    """Make the database behind a libpq connection string, which connects when it is first used.

    For who lives by writing (`writes`), one that can only be read counts as away.
    """
    return Database(dsn, writes=writes)


@contextmanager
def reach_postgres(settings: Settings, *, prepare: bool = True) -> Iterator[str]:
    """Yield the connection string of the server of the settings, or else of the embedded one of `DATA_DIR`.

    The embedded server is shared with a process that runs it already, and otherwise started; who means to write in it
    has its database prepared.
    """
    if settings.dsn:
        yield settings.dsn
        return
    from .embedded import EmbeddedPostgres, find_running

    running = find_running(settings.data_dir)
    if running:
        yield running
        return
    with EmbeddedPostgres(settings.data_dir) as dsn:
        if prepare:
            schema.apply(Database(dsn))
        yield dsn


def holds_data(data_dir: Path) -> bool:
    """Say whether there is an embedded database in a folder."""
    return (data_dir / "data").exists()


def make_desk(
    settings: Settings,
    database: Database,
    *,
    wake: Callable[[Room], None] = lambda _: None,
    stop: threading.Event | None = None,
    reports: SimpleQueue[Report] | None = None,
    unread: Callable[[], bool] = lambda: False,
) -> Desk:
    """Make what the steps work with; a process that does not linger wakes nobody, and knows of nothing unread."""
    stopping = stop or threading.Event()
    return Desk(
        database=database,
        policy=make_policy(settings),
        name=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}",
        token=lambda: secrets.token_hex(6),
        chance=random.random,
        wake=wake,
        wait=stopping.wait,
        report=(lambda *report: reports.put(report)) if reports is not None else lambda *_: None,
        unread=unread,
    )


def _make_monitor(settings: Settings, observe: Observer) -> EmailMonitor | None:
    if settings.email_source == "database":
        return None
    from .clients.email_monitor import EmailMonitor

    return EmailMonitor(settings.email_monitor_url, MONITOR_TIMEOUT, observe)


def _make_sent_mail(settings: Settings, observe: Observer) -> SentMail | None:
    if settings.sent_check == "off":
        return None
    from .clients.sent_mail import SentMail

    return SentMail(
        settings.gmail_imap_server,
        settings.gmail_imap_port,
        settings.email_address,
        settings.email_password,
        timeout=SMTP_TIMEOUT,
        observe=observe,
    )
