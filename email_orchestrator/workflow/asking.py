"""What is asked back: which draft, what to change; and the help for what was not understood."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ..core import wording
from ..core.commands import START_WORDS, STOP_WORDS, Command, Verb
from ..store import memory
from ..store.texts import Sort
from ..store.transaction import Transaction
from .desk import Desk, tell
from .meaning import is_earlier

log = logging.getLogger(__name__)

QUESTION_STANDS = timedelta(minutes=10)
HELP_EVERY = timedelta(minutes=1)


def ask_back(tx: Transaction, command: Command, said_at: datetime) -> None:
    """Remember a command that lacks something, said at a moment; the next text completes it for ten minutes.

    One that lacks its number waits for a number alone, an edit of a workflow for whatever is no command.
    """
    question = {
        "verb": command.verb,
        "workflow": command.workflow_id,
        "words": command.words,
        "at": tx.now,
        "said_at": said_at,
    }
    memory.remember(tx, memory.DIALOGUE, question)


def open_question(tx: Transaction, written: datetime) -> dict[str, Any] | None:
    """Return the question that a text written at a moment can answer: one asked before it, and not too old."""
    question = memory.recall(tx, memory.DIALOGUE)
    if question is None or tx.now - datetime.fromisoformat(question["at"]) > QUESTION_STANDS:
        return None
    if is_earlier(written, datetime.fromisoformat(question["said_at"])):
        return None
    return question


def close_question(tx: Transaction) -> None:
    """Forget the open question: the next text either answers it or drops it."""
    memory.forget(tx, memory.DIALOGUE)


def complete(question: dict[str, Any], command: Command) -> tuple[Command, datetime] | None:
    """Make one command, and when it was begun, of an open question and the text that followed it.

    None when that text is of another kind and stands for itself.
    """
    verb, begun_at = Verb(question["verb"]), datetime.fromisoformat(question["said_at"])
    workflow_id = question.get("workflow")
    if workflow_id is not None and command.verb is Verb.UNCLEAR:
        return Command(verb, workflow_id, command.words), begun_at
    if workflow_id is None and command.verb is Verb.NUMBER:
        return replace(command, verb=verb, words=question["words"]), begun_at
    return None


def not_a_command(tx: Transaction, desk: Desk, command: Command, *, urgent: bool) -> str:
    """Help the owner along after a text that is no command, at most once a minute; note a word carriers act on."""
    if command.verb is Verb.CARRIER:
        _note_carrier_word(tx, command.words)
        help_text = wording.carrier_word(command.words)
    else:
        help_text = wording.not_understood(command.words)
    given = memory.recall(tx, memory.HELP_GIVEN)
    if given is None or tx.now - datetime.fromisoformat(given["at"]) >= HELP_EVERY:
        memory.remember(tx, memory.HELP_GIVEN, {"at": tx.now})
        tell(tx, desk, Sort.ANSWER, help_text, urgent=urgent)
    return str(command.verb)


def _note_carrier_word(tx: Transaction, word: str) -> None:
    if word in STOP_WORDS:
        log.warning("the owner texted %s: the carrier may block texting now", word)
        memory.remember(tx, memory.TEXTING_BLOCKED, {"word": word, "at": tx.now})
    elif word in START_WORDS:
        memory.forget(tx, memory.TEXTING_BLOCKED)
