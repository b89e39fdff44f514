"""Every draft ever made."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.models import Draft, GeneratedDraft
from .transaction import Transaction


def add(tx: Transaction, workflow_id: int, revision: int, draft: GeneratedDraft, instructions: str | None) -> None:
    """Keep a draft."""
    tx.defer(
        "add_draft",
        workflow_id=workflow_id,
        revision=revision,
        text=draft.text,
        instructions=instructions,
        ai_draft_id=draft.draft_id,
        model=draft.model,
        tokens=draft.tokens,
    )


def of_workflow(tx: Transaction, workflow_id: int) -> list[Draft]:
    """Read every draft of a workflow, oldest first."""
    return [Draft(**row) for row in tx.rows("drafts", id=workflow_id)]


def generated_ids(tx: Transaction, numbers: Sequence[tuple[int, int]]) -> dict[int, str]:
    """Read what the AI Reply Generator named some drafts, given by workflow and revision; returns it by their place."""
    ids, revisions = [one for one, _ in numbers], [revision for _, revision in numbers]
    return {row["place"] - 1: row["ai_draft_id"] for row in tx.rows("generated_ids", ids=ids, revisions=revisions)}
