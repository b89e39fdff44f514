"""Feedback: the AI Reply Generator is told what became of its drafts, when there is time; nothing depends on it."""

from __future__ import annotations

import logging
from queue import Empty, SimpleQueue

from ..errors import ServiceError
from ..store import workflows
from ..store.connection import Database
from .ports import Generator

log = logging.getLogger(__name__)

# A draft that waits for this: workflow, revision, action (approve, edit, ignore).
Report = tuple[int, int, str]


def report_one(database: Database, generator: Generator, reports: SimpleQueue[Report], patience: float) -> bool:
    """Pass one report on, waiting up to `patience` seconds for one; False when there was none."""
    try:
        workflow_id, revision, action = reports.get(timeout=patience)
    except Empty:
        return False
    with database.transaction() as tx:
        ids = [draft.ai_draft_id for draft in workflows.drafts(tx, workflow_id) if draft.revision == revision]
    try:
        for draft_id in filter(None, ids):
            generator.record_action(draft_id, action, None)
    except ServiceError as error:
        log.debug("workflow %d: %s", workflow_id, error)
    return True
