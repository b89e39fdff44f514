"""Commands that act on workflows: approve, edit, ignore, retry, timeout, undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.states import Actor, State
from ..errors import NotFound, OrchestratorError, WrongState
from . import common

if TYPE_CHECKING:
    from ..core.models import Workflow
    from ..store.connection import Transaction
    from ..wiring import Clients
    from ..workflow.desk import Desk

    Action = Callable[[Transaction, Desk, Workflow, Actor], None]

one = click.argument("name", metavar="ID")
several = click.argument("names", metavar="ID...", nargs=-1, required=True)


@click.command()
@several
@click.pass_context
def approve(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Send the drafts as they are, now."""
    from ..wiring import make_clients

    with common.desk_of(ctx.obj) as (settings, desk):
        clients = make_clients(settings)
        try:
            _each(ctx, names, lambda name: _send_now(desk, clients, name))
        finally:
            clients.mailer.close()


@click.command()
@one
@click.argument("instructions")
@click.pass_obj
def edit(env_file: Path | None, name: str, instructions: str) -> None:
    """Have a draft rewritten, for example: edit 7 "make it shorter"."""
    from ..core.clean import clean_text
    from ..workflow import actions

    wish = clean_text(instructions).strip()
    if not wish:
        raise click.UsageError("Say what shall be changed, for example: edit 7 'make it shorter'.")
    with common.desk_of(env_file) as (_, desk):
        workflow = _act(desk, name, lambda tx, desk, found, actor: actions.edit(tx, desk, found, actor, wish))
    click.echo(f"#{workflow.id} is being rewritten; the new draft comes as a text.")


@click.command()
@several
@click.pass_context
def ignore(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Leave emails unanswered."""
    from ..workflow import actions

    with common.desk_of(ctx.obj) as (_, desk):
        _each(ctx, names, lambda name: f"#{_act(desk, name, actions.ignore).id} is left unanswered.")


@click.command()
@one
@click.pass_obj
def retry(env_file: Path | None, name: str) -> None:
    """Let a failed workflow go on at the step that failed."""
    from ..workflow import actions

    with common.desk_of(env_file) as (_, desk):
        workflow = _act(desk, name, actions.retry)
    click.echo(f"#{workflow.id} is tried again.")


@click.command()
@one
@click.pass_obj
def timeout(env_file: Path | None, name: str) -> None:
    """Close a draft that waits for the owner, as if its time were over."""
    from ..workflow import actions

    with common.desk_of(env_file) as (_, desk):
        workflow = _act(desk, name, actions.time_out)
    click.echo(f"#{workflow.id} is closed; nothing was sent.")


@click.command()
@one
@click.pass_obj
def undo(env_file: Path | None, name: str) -> None:
    """Take an approval back, while the reply has not been handed to SMTP."""
    from ..workflow import actions

    with common.desk_of(env_file) as (_, desk):
        workflow = _act(desk, name, actions.undo)
    click.echo(f"#{workflow.id} was not sent and waits for the owner again.")


def _act(desk: Desk, name: str, action: Action) -> Workflow:
    from ..workflow import actions

    with desk.database.transaction() as tx:
        workflow = actions.find(tx, name)
        action(tx, desk, workflow, Actor.CLI)
    return workflow


def _send_now(desk: Desk, clients: Clients, name: str) -> str:
    """Approve and send one draft in this process; returns what happened, or raises what stood in the way."""
    from ..errors import Kind, ServiceError
    from ..store import workflows
    from ..workflow import actions, replying

    # For the length of a lease a daemon on the same database leaves the reply to this process.
    def hold(tx: Transaction, desk: Desk, found: Workflow, actor: Actor) -> None:
        actions.approve(tx, desk, found, actor, delay=desk.policy.lease_seconds)

    workflow = _act(desk, name, hold)
    replying.reply_one(desk, clients.mailer, clients.sent_mail, only=workflow.id)
    with desk.database.transaction() as tx:
        after = workflows.get(tx, workflow.id)
    if after is None or after.state is State.FAILED:
        raise OrchestratorError(f"#{workflow.id} failed: {after.error if after else 'its email is gone'}.")
    if after.state is not State.REPLY_SENT:
        reason = after.error or "replies rest for a while"
        raise ServiceError(
            "Mail", f"#{workflow.id} is approved but not out yet ({reason}); it is tried again", Kind.TRANSIENT
        )
    return f"Sent to {workflow.sender} (#{workflow.id})."


def _each(ctx: click.Context, names: tuple[str, ...], act: Callable[[str], str]) -> None:
    """Act on several workflows in turn, saying how each went; the first failure decides the exit code."""
    from .main import exit_code

    code = 0
    for name in names:
        try:
            click.echo(act(name))
        except (NotFound, WrongState, OrchestratorError) as error:
            click.echo(f"Error: {error}", err=True)
            code = code or exit_code(error)
    ctx.exit(code)


COMMANDS = (approve, edit, ignore, retry, timeout, undo)
