"""What a script is told of a workflow: the API and `--json` say the same, in the same words."""

from __future__ import annotations

from typing import Any

from .models import Draft, Event, Workflow
from .states import FINISHED, State

NOTHING_IS_DUE = FINISHED | {State.AWAITING_USER}


def outline(workflow: Workflow) -> dict[str, Any]:
    """Return what a list tells of a workflow; `next_attempt_at` is when a machine is to go on with it, if one is."""
    return {
        "id": workflow.id,
        "message_id": workflow.message_id,
        "from": workflow.sender,
        "from_name": workflow.sender_name,
        "subject": workflow.subject,
        "state": str(workflow.state),
        "revision": workflow.revision,
        "error": workflow.error,
        "created_at": workflow.created_at,
        "updated_at": workflow.updated_at,
        "next_attempt_at": None if workflow.state in NOTHING_IS_DUE else workflow.next_attempt_at,
        "sms_sent_at": workflow.sms_sent_at,
        "timeout_at": workflow.timeout_at,
        "reply_sent_at": workflow.reply_sent_at,
    }


def page(workflow: Workflow, drafts: list[Draft], events: list[Event]) -> dict[str, Any]:
    """Return all that is told of one workflow: its outline, the email's preview, every draft and every event."""
    return outline(workflow) | {
        "preview": workflow.preview,
        "drafts": [
            {
                "revision": draft.revision,
                "text": draft.text,
                "instructions": draft.instructions,
                "created_at": draft.created_at,
            }
            for draft in drafts
        ],
        "events": [
            {
                "from_state": event.from_state,
                "to_state": event.to_state,
                "at": event.at,
                "reason": event.reason,
                "actor": event.actor,
            }
            for event in events
        ],
    }
