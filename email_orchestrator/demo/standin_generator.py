"""A stand-in for the AI Reply Generator: plain drafts that show what was asked for, and failures on demand."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg2

from .standin_http import METHOD_NOT_ALLOWED, NOT_FOUND, Answer, HttpStandIn, Request, unprocessable
from .standin_monitor import EMAIL_NOT_FOUND, Database
from .standin_record import Record

TONES = {"professional": "Hello,", "casual": "Hi,", "technical": "Hello,", "friendly": "Hi there,"}
ACTIONS = ("approve", "edit", "ignore")


@dataclass(frozen=True, slots=True)
class DraftRequest:
    """What was asked for."""

    email_message_id: str
    tone: str
    max_length: int | None
    context_instructions: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class DraftAction:
    """What the generator was told became of a draft."""

    draft_id: str
    action: str
    edited_text: str | None


class GeneratorStandIn(HttpStandIn):
    """The AI Reply Generator; its main endpoint is `/generate-reply`.

    With a `dsn` it reads the email from `processed_emails` and answers 404 for one that is not there. `write`, when
    set, makes the draft's text from the request. Like the real one it remembers no draft and no instruction;
    `requests`, `actions` and `health_calls` (each of which would cost money) are for whoever watches.
    """

    def __init__(self, dsn: str | None = None) -> None:
        super().__init__()
        self.write: Callable[[DraftRequest], str] | None = None
        self.requests: Record[DraftRequest] = Record()
        self.actions: Record[DraftAction] = Record()
        self.health_calls = 0
        self._database = Database(dsn) if dsn else None
        self._numbers = itertools.count(1)

    def stop(self) -> None:
        """Stop answering, and close the connection to the database."""
        super().stop()
        if self._database:
            self._database.close()

    def answer(self, request: Request) -> Answer:
        """Return the answer to one of the generator's requests."""
        if request.path == "/generate-reply":
            return self._generate(request) if request.method == "POST" else METHOD_NOT_ALLOWED
        if found := re.fullmatch(r"/drafts/([^/]+)/action", request.path):
            return self._record(found[1], request) if request.method == "PUT" else METHOD_NOT_ALLOWED
        if request.path == "/health":
            self.health_calls += 1
            return Answer(body={"status": "healthy", "service": "ai-reply-generator"})
        return NOT_FOUND

    def _generate(self, request: Request) -> Answer:
        asked = _draft_request(request.json())
        if isinstance(asked, Answer):
            return asked
        self.requests.add(asked)
        self.pause()
        if (scripted := self.scripted()) is not None:
            return scripted
        try:
            subject = self._subject(asked.email_message_id)
        except psycopg2.Error:
            return Answer(500, {"detail": "Internal Server Error"})
        if subject is None:
            return EMAIL_NOT_FOUND
        text = self.write(asked) if self.write else draft_text(subject, asked)
        if problem := _validation_problem(text):
            return Answer(400, {"detail": f"Generated reply validation failed: {problem}"})
        return Answer(
            body={
                "draft_id": f"{next(self._numbers):08X}",
                "full_draft": text,
                "short_summary": text[:149] + "…" if len(text) > 300 else None,
                "length": len(text),
                "is_sms_friendly": len(text) <= 160,
                "tokens_used": len(text) // 4,
                "model_version": "stand-in-1",
                "generated_at": datetime.now(UTC).isoformat(),
            }
        )

    def _subject(self, message_id: str) -> str | None:
        if self._database is None:
            return "your question"
        rows = self._database.rows("SELECT subject FROM processed_emails WHERE message_id = %s", (message_id,))
        return str(rows[0][0] or "(no subject)") if rows else None

    def _record(self, draft_id: str, request: Request) -> Answer:
        told = request.json()
        action, edited = told.get("action"), told.get("edited_text")
        if action not in ACTIONS:
            return unprocessable("body", "action", message="Input should be 'approve', 'edit' or 'ignore'")
        self.actions.add(DraftAction(draft_id, str(action), edited if isinstance(edited, str) else None))
        return Answer(body={"draft_id": draft_id, "action": action})


def draft_text(subject: str, asked: DraftRequest) -> str:
    """Write a draft that shows what was asked for.

    It names the subject, obeys a wish with `shorter` in it, and repeats every other wish in a sentence of its own.
    """
    wishes = wishes_in(asked.context_instructions or "")
    topic = " ".join(subject.split())
    sentences = [f'thank you for your message about "{topic}".']
    if not any("shorter" in wish.lower() for wish in wishes):
        sentences.append("I have read it with care and will come back to you by tomorrow evening.")
    sentences += [f"(As you asked: {wish})" for wish in wishes if "shorter" not in wish.lower()]
    text = f"{TONES[asked.tone]}\n\n{' '.join(sentences)}\n\nBest regards"
    return text if asked.max_length is None else text[: max(10, asked.max_length)]


def wishes_in(instructions: str) -> list[str]:
    """Return the wishes of an edit: the numbered lines after the draft that is quoted, else the whole text as one."""
    after_draft = instructions.rpartition("--- draft ends ---")[2]
    numbered = re.findall(r"^[0-9]+\. (.+?)(?=\n[0-9]+\. |\n\n|\Z)", after_draft, re.MULTILINE | re.DOTALL)
    whole = instructions.strip()
    return [" ".join(wish.split()) for wish in numbered] or ([whole] if whole else [])


def _draft_request(told: dict[str, object]) -> DraftRequest | Answer:
    message_id, tone = told.get("email_message_id"), told.get("tone", "professional")
    max_length, instructions = told.get("max_length"), told.get("context_instructions")
    if not isinstance(message_id, str):
        return unprocessable("body", "email_message_id", message="Input should be a valid string")
    if not isinstance(tone, str) or tone not in TONES:
        return unprocessable("body", "tone", message=f"Input should be one of {', '.join(TONES)}")
    if max_length is not None and not (isinstance(max_length, int) and max_length > 0):
        return unprocessable("body", "max_length", message="Input should be a valid integer")
    if instructions is not None and not isinstance(instructions, str):
        return unprocessable("body", "context_instructions", message="Input should be a valid string")
    return DraftRequest(message_id, tone, max_length, instructions, datetime.now(UTC))


def _validation_problem(text: str) -> str | None:
    if re.search(r"\[your [a-z ]+\]", text, re.IGNORECASE):
        return "the reply contains a placeholder"
    if not 10 <= len(text) <= 5000:
        return f"the reply has {len(text)} characters"
    return None
