"""The REST API: looking at workflows, and the actions that need no phone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bottle import HTTPError, HTTPResponse

from ..core import outline
from ..core.models import Workflow
from ..core.states import Actor, State
from ..errors import NotFound, WrongState
from ..store import drafts, figures, standing, workflows
from ..store.counting import counts_by_state
from ..store.transaction import Transaction
from ..workflow import actions
from ..workflow.desk import Desk
from .answers import answer, refused
from .front import Front

Action = Callable[[Transaction, Desk, Workflow, Actor], None]

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
DEFAULT_HOURS, MAX_HOURS = 24, 8760


def tell_status(front: Front, query: Mapping[str, str]) -> HTTPResponse:
    """Answer how the service does; `hours` in the query is how far back rates and times look."""
    hours = _number(query, "hours", DEFAULT_HOURS, MAX_HOURS)
    with front.desk.database.transaction() as tx:
        return answer(figures.status(tx, front.lookback_hours, hours))


def list_workflows(front: Front, states: tuple[State, ...], query: Mapping[str, str]) -> HTTPResponse:
    """Answer with the workflows in any of the states, newest first; `limit` in the query is how many at most."""
    limit = _number(query, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    with front.desk.database.transaction() as tx:
        found = standing.listed(tx, states, limit)
        total = sum(counts_by_state(tx, states).values())
    return answer({"workflows": [outline.outline(workflow) for workflow in found], "total": total})


def show_workflow(front: Front, name: str) -> HTTPResponse:
    """Answer with one workflow: the email's outline, every draft and every event. Raises NotFound."""
    with front.desk.database.transaction() as tx:
        workflow = workflows.find(tx, name)
        if workflow is None:
            raise _only_post() if _is_action(name) else NotFound(name)
        return answer(_page(tx, workflow))


def act(front: Front, name: str, action: Action) -> HTTPResponse:
    """Do one of `workflow.actions` to a workflow and answer with what it is then.

    Raises NotFound, and a refusal (409) that says which state the workflow is in when that does not allow the action.
    """
    with front.desk.database.transaction() as tx:
        workflow = actions.find(tx, name)
        try:
            action(tx, front.desk, workflow, Actor.API)
        except WrongState as error:
            message = f"Workflow {workflow.id} is in the state {workflow.state}. {error}"
            raise refused(409, message, state=str(workflow.state)) from None
        return answer(_page(tx, workflows.get(tx, workflow.id) or workflow))


def _page(tx: Transaction, workflow: Workflow) -> dict[str, Any]:
    return outline.page(workflow, drafts.of_workflow(tx, workflow.id), workflows.events(tx, workflow.id))


def _is_action(name: str) -> bool:
    """Say whether what no workflow is called is the address of an action."""
    return name.endswith("/retry") or name.startswith("timeout/")


def _only_post() -> HTTPError:
    return refused(405, "This address takes POST only.", {"Allow": "POST"})


def _number(query: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= largest:
        return int(text)
    raise refused(400, f"`{name}` must be a whole number from 1 to {largest}.")
