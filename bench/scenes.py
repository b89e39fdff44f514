"""What is measured of a daemon at work, each with a fresh database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from .house import (
    House,
    daemon,
    processor_seconds,
    read_counters,
    resident_megabytes,
    wait_for,
)
from .outside import Moment

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


def alone(house: House, count: int) -> Figures:
    """Drive whole workflows one at a time; own time is what the owner's reading does not account for."""
    house.clear()
    with daemon(house, poll_interval=30) as running:
        time.sleep(1.5)
        idle, _ = resident_megabytes(running.pid)
        ready = running.ready
        story = one_at_a_time(house, count, lambda number: house.add_emails(1, f"alone-{number}"))
    return {
        **own_times([at for at, what in story if what == "listed"], story),
        "resident_mb_idle": idle,
        "ready_s": ready,
    }


def one_at_a_time(house: House, count: int, begin: Callable[[int], None]) -> list[Moment]:
    """Have workflows begin one after the other, each when the one before is over; returns what happened."""
    for number in range(1, count + 1):
        begin(number)
        wait_for(house, number, 20)
        time.sleep(0.05)  # what follows the mail is done by then
    story: list[Moment] = house.world("story")
    return story


def own_times(begun: Sequence[float], story: Sequence[Moment]) -> Figures:
    """Measure workflows that went through one at a time, each from its beginning to its mail without the reading."""
    offered = [at for at, what in story if what.startswith("offer")]
    approved = [at for at, what in story if what.startswith("approve")]
    mailed = [at for at, what in story if what == "mail"]
    first = [(there - here) * 1000 for here, there in zip(begun, offered, strict=True)]
    second = [(there - here) * 1000 for here, there in zip(approved, mailed, strict=True)]
    return {
        **percentiles("own_ms", [a + b for a, b in zip(first, second, strict=True)]),
        **percentiles("poll_to_text_ms", first),
        **percentiles("webhook_to_smtp_ms", second),
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
