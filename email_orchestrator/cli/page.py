"""One workflow, and how the service does, as pages for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from ..core.clean import clean_text, strip_invisible
from ..core.hours import show_moment
from ..core.models import Draft, Email, Event, Workflow
from ..core.policy import Policy
from ..core.preview import readable_text
from . import output, terminal

LABEL = 13
MARGIN = "  | "
# On a terminal narrower than this an event takes two lines.
WIDE_ENOUGH = 60


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is shown of a workflow: `email` is None when the Email Monitor has removed it."""

    workflow: Workflow
    email: Email | None
    drafts: Sequence[Draft]
    events: Sequence[Event]
    next_step: str


def print_page(case: Case, policy: Policy) -> None:
    """Print the email, every draft with its instruction, every event with time and who, and what happens next."""
    workflow, email = case.workflow, case.email
    _print(output.one_line(workflow.subject) or "(no subject)", f"#{workflow.id}  ", bold=True)
    name, sender = output.one_line(workflow.sender_name), output.one_line(workflow.sender)
    _field("From", f"{name} <{sender}>" if name else sender)
    _field("Message-ID", output.one_line(workflow.message_id))
    if email:
        _field("Received", show_moment(email.received_at, policy))
    click.echo(f"{'State:':<{LABEL}}{output.coloured(workflow.state)}")
    _field("Next", case.next_step)
    text = readable_text(email.body_text, email.body_html) if email else workflow.preview
    if text:
        _heading("Email")
        _quote(text)
    for draft in case.drafts:
        _heading(f"Draft {draft.revision}, {show_moment(draft.created_at, policy)}")
        if draft.instructions:
            _print(output.one_line(draft.instructions), "  asked: ")
        if draft.text:
            _quote(draft.text)
        else:
            click.echo("  (its text was cleared)")
    _heading(f"Events (times of {policy.timezone.key})")
    for event in case.events:
        _print_event(event, policy)


def _print_event(event: Event, policy: Policy) -> None:
    moment, reason, width = show_moment(event.at, policy), output.one_line(event.reason or ""), terminal.columns()
    if width is not None and width < WIDE_ENOUGH:
        click.echo(f"  {moment}  {event.actor}")
        _print(reason, f"    {event.to_state}  ", beneath="    ")
    else:
        _print(reason, f"  {moment}  {event.to_state:<19}  {event.actor:<5}  ")


def _field(label: str, value: str) -> None:
    _print(value, f"{label + ':':<{LABEL}}")


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _quote(text: str) -> None:
    """Print a text from outside with a margin, so that nothing in it can pass for a line of ours."""
    for line in strip_invisible(clean_text(text)).expandtabs(4).rstrip().split("\n"):
        _print(line, MARGIN, beneath=MARGIN)


def _print(text: str, start: str, *, beneath: str | None = None, bold: bool = False) -> None:
    """Print a line after its `start`; what does not fit the terminal goes `beneath` it, by default under the text."""
    below = " " * terminal.cells_of(start) if beneath is None else beneath
    for line in terminal.wrap(text, terminal.columns(), start, below):
        click.secho(line, bold=bold)
