"""Commands that act on workflows: approve, edit, ignore, retry, timeout, undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.states import Actor, State
from ..errors import Kind, OrchestratorError, ServiceError
from . import common, failing, interruption, terminal

if TYPE_CHECKING:
    from ..core.models import Workflow
    from ..stop_sign import StopSign
    from ..store.transaction import Transaction
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
    from ..stop_sign import StopSign
    from ..wiring import make_clients

    stop = StopSign()
    with common.desk_of(ctx.obj, stop=stop) as (settings, desk):
        clients = make_clients(settings)
        try:
            with interruption.asks_first(stop):
                _each(ctx, names, lambda name: _send_now(desk, clients, name), "Sending", stop)
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
        _each(ctx, names, lambda name: _left(_act(desk, name, actions.ignore)), "Leaving")


@click.command()
@one
@click.pass_obj
def retry(env_file: Path | None, name: str) -> None:
    """Go on where a workflow failed, or offer again what timed out."""
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
    click.echo(_closed(workflow))


@click.command()
@one
@click.pass_obj
def undo(env_file: Path | None, name: str) -> None:
    """Take an approval back, as long as the reply is still here."""
    from ..workflow import actions

    with common.desk_of(env_file) as (_, desk):
        workflow = _act(desk, name, actions.undo)
    click.echo(f"#{workflow.id} was not sent and waits for the owner again.")


def _left(workflow: Workflow) -> str:
    """Say that an email is left, and what is known of a reply that may be out."""
    return _closed(workflow) if workflow.doubt else f"#{workflow.id} is left unanswered."


def _closed(workflow: Workflow) -> str:
    from ..core import wording

    return f"#{workflow.id} is closed. {wording.fate(workflow)}"


def _act(desk: Desk, name: str, action: Action) -> Workflow:
    """Act on a workflow; returns it as it is then."""
    from ..store import workflows
    from ..workflow import actions

    with desk.database.transaction() as tx:
        workflow = actions.find(tx, name)
        action(tx, desk, workflow, Actor.CLI)
        return workflows.get(tx, workflow.id) or workflow


def _send_now(desk: Desk, clients: Clients, name: str) -> str:
    """Approve and send one draft in this process; returns what happened, or raises what stood in the way."""
    from ..store import workflows
    from ..workflow import actions, replying

    # For the length of a lease a daemon on the same database leaves the reply to this process.
    def hold(tx: Transaction, desk: Desk, found: Workflow, actor: Actor) -> None:
        actions.approve(tx, desk, found, actor, delay=desk.policy.lease_seconds)

    workflow = _act(desk, name, hold)
    try:
        # After a sending whose outcome is unknown, Sent Mail is looked into, and again a little later.
        for _ in range(1 + len(replying.LOOK_AGAIN_AFTER)):
            replying.reply_one(desk, clients.mailer, clients.sent_mail, only=workflow.id)
            pause = _until_next_look(desk, workflow.id)
            if pause is None:
                break
            with terminal.progress(f"Looking into Sent Mail for the reply to #{workflow.id} …"):
                if desk.wait(pause):
                    break
    except KeyboardInterrupt:
        raise ServiceError("Mail", _left_open(workflow.id), Kind.TRANSIENT) from None
    # While all mail rests it was not tried: what ends the rest shall find it due.
    with desk.database.transaction() as tx:
        workflows.let_go(tx, workflow)
    return _outcome(desk, workflow.id)


def _left_open(workflow_id: int) -> str:
    """Say what is known of a reply that nobody waited for."""
    return (
        f"#{workflow_id} may be out or not: the service looks for it in Sent Mail, or asks the owner; "
        f"`show {workflow_id}` tells what came of it."
    )


def _until_next_look(desk: Desk, workflow_id: int) -> float | None:
    """Return the seconds until it can be told whether a reply went out, or None when that is not in doubt."""
    from ..store import workflows

    with desk.database.transaction() as tx:
        workflow = workflows.get(tx, workflow_id)
        if workflow is None or workflow.state is not State.USER_APPROVED or workflow.send_started_at is None:
            return None
        due = workflow.next_attempt_at
        return max(0.0, (due - tx.now).total_seconds()) if due else 0.0


def _outcome(desk: Desk, workflow_id: int) -> str:
    """Say that a reply is out; raises OrchestratorError with what happened and what to do when it is not."""
    from ..store import mail_pause, workflows
    from ..workflow.account import refusal

    with desk.database.transaction() as tx:
        workflow = workflows.get(tx, workflow_id)
        pause = mail_pause.recall(tx)
    if workflow is None:
        raise OrchestratorError(f"#{workflow_id} was not sent: its email is gone.")
    match workflow.state:
        case State.REPLY_SENT:
            return f"Sent to {workflow.sender} (#{workflow_id})."
        case State.FAILED if workflow.doubt:
            raise OrchestratorError(
                f"#{workflow_id} may or may not have been sent, look into Sent Mail: `retry {workflow_id}` sends it "
                f"again with the same Message-ID, `ignore {workflow_id}` closes it."
            )
        case State.FAILED:
            raise OrchestratorError(
                f"#{workflow_id} failed: {workflow.error}. `retry {workflow_id}` tries again, "
                f"`ignore {workflow_id}` closes it."
            )
        case State.USER_APPROVED if workflow.send_started_at:
            raise ServiceError("Mail", _left_open(workflow_id), Kind.TRANSIENT)
        case State.USER_APPROVED:
            reason = workflow.error or (pause and pause.message) or "another process has it in hand"
            when = f"after `retry {workflow_id}`" if pause and pause.waits_for_a_person else "when that works"
            raise ServiceError(
                "Mail",
                f"#{workflow_id} is approved but not out yet ({reason}); the service sends it {when}, "
                f"`undo {workflow_id}` takes it back.",
                Kind.TRANSIENT,
            )
        case _:
            with desk.database.transaction() as tx:
                raise refusal(tx, desk, workflow)


def _each(
    ctx: click.Context,
    names: tuple[str, ...],
    act: Callable[[str], str],
    doing: str,
    stop: StopSign | None = None,
) -> None:
    """Act on several workflows in turn, saying how each went; the first failure decides the exit code.

    `doing` is what a terminal shows meanwhile. Those whose turn has not come when `stop` is asked for stay as they are.
    """
    code = 0
    for number, name in enumerate(names, 1):
        if stop is not None and stop.asked:
            click.echo(f"Error: stopped; left as they are: {', '.join(names[number - 1 :])}.", err=True)
            code = code or 1
            break
        try:
            with terminal.progress(f"{doing} {name}, {number} of {len(names)} …"):
                said = act(name)
            click.echo(said)
        except OrchestratorError as error:
            failing.complain(error)
            code = code or failing.exit_code(error)
    ctx.exit(code)


COMMANDS = (approve, edit, ignore, retry, timeout, undo)
