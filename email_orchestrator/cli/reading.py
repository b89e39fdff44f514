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
    from ..core.hours import show_time
    from ..store import workflows

    with common.desk_of(env_file, reading=True) as (_, desk), desk.database.transaction() as tx:
        found = workflows.select(tx, "workflows", states=[state] if state else None, limit=limit)
    if json_output:
        output.print_json([output.workflow_json(workflow) for workflow in found])
    elif not found:
        click.echo(f"No workflow is in the state {state}." if state else "There are no workflows yet.")
    else:
        rows = [
            (f"#{w.id}", str(w.state), show_time(w.updated_at, desk.policy), w.sender, w.subject or "(no subject)")
            for w in found
        ]
        output.print_table(("ID", "STATE", "SINCE", "FROM", "SUBJECT"), rows, common.terminal_width(), elastic=(3, 4))
    if len(found) == limit:
        click.echo(f"Only the newest {limit} are shown; --limit shows more.", err=True)


@click.command()
@click.argument("name", metavar="ID")
@common.as_json
@click.pass_obj
def show(env_file: Path | None, name: str, json_output: bool) -> None:
    """Show one workflow: the email, every draft, every event, and what happens next."""
    from ..errors import NotFound
    from ..store import workflows
    from .page import print_page

    with common.desk_of(env_file, reading=True) as (_, desk), desk.database.transaction() as tx:
        workflow = workflows.find(tx, name)
        if workflow is None:
            raise NotFound(f"There is no workflow {name}: `email-orchestrator list` shows what there is.")
        drafts = workflows.drafts(tx, workflow.id)
        events = workflows.events(tx, workflow.id)
    if json_output:
        page = output.workflow_json(workflow) | {
            "preview": workflow.preview,
            "drafts": [output.draft_json(draft) for draft in drafts],
            "events": [output.event_json(event) for event in events],
        }
        output.print_json(page)
    else:
        print_page(workflow, drafts, events, desk.policy)


@click.command()
@common.as_json
@click.pass_obj
def status(env_file: Path | None, json_output: bool) -> None:
    """Show how many workflows are in each state, and how the service has done today."""
    from ..store import figures

    with common.desk_of(env_file, reading=True) as (settings, desk), desk.database.transaction() as tx:
        summary = figures.status(tx, settings.poll_lookback_hours)
    if json_output:
        output.print_json(summary)
    else:
        for name, value in output.flatten(summary):
            click.echo(f"{name:<40} {value}")
        if summary["older_emails_left_alone"]:
            click.echo("Older emails are left alone; `email-orchestrator poll --lookback HOURS` takes them up.")


COMMANDS = (list_command, show, status)
