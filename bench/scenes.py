"""What is measured of the daemon, each with a fresh database."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from email_orchestrator.settings import load_settings
from email_orchestrator.store import figures as told
from email_orchestrator.store.connection import Database
from email_orchestrator.wiring import make_desk
from email_orchestrator.workflow import answering, drafting, intake, notices, replying, texting, upkeep
from email_orchestrator.workflow.desk import Desk

from .house import (
    House,
    daemon,
    processor_seconds,
    read_counters,
    resident_megabytes,
    wait_for,
)

Figures = dict[str, float]


def batch(house: House, count: int, latency: float, workers: int) -> Figures:
    """Drive many whole workflows at once; the clock runs from the poll that lists them to the last mail."""
    house.clear()
    house.add_emails(count, "batch")
    before = read_counters(house)
    with daemon(house, latency, workers=workers) as running:
        database = house.database_processes()
        database_before, own_before = processor_seconds(*database), processor_seconds(running.pid)
        wait_for(house, count, 60 + count / 5)
        own = processor_seconds(running.pid) - own_before
        story = house.world("story")
        resident, peak = resident_megabytes(running.pid)
        served = processor_seconds(*house.database_processes()) - database_before
    time.sleep(0.3)
    after, came = read_counters(house), house.world("count")
    listed = next(at for at, what in story if what == "listed")
    mails = [at for at, what in story if what == "mail"]
    return {
        "workflows_per_s": count / (mails[-1] - listed),
        "commits_per_workflow": (after.commits - before.commits - came["polls"]) / count,
        "wal_bytes_per_workflow": (after.wal - before.wal) / count,
        "own_cpu_ms_per_workflow": own / count * 1000,
        "database_cpu_ms_per_workflow": served / count * 1000,
        "resident_mb_after": resident,
        "resident_mb_peak": peak,
    }


def several(house: House, count: int, workers: int) -> Figures:
    """Drive many whole workflows through one, two and four daemons on one database, which share the workers."""
    figures: Figures = {}
    for number in (1, 2, 4):
        house.clear()
        with ExitStack() as stack:
            running = [stack.enter_context(daemon(house, workers=workers // number)) for _ in range(number)]
            before, own_before = read_counters(house), processor_seconds(*(one.pid for one in running))
            database_before = processor_seconds(*house.database_processes())
            house.add_emails(count, f"several-{number}")
            wait_for(house, count, 60 + count / 5)
            own = processor_seconds(*(one.pid for one in running)) - own_before
            served = processor_seconds(*house.database_processes()) - database_before
            story = house.world("story")
            after = read_counters(house)
            connections = house.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'email-orch%%'")
        listed = next(at for at, what in story if what == "listed")
        last = max(at for at, what in story if what == "mail")
        figures |= {
            f"{number}_workflows_per_s": count / (last - listed),
            f"{number}_commits_per_workflow": (after.commits - before.commits) / count,
            f"{number}_own_cpu_ms_per_workflow": own / count * 1000,
            f"{number}_database_cpu_ms_per_workflow": served / count * 1000,
            f"{number}_connections": float(connections[0][0]),
        }
    return figures


def alone(house: House, count: int, latency: float = 0.0) -> Figures:
    """Drive whole workflows one at a time; own time is what the AI and the owner's reading do not account for."""
    house.clear()
    before = read_counters(house)
    with daemon(house) as running:
        time.sleep(1.5)
        idle, _ = resident_megabytes(running.pid)
        ready = running.ready
        for number in range(1, count + 1):
            house.add_emails(1, f"alone-{number}")
            wait_for(house, number, 20)
            time.sleep(0.05)
        story = house.world("story")
    time.sleep(0.3)
    after, came = read_counters(house), house.world("count")
    listed = [at for at, what in story if what == "listed"]
    offered = [at for at, what in story if what.startswith("offer")]
    approved = [at for at, what in story if what.startswith("approve")]
    mailed = [at for at, what in story if what == "mail"]
    first = [(there - here) * 1000 - latency * 1000 for here, there in zip(listed, offered, strict=False)]
    second = [(there - here) * 1000 for here, there in zip(approved, mailed, strict=False)]
    own = [a + b for a, b in zip(first, second, strict=False)]
    return {
        **percentiles("own_ms", own),
        **percentiles("poll_to_text_ms", first),
        **percentiles("webhook_to_smtp_ms", second),
        "commits_per_workflow": (after.commits - before.commits - came["polls"] - count) / count,
        "resident_mb_idle": idle,
        "ready_s": ready,
    }


def answers_under_load(house: House, count: int, workers: int) -> Figures:
    """Measure from webhook to SMTP while every worker waits for a draft that takes 30 s."""
    house.clear()
    house.add_emails(count, "waiting")
    with daemon(house, approves=False, workers=workers):
        _wait_for_state(house, "awaiting_user", count)
        house.world("slow_down", 30.0)
        house.add_emails(workers, "slow")
        _wait_for_state(house, "ai_generating", workers)
        acknowledged = []
        for number in range(1, count + 1):
            acknowledged.append(house.world("text", f"1 #{number}") * 1000)
            wait_for(house, number, 20)
            time.sleep(0.02)
        story = house.world("story")
        house.world("slow_down", 0.0)
    texted = [at for at, what in story if what == "texted"]
    mailed = [at for at, what in story if what == "mail"]
    took = [(there - here) * 1000 for here, there in zip(texted, mailed, strict=True)]
    return percentiles("webhook_to_smtp_ms", took) | percentiles("acknowledged_ms", acknowledged)


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


def percentiles(name: str, values: Sequence[float]) -> Figures:
    """Return median, 90th and 99th percentile of values under a name."""
    ordered = sorted(values)
    return {f"{name}_p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 90, 99)}


def _wait_for_state(house: House, state: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found: Any = house.sql("SELECT count(*) FROM workflow_state WHERE current_state = %s", state)[0][0]
        if found >= count:
            return
        time.sleep(0.05)
    raise RuntimeError(f"there are not {count} workflows in {state} after a minute")


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
        "claim_a_notice": lambda: notices.email_one(desk, nobody),
        "next_answer": lambda: answering.answer_one(desk),
        "check_timeouts": lambda: upkeep.check_timeouts(desk),
        "stranded_drafts": lambda: upkeep.offer_stranded(desk),
        "health": pulse,
        "status": status,
    }
