"""Reasons: why a workflow went the way it did, in the words that its history and the owner's texts share."""

from __future__ import annotations

LEFT = "left by the owner"
TAKEN_BACK = "taken back by the owner"
TRIED_AGAIN = "tried again by the owner"
ASKED_FOR_AGAIN = "asked for again by the owner"
NOT_WHAT_WAS_APPROVED = "no longer what was approved"
NOT_TEXTED_AGAIN = "could not be texted again"


def superseded_by(number: int) -> str:
    """Say that a newer email of the same sender and thread has come in."""
    return f"superseded by #{number}"


def dealt_with_elsewhere(status: str) -> str:
    """Say that the email is no longer ours to answer; `status` is what the Email Monitor shows."""
    return f"the email was dealt with elsewhere (its status is {status})"


def draft_not_handled(error: Exception) -> str:
    """Say that a draft could not be handled, by a fault of ours."""
    return f"the draft could not be handled ({type(error).__name__})"


def reply_not_made(error: Exception) -> str:
    """Say that a reply could not be put together, by a fault of ours."""
    return f"the reply could not be put together ({type(error).__name__}), so nothing was sent"


def reply_unsafe(error: Exception) -> str:
    """Say that what was approved cannot be written so that exactly that goes to exactly one address."""
    return f"the reply cannot be put into a safe message, so nothing was sent ({error})"
