from __future__ import annotations

from email_orchestrator.core.edit_context import edit_context


def test_the_draft_and_every_instruction_are_there_word_for_word_and_in_order() -> None:
    wishes = ["Say NO\nbut kindly", 'quote "me" 100 %', "shorter"]
    context = edit_context("Dear John,\n\nyes.", wishes)
    assert "Dear John,\n\nyes." in context
    places = [context.index(wish) for wish in wishes]
    assert places == sorted(places)
    assert "1. Say NO\nbut kindly" in context
    assert "3. shorter" in context


def test_the_instructions_stand_after_the_draft_they_change() -> None:
    context = edit_context("DRAFT", ["WISH"])
    assert context.index("DRAFT") < context.index("WISH")
