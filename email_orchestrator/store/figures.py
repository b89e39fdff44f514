"""Figures, read only: what health, status and metrics tell, all of it from the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ..core.lookback import window_start
from ..core.states import Actor, State
from . import emails, memory
from .counting import counts_by_state
from .mail_pause import to_pause
from .transaction import Transaction

SPANS = ("email_to_text", "text_to_answer")
# Upper bounds, in seconds, of the buckets that spans are counted in: from a second to a week.
SPAN_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0)
# The step of the belt that a workflow was at when it failed.
STAGES: dict[str, str] = {
    State.PENDING: "intake",
    State.USER_EDIT_REQUESTED: "drafting",
    State.AI_GENERATING: "drafting",
    State.AI_GENERATED: "texting",
    State.SMS_SENDING: "texting",
    State.SMS_SENT: "texting",
    State.USER_APPROVED: "replying",
}
ANSWERS: dict[str, str] = {
    State.USER_APPROVED: "approve",
    State.USER_EDIT_REQUESTED: "edit",
    State.USER_IGNORED: "ignore",
    State.TIMEOUT: "timeout",
}


@dataclass(frozen=True, slots=True)
class Pulse:
    """What health tells of the database's contents; `completed_today` counts replies since the owner's midnight.

    `replies_paused` is the kind of trouble that the mail account is in, and `replies_paused_until` when it is tried
    again (None: not before somebody acts).
    """

    pending: int
    awaiting_user: int
    failed: int
    completed_today: int
    older_emails_left_alone: int
    last_poll: datetime | None
    seconds_since_poll: float | None
    texting_blocked_since: datetime | None
    replies_paused: str | None
    replies_paused_until: datetime | None


@dataclass(frozen=True, slots=True)
class Span:
    """How long something took: how often it happened, seconds in all, the median, and the counts of the buckets."""

    count: int = 0
    total: float = 0.0
    median: float | None = None
    buckets: tuple[int, ...] = (0,) * (len(SPAN_BOUNDS) + 1)

    @property
    def mean(self) -> float | None:
        """The mean in seconds, or None when nothing happened."""
        return self.total / self.count if self.count else None


def transitions(tx: Transaction, since: datetime, until: datetime | None = None) -> dict[tuple[str, str, str], int]:
    """Count the transitions between two moments by from-state ("" for a workflow's first), to-state and actor."""
    rows = tx.rows("event_counts", since=since, until=until)
    return {(row["from_state"] or "", row["to_state"], row["actor"]): int(row["count"]) for row in rows}


def work_done(tx: Transaction, since: datetime) -> dict[str, int]:
    """Count what was done since a moment, whoever did it; what was tried in vain does not count."""
    moved: Counter[str] = Counter()
    for (from_state, to_state, _), count in transitions(tx, since).items():
        moved[to_state if from_state else ""] += count
    texts = tx.row("text_counts", since=since) or dict.fromkeys(("answered", "sent"), 0)
    return {
        "emails taken": moved[""],
        "texts answered": int(texts["answered"]),
        "drafts written": moved[State.AI_GENERATED],
        "texts sent": int(texts["sent"]),
        "replies sent": moved[State.REPLY_SENT],
        "failed": moved[State.FAILED],
    }


def spans(tx: Transaction, since: datetime, until: datetime | None = None) -> dict[str, Span]:
    """Measure the spans of SPANS for the texts and answers between two moments."""
    rows = tx.rows("spans", since=since, until=until, bounds=list(SPAN_BOUNDS))
    measured = {}
    for span in SPANS:
        counts = {row["bucket"]: int(row["count"]) for row in rows if row["span"] == span}
        buckets = tuple(counts.get(n, 0) for n in range(len(SPAN_BOUNDS) + 1))
        whole = [row for row in rows if row["span"] == span and row["bucket"] is None]
        measured[span] = Span(sum(buckets), whole[0]["total"], whole[0]["median"], buckets) if whole else Span()
    return measured


def failures_by_stage(counts: dict[tuple[str, str, str], int]) -> dict[str, int]:
    """Sum up the transitions to `failed` by the step of the belt that failed."""
    stages = dict.fromkeys(STAGES.values(), 0)
    for (before, after, _), count in counts.items():
        if after == State.FAILED and before in STAGES:
            stages[STAGES[before]] += count
    return stages


def answers(counts: dict[tuple[str, str, str], int]) -> dict[str, int]:
    """Sum up what drafts that waited for the owner came to; one that a newer email replaced got no answer."""
    given = dict.fromkeys(ANSWERS.values(), 0)
    for (before, after, actor), count in counts.items():
        if before == State.AWAITING_USER and actor != Actor.POLL and after in ANSWERS:
            given[ANSWERS[after]] += count
    return given


def status(tx: Transaction, lookback_hours: float, window_hours: float = 24) -> dict[str, Any]:
    """Tell how the service does: counts by state now, rates and times of the last `window_hours` hours.

    `lookback_hours` is how far back the poll looks. Times are seconds, None where there is nothing to tell; rates are
    shares of all answers, from 0 to 1.
    """
    since = tx.now - timedelta(hours=window_hours)
    counts, measured = transitions(tx, since), spans(tx, since)
    given = answers(counts)
    answered = sum(given.values())
    arrived = sum(count for (before, _, _), count in counts.items() if not before)
    last_poll = memory.recall(tx, memory.LAST_POLL)
    return {
        "counts": {str(state): count for state, count in counts_by_state(tx).items()},
        "window_hours": window_hours,
        "emails_per_hour": round(arrived / window_hours, 3),
        **{
            span: {"count": took.count, "mean_seconds": _rounded(took.mean), "median_seconds": _rounded(took.median)}
            for span, took in measured.items()
        },
        "answers": given,
        "rates": {answer: round(n / answered, 3) if answered else None for answer, n in given.items()},
        "failures_by_stage": failures_by_stage(counts),
        "last_poll": _moment(last_poll, "at"),
        "older_emails_left_alone": _older(tx, last_poll, lookback_hours),
    }


def pulse(tx: Transaction, lookback_hours: float, zone: ZoneInfo) -> Pulse:
    """Read what health tells; its cost does not grow with the number of finished workflows. `zone` is the owner's."""
    counts = counts_by_state(tx, (State.PENDING, State.AWAITING_USER, State.FAILED))
    midnight = tx.now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    completed = tx.row("completed_since", since=midnight)
    remembered = _remembered(tx, memory.LAST_POLL, memory.MAIL_PAUSE, memory.TEXTING_BLOCKED)
    pause = to_pause(remembered.get(memory.MAIL_PAUSE))
    if pause and not pause.lasts(tx.now):
        pause = None
    last_poll = _moment(remembered.get(memory.LAST_POLL), "at")
    return Pulse(
        pending=counts[State.PENDING],
        awaiting_user=counts[State.AWAITING_USER],
        failed=counts[State.FAILED],
        completed_today=int(completed["count"]) if completed else 0,
        older_emails_left_alone=_older(tx, remembered.get(memory.LAST_POLL), lookback_hours),
        last_poll=last_poll,
        seconds_since_poll=(tx.now - last_poll).total_seconds() if last_poll else None,
        texting_blocked_since=_moment(remembered.get(memory.TEXTING_BLOCKED), "at"),
        replies_paused=pause.trouble if pause else None,
        replies_paused_until=pause.until if pause and not pause.waits_for_a_person else None,
    )


def _older(tx: Transaction, last_poll: dict[str, Any] | None, lookback_hours: float) -> int:
    """Count the emails that no poll will take."""
    return emails.count_older(tx, window_start(last_poll, tx.now, lookback_hours))


def _remembered(tx: Transaction, *keys: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row["value"] for row in tx.rows("remembered", keys=list(keys))}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _moment(value: dict[str, Any] | None, name: str) -> datetime | None:
    text = (value or {}).get(name)
    return datetime.fromisoformat(text) if text else None
