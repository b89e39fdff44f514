"""The client of the AI Reply Generator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

from email_orchestrator.clients.ai_reply_generator import AiReplyGenerator
from email_orchestrator.demo.standins import Answer, GeneratorStandIn
from email_orchestrator.errors import Kind, ServiceError

URL = "http://127.0.0.1:8002"


@pytest.fixture
def generator() -> Iterator[GeneratorStandIn]:
    with GeneratorStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def test_a_draft_is_asked_for_with_all_that_the_generator_knows(generator: GeneratorStandIn) -> None:
    context = 'line one\r\n"Line Two" 👍 \ud800'
    draft = AiReplyGenerator(generator.url, 5).generate("<a/b@example.com>", "casual", 400, context)
    asked = generator.requests[0]
    assert (asked.email_message_id, asked.tone, asked.max_length) == ("<a/b@example.com>", "casual", 400)
    assert asked.context_instructions == context
    assert (draft.draft_id, draft.model) == ("00000001", "stand-in-1")
    assert draft.tokens > 0
    assert generator.health_calls == 0


def test_a_draft_is_cleaned(generator: GeneratorStandIn) -> None:
    generator.script(
        Answer(body={"draft_id": "A\x00B", "full_draft": "\r\n Hello\x00,\r\nyes. \ud800\n", "tokens_used": 5})
    )
    draft = AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "professional", None, None)
    assert (draft.draft_id, draft.text, draft.model, draft.tokens) == ("AB", "Hello,\nyes. \ufffd", "", 5)


@pytest.mark.parametrize("draft", [None, "", "  \n", "\x00\x07", 17, ["text"], {"text": "x"}])
def test_an_answer_without_a_draft_is_transient(generator: GeneratorStandIn, draft: object) -> None:
    generator.script(Answer(body={"draft_id": "A7B2C3D4", "full_draft": draft}))
    with pytest.raises(ServiceError, match="no draft") as caught:
        AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "professional", None, None)
    assert caught.value.kind is Kind.TRANSIENT


@pytest.mark.parametrize("tokens", [None, "12", 1.5, -1, 2**40, True])
def test_a_draft_with_odd_figures_is_still_a_draft(generator: GeneratorStandIn, tokens: object) -> None:
    answer = {"draft_id": 7, "full_draft": "Hello there", "model_version": None, "tokens_used": tokens}
    generator.script(Answer(body=answer))
    draft = AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "professional", None, None)
    assert (draft.draft_id, draft.text, draft.model, draft.tokens) == ("", "Hello there", "", 0)


def test_the_reason_a_draft_was_rejected_is_kept(generator: GeneratorStandIn) -> None:
    generator.write = lambda _: "Best regards, [Your Name]"
    with pytest.raises(ServiceError, match=r"400 Bad Request: Generated reply validation failed: .*placeholder"):
        AiReplyGenerator(generator.url, 5).generate("<a@example.com>", "professional", None, None)


def test_what_became_of_a_draft_is_told(generator: GeneratorStandIn) -> None:
    client = AiReplyGenerator(generator.url, 5)
    client.record_action("A7B2C3D4", "approve")
    client.record_action("od?d id", "edit")
    told = [(action.draft_id, action.action, action.edited_text) for action in generator.actions]
    assert told == [("A7B2C3D4", "approve", None), ("od?d id", "edit", None)]


def test_an_empty_answer_to_what_was_told_is_fine(mocked: responses.RequestsMock) -> None:
    mocked.put(f"{URL}/drafts/A%2FB/action", status=204)
    AiReplyGenerator(URL, 5).record_action("A/B", "ignore")
