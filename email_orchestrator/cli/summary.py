"""How the service does, as a page for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..core.hours import show_moment
from ..core.policy import Policy
from ..store.figures import Pulse
from . import terminal

LABEL = 17
NONE = "none"


def print_summary(status: dict[str, Any], pulse: Pulse, policy: Policy) -> None:
    """Print what `figures.status` and `figures.pulse` tell, a line for each thing."""
    for label, text in _lines(status, pulse, policy):
        for line in terminal.wrap(text, terminal.columns(), f"{label:<{LABEL}}", " " * LABEL):
            click.echo(line)


def _lines(status: dict[str, Any], pulse: Pulse, policy: Policy) -> Iterator[tuple[str, str]]:
    yield "Workflows", _counted(status["counts"])
    yield "Last poll", show_moment(pulse.last_poll, policy) if pulse.last_poll else "never"
    older = status["older_emails_left_alone"]
    helps = "; `email-orchestrator poll --lookback HOURS` takes them up" if older else ""
    yield "Older emails", (f"{older} left alone" if older else NONE) + helps
    if pulse.replies_paused:
        until = show_moment(pulse.replies_paused_until, policy) if pulse.replies_paused_until else "somebody acts"
        yield "Replies", f"paused ({pulse.replies_paused}) until {until}"
    if pulse.texting_blocked_since:
        when = show_moment(pulse.texting_blocked_since, policy)
        yield "Texting", f"perhaps blocked by the carrier, since the owner texted STOP or the like on {when}"
    hours = status["window_hours"]
    yield f"Last {hours} hours", f"emails taken in: {round(status['emails_per_hour'] * hours)}"
    yield "Email to text", _span(status["email_to_text"])
    yield "Text to answer", _span(status["text_to_answer"])
    shares = {name: f"{name} ({rate:.0%})" for name, rate in status["rates"].items() if rate is not None}
    yield "Answers", _counted({shares.get(name, name): count for name, count in status["answers"].items()})
    yield "Failures", _counted(status["failures_by_stage"])


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or NONE


def _span(took: dict[str, Any]) -> str:
    if not took["count"]:
        return NONE
    return f"{took['count']}, mean {duration(took['mean_seconds'])}, median {duration(took['median_seconds'])}"


def duration(seconds: float) -> str:
    """Write a duration in the two units that matter."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min"
