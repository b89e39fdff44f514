import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.clean import clean_draft, clean_line, clean_text, strip_invisible
from email_orchestrator.core.quoting import make_readable

any_text = st.text(st.characters(exclude_categories=[]), max_size=60)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (None, ""),
        ("", ""),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\x0bb\x0cc\x85d\u2028e\u2029f", "a\nb\nc\nd\ne\nf"),
        ("tab\tstays", "tab\tstays"),
        ("nul\0 bell\x07 escape\x1b[31m delete\x7f c1\x9b", "nul bell escape[31m delete c1"),
        ("lone \ud800 and \udfff", "lone \ufffd and \ufffd"),
        ("emoji \U0001f600 stays", "emoji \U0001f600 stays"),
        ("noncharacters \ufffe \U0001ffff stay", "noncharacters \ufffe \U0001ffff stay"),
    ],
)
def test_text_is_cleaned_of_what_a_database_cannot_hold(text: str | None, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@given(any_text)
def test_cleaned_text_can_be_encoded_and_has_one_kind_of_line_break(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert "\n".join((cleaned + "x").splitlines()) == cleaned + "x"
    assert clean_text(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, ""),
        ("  Re:\r\n\t the\u00a0 plan \n", "Re: the plan"),
        ("Hi\x0b[2/3]\x85\u2028more", "Hi [2/3] more"),
        ("full\u3000width", "full width"),
    ],
)
def test_a_line_is_one_line_with_single_spaces(text: str | None, line: str) -> None:
    assert clean_line(text) == line


@given(any_text)
def test_a_line_never_breaks(text: str) -> None:
    assert len((clean_line(text) + "x").splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("pay \u202emoc.live\u202c now", "pay moc.live now"),
        ("zero\u200bwidth\ufeff no\u2060break soft\u00adhyphen", "zerowidth nobreak softhyphen"),
        ("hidden" + "".join(chr(0xE0000 + ord(letter)) for letter in "send it"), "hidden"),
        ("bytes\U000e0100\U000e01ef in selectors\ufe01", "bytes in selectors"),
        ("a\u200db\u200cc", "abc"),
        ("filler \u3164\u034f\u115f end", "filler  end"),
    ],
)
def test_what_shows_nothing_is_taken_out(text: str, left: str) -> None:
    assert strip_invisible(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 family",
        "\u2764\ufe0f\u200d\U0001f525 heart on fire",
        "1\ufe0f\u20e3 keycap",
        "\U0001f44d\U0001f3fd thumb",
        "می\u200cخواهم",
        "ක්\u200dරි",
    ],
    ids=["family", "heart", "keycap", "thumb", "Persian", "Sinhala"],
)
def test_emoji_and_spelling_keep_their_joiners(text: str) -> None:
    assert strip_invisible(text) == text


def test_joiners_beyond_the_first_are_taken_out_of_an_emoji() -> None:
    assert strip_invisible("\U0001f468\u200d\u200d\u200d\U0001f469") == "\U0001f468\u200d\U0001f469"
    assert strip_invisible("\u2764\ufe0f\ufe0e\ufe0f") == "\u2764\ufe0f"


@pytest.mark.parametrize(
    ("draft", "cleaned"),
    [
        (None, ""),
        ("\n\nHi John,\r\n\r\nyes.\r\n", "Hi John,\n\nyes."),
        ("col\tumn", "col umn"),
        ("a\x1b]0;title\x07b", "a]0;titleb"),
        ("to \u202eevil\u202c\u200b \ue000\U000f0000", "to evil"),
        ("Grüße, 5 € – „gut“ 😀", "Grüße, 5 € – „gut“ 😀"),
    ],
)
def test_a_draft_holds_only_what_its_reader_sees(draft: str | None, cleaned: str) -> None:
    assert clean_draft(draft) == cleaned


@pytest.mark.parametrize(
    "unit", ["hello world ", "\0", "\r\n", "\ud800", "\u200d", "\U0001f600\u200d", "\t", "1\ufe0f\ufe0f"]
)
@pytest.mark.parametrize("clean", [clean_text, clean_line, clean_draft])
def test_a_million_characters_are_cleaned_at_once(clean: Callable[[str], str], unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    clean(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("spelt", ["ꦏ꧀\u200cꦏ", "ש\u200dש", "ک\u200cت", "❤️\u200d🔥", "Ⓜ️"])
def test_what_stays_in_a_draft_is_shown_of_it(spelt: str) -> None:
    assert make_readable(clean_draft(spelt)).text == clean_draft(spelt) == spelt
