"""Commands that only read: list, show, status."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.states import State
from . import common, output


@click.command("list")
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only workflows in this state.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@common.as_json
@click.pass_obj
def list_command(env_file: Path | None, state: str | None, limit: int, json_output: bool) -> None:
    """List workflows, the newest first."""
    from ..core.hours import show_since
    from ..core.outline import outline
    from ..store import standing

    with common.desk_of(env_file, reading=True) as (_, desk), desk.database.transaction() as tx:
        # One more than is shown tells whether there are more.
        found = standing.listed(tx, [State(state)] if state else None, limit + 1)
        now = tx.now
    shown = found[:limit]
    if json_output:
        output.print_json([outline(workflow) for workflow in shown])
    elif not shown:
        click.echo(f"No workflow is in the state {state}." if state else "There are no workflows yet.")
    else:
        rows = [
            (f"#{w.id}", w.state, show_since(w.updated_at, now, desk.policy), w.sender, w.subject or "(no subject)")
            for w in shown
        ]
        output.print_table(("ID", "STATE", "SINCE", "FROM", "SUBJECT"), rows, elastic=(3, 4))
    if len(found) > limit:
        click.echo(f"Only the newest {limit} are shown; --limit shows more.", err=True)


@click.command()
@click.argument("name", metavar="ID")
@common.as_json
@click.pass_obj
def show(env_file: Path | None, name: str, json_output: bool) -> None:
    """Show one email: its text, drafts, history, and what comes next."""
    from ..core import outline
    from ..errors import NotFound
    from ..store import drafts, emails, workflows
    from . import forecast, page

    with common.desk_of(env_file, reading=True) as (_, desk), desk.database.transaction() as tx:
        workflow = workflows.find(tx, name)
        if workflow is None:
            raise NotFound(name)
        written = drafts.of_workflow(tx, workflow.id)
        events = workflows.events(tx, workflow.id)
        email = emails.read(tx, workflow.message_id)
        next_step = forecast.next_step(workflow, desk.policy, forecast.look_around(tx, workflow))
    if json_output:
        output.print_json(outline.page(workflow, written, events))
    else:
        page.print_page(page.Case(workflow, email, written, events, next_step), desk.policy)


@click.command()
@common.as_json
@click.pass_obj
def status(env_file: Path | None, json_output: bool) -> None:
    """Count what there is, and tell how the last 24 hours went."""
    from ..store import figures
    from .summary import print_summary

    with common.desk_of(env_file, reading=True) as (settings, desk), desk.database.transaction() as tx:
        summary = figures.status(tx, settings.poll_lookback_hours)
        pulse = figures.pulse(tx, settings.poll_lookback_hours, settings.timezone)
    if json_output:
        output.print_json(summary)
    else:
        print_summary(summary, pulse, desk.policy)


COMMANDS = (list_command, show, status)
