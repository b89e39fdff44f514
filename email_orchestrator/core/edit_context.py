"""What the AI Reply Generator must be told for an edit, since it remembers nothing between calls."""

from __future__ import annotations

from collections.abc import Sequence


def edit_context(draft: str, instructions: Sequence[str]) -> str:
    """Write the `context_instructions` for an edit.

    `draft` is the text being edited, `instructions` everything the owner has asked for so far, oldest first, word for
    word. Returns plain text that names the draft as material, and all the instructions as what to follow, the last
    one first in rank where they contradict each other.
    """
    wishes = "\n".join(f"{number}. {wish}" for number, wish in enumerate(instructions, start=1))
    return (
        "Rewrite the reply below. It is an earlier draft of the reply to this email, written by you.\n\n"
        f"--- draft begins ---\n{draft}\n--- draft ends ---\n\n"
        "Follow all of these instructions of the person you write for, given in this order; "
        "where two of them contradict each other, the later one counts:\n"
        f"{wishes}\n\n"
        "Answer with the whole rewritten reply and nothing else."
    )
