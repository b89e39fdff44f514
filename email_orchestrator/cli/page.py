"""One workflow as a readable page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from datetime import datetime

import click

from ..core.clean import clean_text, strip_invisible
from ..core.hours import show_time
from ..core.models import Draft, Workflow
from ..core.policy import Policy
from ..core.states import State
from ..store.workflows import Event
from . import output


def print_page(workflow: Workflow, drafts: Sequence[Draft], events: Sequence[Event], policy: Policy) -> None:
    """Print the email, every draft with its instruction, every event with time and who, and what happens next."""
    click.secho(f"#{workflow.id}  {output.one_line(workflow.subject) or '(no subject)'}", bold=True)
    click.echo(f"From:        {output.one_line(workflow.sender)}")
    click.echo(f"Message-ID:  {output.one_line(workflow.message_id)}")
    click.echo(f"State:       {output.coloured(workflow.state)}")
    click.echo(f"Next:        {next_step(workflow, policy)}")
    if workflow.preview:
        _heading("Email")
        click.echo(_indented(workflow.preview))
    for draft in drafts:
        asked = f', asked: "{output.one_line(draft.instructions)}"' if draft.instructions else ""
        _heading(f"Draft {draft.revision} ({show_time(draft.created_at, policy)}{asked})")
        click.echo(_indented(draft.text))
    _heading("Events")
    for event in events:
        reason = f"  {output.one_line(event.reason)}" if event.reason else ""
        click.echo(f"  {show_time(event.at, policy):<13} {event.to_state:<20} {event.actor:<6}{reason}")


def next_step(workflow: Workflow, policy: Policy) -> str:
    """Say what happens to a workflow next, and when."""
    due = workflow.next_attempt_at
    later = f" at {show_time(due, policy)}" if due and due > workflow.updated_at else " now"
    match workflow.state:
        case State.PENDING | State.AI_GENERATING | State.USER_EDIT_REQUESTED:
            step = f"a draft is written{later}"
        case State.AI_GENERATED | State.SMS_SENDING | State.SMS_SENT:
            step = "the draft is texted to the owner"
        case State.AWAITING_USER:
            step = f"the owner answers{_deadlines(workflow, policy)}"
        case State.USER_APPROVED:
            step = f"the reply is sent{later}"
        case State.FAILED:
            step = f"nothing by itself; `email-orchestrator retry {workflow.id}` goes on"
        case _:
            return "nothing, it is finished" + (f" ({output.one_line(workflow.error)})" if workflow.error else "")
    return step + (f" (last trouble: {output.one_line(workflow.error)})" if workflow.error else "")


def _deadlines(workflow: Workflow, policy: Policy) -> str:
    parts: list[tuple[str, datetime | None]] = [("reminder", workflow.remind_at), ("timeout", workflow.timeout_at)]
    known = [f"{name} at {show_time(at, policy)}" for name, at in parts if at]
    return f"; {', '.join(known)}" if known else ""


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _indented(text: str) -> str:
    return textwrap.indent(strip_invisible(clean_text(text)).rstrip(), "  | ", lambda _: True)
