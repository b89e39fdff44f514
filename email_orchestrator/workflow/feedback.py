"""Feedback: the AI Reply Generator is told what became of its drafts, when there is time; nothing depends on it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
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


def report(
    database: Database,
    generator: Generator,
    reports: SimpleQueue[Report],
    patience: float,
    moment: float = A_MOMENT,
) -> bool:
    """Pass on what reports there are, waiting up to `patience` seconds for one; False when there was none.

    What comes within a `moment` after the first, in seconds, is passed on with it.
    """
    try:
        waiting = [reports.get(timeout=patience)]
    except Empty:
        return False
    waiting += islice(_soon(reports, moment), AT_ONCE - 1)
    with database.transaction() as tx:
        names = drafts.generated_ids(tx, [(workflow, revision) for workflow, revision, _ in waiting])
    for place, draft_id in names.items():
        try:
            generator.record_action(draft_id, waiting[place][2])
        except ServiceError as error:
            log.debug("draft %s: %s", draft_id, error)
    return True


def _soon(reports: SimpleQueue[Report], moment: float) -> Iterator[Report]:
    """Yield what comes in the next moment: several reports then cost one look into the database."""
    deadline = time.monotonic() + moment
    with suppress(Empty):
        while True:
            yield reports.get(timeout=max(0.0, deadline - time.monotonic()))
