"""The documents name everything there is, and everything they name is there."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from email_orchestrator.cli import main
from email_orchestrator.cli.failing import CONFIGURATION, FAILED, NOT_FOUND, TEMPORARY, WRONG_STATE
from email_orchestrator.core import notices, reasons, wording
from email_orchestrator.core.commands import Verb
from email_orchestrator.core.models import Workflow
from email_orchestrator.core.policy import Policy
from email_orchestrator.core.states import State
from email_orchestrator.errors import Trouble
from email_orchestrator.settings import Settings
from email_orchestrator.store import figures

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
AT = datetime(2026, 11, 22, 14, 5, tzinfo=UTC)
POLICY = Policy("me@example.com", "+15551234567")
ONE = Workflow(
    id=7, message_id="<a@b>", sender="john@example.com", sender_name="", subject="Meeting", preview="", thread_id=None,
    supersedes=None, state=State.AWAITING_USER, previous_state=None, revision=1, draft_text="Yes", hidden_chars=240,
    edit_iteration=10, edit_instructions=None, offered_at=AT, sms_sent_at=AT, responded_at=None, remind_at=None,
    timeout_at=AT, reply_message_id=None, reply_sent_at=None, approved_at=None, approved_hash=None,
    send_started_at=None, error=None, attempts=0, next_attempt_at=None, claimed_by=None, created_at=AT, updated_at=AT,
)  # fmt: skip
REFUSED = "it answered the AUTH with 535 5.7.8 no"
GIVEN: dict[str, Any] = {
    "workflow": ONE,
    "workflows": [ONE, ONE],
    "policy": POLICY,
    "happened": "The draft of #7 is being texted to you.",
    "verb": "undo",
    "reason": "SMS Gateway: no",
    "text": "hm",
    "word": "STOP",
    "number": 7,
    "count": 10,
    "sender": "john@example.com",
    "message": REFUSED,
    "until": AT,
    "delay": 60,
    "trouble": Trouble.BUSY,
}
# What confirms that all is well, or is a part of another sentence.
GOOD_NEWS = {
    *("about", "sent", "sending_soon", "rewriting", "ignored", "undone", "trying_again"),
    *("what_to_change", "nothing_hidden", "how_it_stands", "how_to_stop", "how_to_leave", "fate"),
    *("offer_note", "change_again"),
}


def sentences() -> dict[str, str]:
    """Everything that the owner can be told when something is amiss, by what says it."""
    told = {}
    functions = [*inspect.getmembers(wording, inspect.isfunction), *inspect.getmembers(notices, inspect.isfunction)]
    for name, function in functions:
        own = function.__module__ in (wording.__name__, notices.__name__)
        if own and name not in GOOD_NEWS and not name.startswith("_"):
            given = {one: GIVEN[one] for one in inspect.signature(function).parameters}
            told[name] = function(**(given | ({"verb": Verb.APPROVE} if name == "answered_too_early" else {})))
    told["waits_for_mail until a person acts"] = wording.waits_for_mail(ONE, None, POLICY)
    for trouble in Trouble:
        until = None if trouble is Trouble.CREDENTIALS else AT
        told[f"mail_paused {trouble}"] = notices.mail_paused(trouble, REFUSED, until, POLICY)
    for state in State:
        told[f"how_it_stands {state}"] = wording.how_it_stands(replaced(state), POLICY)
    return told


def replaced(state: State) -> Workflow:
    return replace(ONE, state=state, error="SMTP server: no")


def documented() -> list[re.Pattern[str]]:
    """What the page says one can be told; an ellipsis stands for anything, and a sentence may go on."""
    section = OPERATING.partition("## What you can be told, and what to do")[2].partition("In a shell, errors")[0]
    cells = re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE)
    quoted = [words for cell in cells for words in re.findall(r"`([^`]+)`", cell)]
    return [re.compile(re.escape(words).replace("…", ".*?"), re.DOTALL) for words in quoted]


@pytest.mark.parametrize(("name", "sentence"), sentences().items(), ids=sentences().keys())
def test_everything_the_owner_can_be_told_is_explained(name: str, sentence: str) -> None:
    assert any(pattern.match(sentence) for pattern in documented()), sentence


def test_nothing_is_explained_that_nobody_is_told() -> None:
    told = [*sentences().values(), notices.failed(replaced(State.USER_APPROVED), "SMTP server: no")]
    told += [notices.failed(ONE, f"{service}: no") for service in ("AI Reply Generator", "SMS Gateway")]
    told += [notices.failed(replaced(State.USER_APPROVED), reason) for reason in replying_reasons()]
    told.append(wording.too_many_edits(replace(ONE, edit_iteration=0)))
    for pattern in documented():
        assert any(pattern.search(sentence) for sentence in told), pattern.pattern


def replying_reasons() -> list[str]:
    elsewhere = f"{reasons.dealt_with_elsewhere('closed')}, so nothing was sent"
    return [elsewhere, reasons.reply_unsafe(ValueError("no")), reasons.reply_not_made(ValueError("no"))]


def test_every_command_stands_in_the_manual_or_the_readme() -> None:
    both = OPERATING + (ROOT / "README.md").read_text(encoding="utf-8")
    for command in main.commands:
        assert re.search(rf"(email-orchestrator|bin/email-orchestrator|[|]) {command}\b|^`{command} ", both), command


def test_the_exit_codes_are_those_of_the_program() -> None:
    table = OPERATING.partition("| Exit code |")[2].partition("\n\n")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert codes == {FAILED, 2, NOT_FOUND, WRONG_STATE, TEMPORARY, CONFIGURATION}


def test_every_action_of_the_log_is_named() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "email_orchestrator").rglob("*.py"))
    actions = set(re.findall(r'"action": "(\w+)"', sources))
    section = OPERATING.partition("## The log")[2].partition("## ")[0]
    named = set(re.findall(r"`(\w+)`", section.partition("`event.action` says what happened (")[2].partition(")")[0]))
    assert named == actions


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_exists(page: Path) -> None:
    ours = {field.name.upper() for field in fields(Settings)}
    words = set(re.findall(r"`([A-Z]{2,}(?:_[A-Z]+)+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")))
    assert words - ours <= {"NO_COLOR"}, words - ours


def test_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_the_figures_of_status_are_named() -> None:
    section = OPERATING.partition("## In scripts")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert {*figures.SPANS, *figures.ANSWERS.values(), *figures.STAGES.values()} <= named
