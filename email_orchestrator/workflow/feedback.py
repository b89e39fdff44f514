"""Feedback: the AI Reply Generator is told what became of its drafts, when there is time; nothing depends on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from queue import Empty, SimpleQueue

from ..errors import ServiceError
from ..store import drafts
from ..store.connection import Database
from .ports import Generator

log = logging.getLogger(__name__)

# A draft that waits for this: workflow, revision, action (approve, edit, ignore).
Report = tuple[int, int, str]
AT_ONCE = 50
A_MOMENT = 0.5


def report(database: Database, generator: Generator, reports: SimpleQueue[Report], patience: float) -> bool:
    """Pass on what reports there are, waiting up to `patience` seconds for one; False when there was none."""
    try:
        waiting = [reports.get(timeout=patience)]
    except Empty:
        return False
    waiting += islice(_soon(reports), AT_ONCE - 1)
    for draft_id, action in _named(database, waiting):
        try:
            generator.record_action(draft_id, action)
        except ServiceError as error:
            log.debug("draft %s: %s", draft_id, error)
    return True


def report_before_leaving(database: Database, generator: Generator, reports: SimpleQueue[Report]) -> None:
    """Pass on all there are; the first that fails ends it, for a person waits. Raises ServiceError."""
    waiting = [reports.get() for _ in range(reports.qsize())]
    for draft_id, action in _named(database, waiting):
        generator.record_action(draft_id, action)


def _named(database: Database, waiting: Sequence[Report]) -> list[tuple[str, str]]:
    """Pair what the generator calls each draft with what became of it; drafts of its that have no name are left out."""
    with database.transaction() as tx:
        names = drafts.generated_ids(tx, [(workflow, revision) for workflow, revision, _ in waiting])
    return [(draft_id, waiting[place][2]) for place, draft_id in names.items()]


def _soon(reports: SimpleQueue[Report]) -> Iterator[Report]:
    """Yield what comes in the next moment: several reports then cost one look into the database."""
    deadline = time.monotonic() + A_MOMENT
    with suppress(Empty):
        while True:
            yield reports.get(timeout=max(0.0, deadline - time.monotonic()))
