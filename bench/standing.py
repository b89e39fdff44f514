"""What is measured of a daemon that waits, of a long history, and of commands."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from email_orchestrator.settings import load_settings
from email_orchestrator.store import figures as told
from email_orchestrator.store.connection import Database
from email_orchestrator.wiring import make_desk
from email_orchestrator.workflow import answering, drafting, emailing, intake, replying, texting, upkeep
from email_orchestrator.workflow.desk import Desk

from .house import House, daemon, processor_seconds, resident_megabytes
from .scenes import Figures


def waiting(house: House, count: int) -> Figures:
    """Compare a daemon with nothing to do to one with many drafts that wait for their owner."""
    figures: Figures = {}
    for name, rows in (("none", 0), ("many", count)):
        house.clear()
        _make_workflows(house, rows, "awaiting_user")
        with daemon(house, approves=False, poll_interval=30) as running:
            time.sleep(2)
            before = processor_seconds(running.pid)
            time.sleep(5)
            figures[f"{name}_cpu_percent"] = (processor_seconds(running.pid) - before) / 5 * 100
            figures[f"{name}_threads"] = len(list(Path(f"/proc/{running.pid}/task").iterdir()))
            figures[f"{name}_connections"] = float(
                house.sql(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'email-orchestrator'"
                    " AND datname = current_database()"
                )[0][0]
            )
            figures[f"{name}_resident_mb"] = resident_megabytes(running.pid)[0]
    return figures


def commands(house: House, times: int) -> Figures:
    """Measure commands as a shell sees them."""
    house.clear()
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PATH": "/usr/bin:/bin",
        "DATABASE_URL": house.dsn,
        "EMAIL_ADDRESS": "owner@example.com",
        "EMAIL_PASSWORD": "none",
        "YOUR_PHONE_NUMBER": "+15551234567",
    }

    def seconds(*words: str) -> float:
        took = []
        for _ in range(times):
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "email_orchestrator", *words],
                check=True, env=environment, cwd=house.folder, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            took.append(time.monotonic() - began)
        return statistics.median(took)

    python = []
    for _ in range(times):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        python.append(time.monotonic() - began)
    return {"help_s": seconds("--help"), "list_s": seconds("list"), "python_alone_s": statistics.median(python)}


def history(house: House, count: int, times: int) -> Figures:
    """Measure what the daemon asks again and again, on an empty database and after many finished workflows."""
    settings = load_settings(
        environ={"EMAIL_ADDRESS": "owner@example.com", "EMAIL_PASSWORD": "x", "YOUR_PHONE_NUMBER": "+15551234567"}
    )
    figures: Figures = {}
    for name, rows in (("empty", 0), ("full", count)):
        house.clear()
        if rows:
            _make_workflows(house, rows, "reply_sent")
        database = Database(house.dsn)
        desk = make_desk(settings, database)
        upkeep.count_closed(desk)
        for what, ask in _questions(desk).items():
            took = []
            for _ in range(times):
                began = time.monotonic()
                ask()
                took.append((time.monotonic() - began) * 1000)
            figures[f"{what}_ms_{name}"] = statistics.median(took)
        database.close()
    return figures


def _questions(desk: Desk) -> dict[str, Callable[[], object]]:
    """List what the daemon does when there is nothing to do; no outside system is called for it."""
    nobody: Any = None

    def pulse() -> None:
        with desk.database.transaction() as tx:
            told.pulse(tx, 24, desk.policy.timezone)

    def status() -> None:
        with desk.database.transaction() as tx:
            told.status(tx, 24)

    return {
        "poll": lambda: intake.poll(desk, None),
        "claim_a_draft": lambda: drafting.draft_one(desk, nobody),
        "claim_a_text": lambda: texting.text_one(desk, nobody),
        "claim_a_reply": lambda: replying.reply_one(desk, nobody, None),
        "claim_a_notice": lambda: emailing.email_one(desk, nobody),
        "next_answer": lambda: answering.answer_one(desk),
        "check_timeouts": lambda: upkeep.check_timeouts(desk),
        "stranded_drafts": lambda: upkeep.offer_stranded(desk),
        "count_closed": lambda: upkeep.count_closed(desk),
        "health": pulse,
        "status": status,
    }


def _make_workflows(house: House, count: int, state: str) -> None:
    house.add_emails(count, state)
    status = {"reply_sent": "sent"}.get(state, "orchestrating")
    house.sql("UPDATE processed_emails SET status = %s", status)
    house.sql(
        "INSERT INTO workflow_state (message_id, email_subject, email_from, current_state, draft_revision,"
        " ai_reply_text, sms_sent_at, offered_at, remind_at, timeout_at, reply_sent_at)"
        " SELECT message_id, subject, from_address, %s, 1, 'Hello, that suits me.', now(), now(),"
        " CASE WHEN %s = 'awaiting_user' THEN now() + interval '1 day' END, now() + interval '2 days',"
        " CASE WHEN %s = 'reply_sent' THEN now() - interval '1 day' END FROM processed_emails",
        state, state, state,
    )  # fmt: skip
    house.sql(
        "INSERT INTO workflow_event (workflow_id, from_state, to_state, at, actor)"
        " SELECT w.id, s.before, s.after, now() - interval '2 days', 'poll' FROM workflow_state w,"
        " (VALUES (NULL, 'pending'), ('pending', 'ai_generating'), ('ai_generating', 'ai_generated'),"
        " ('ai_generated', 'sms_sending'), ('sms_sending', 'sms_sent'), ('sms_sent', 'awaiting_user'),"
        " ('awaiting_user', 'user_approved'), ('user_approved', 'reply_sent')) s (before, after)"
    )
    house.sql(
        "INSERT INTO sms_outbox (workflow_id, revision, kind, urgent, parts, parts_sent, status, sent_at)"
        " SELECT id, 1, 'offer', false, '{text}', 1, 'sent', now() FROM workflow_state"
    )
    house.sql(
        "INSERT INTO sms_inbox (message_id, phone_number, message, received_at, processed_at)"
        " SELECT 'm' || id, '+15551234567', '1 #' || id, now(), now() FROM workflow_state"
    )
    house.sql("VACUUM ANALYZE")
