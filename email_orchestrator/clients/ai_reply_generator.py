"""Asks the AI Reply Generator for drafts.

Its `/health` makes a paid model call each time, so nothing here calls it.
"""

from __future__ import annotations

from urllib.parse import quote

from ..core.clean import clean_draft, clean_line
from ..core.models import GeneratedDraft
from ..errors import Kind, ServiceError
from .http import JsonService
from .watching import Observer, nobody, watched

NAME = "AI Reply Generator"
ACTION_TIMEOUT = 5.0


class AiReplyGenerator:
    """The AI Reply Generator at `url`; every call is given `timeout` seconds in all."""

    service = NAME

    def __init__(self, url: str, timeout: float, observe: Observer = nobody) -> None:
        self.observe = observe
        self._service = JsonService(NAME, url, timeout)
        self._action_timeout = min(timeout, ACTION_TIMEOUT)

    @watched
    def generate(
        self, message_id: str, tone: str, max_length: int | None, context_instructions: str | None
    ) -> GeneratedDraft:
        """Return a draft for the email `message_id`, its text cleaned of control characters.

        Raises ServiceError: permanent when the request itself is refused (422), else transient. The call has no effect
        outside, so an answer that was lost or is unusable is simply asked for again.
        """
        answer = self._service.call(
            "POST",
            "/generate-reply",
            body={
                "email_message_id": message_id,
                "tone": tone,
                "max_length": max_length,
                "context_instructions": context_instructions,
            },
        )
        draft = answer.get("full_draft")
        text = clean_draft(draft) if isinstance(draft, str) else ""
        if not text:
            raise ServiceError(NAME, "its answer has no draft", Kind.TRANSIENT)
        draft_id, model, tokens = answer.get("draft_id"), answer.get("model_version"), answer.get("tokens_used")
        return GeneratedDraft(
            draft_id=clean_line(draft_id) if isinstance(draft_id, str) else "",
            text=text,
            model=clean_line(model) if isinstance(model, str) else "",
            tokens=tokens if type(tokens) is int and 0 <= tokens < 2**31 else 0,
        )

    @watched
    def record_action(self, draft_id: str, action: str) -> None:
        """Tell the generator what became of a draft: `action` is approve, edit or ignore.

        Raises ServiceError, which callers may drop: the generator remembers nothing that a workflow needs.
        """
        self._service.call(
            "PUT",
            f"/drafts/{quote(draft_id, safe='')}/action",
            body={"action": action, "edited_text": None},
            timeout=self._action_timeout,
        )
