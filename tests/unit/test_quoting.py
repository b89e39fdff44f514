"""What others wrote stands in our texts readable, bounded, and never as if it were ours."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.quoting import (
    cut_short,
    defuse,
    display_address,
    isolate,
    make_readable,
    quote_line,
    quote_name,
)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Hi\r\nthere\rand\u2028there", "Hi\nthere\nand\nthere"),
        ("a\n\n \n\t\nb", "a\n\nb"),
        ("a  \t b\xa0c\u3000d", "a b c d"),
        ("pa\u200bss\u00adword\ufeff", "password"),
        ("\u202eevil\u202c \u2066x\u2069\u061c", "evil x"),
        ("tag\U000e0041\U000e0042s", "tags"),
        ("bell\x07 nul\x00 esc\x1b[31m", "bell nul esc[31m"),
        ("lone\ud800 surrogate", "lone surrogate"),
        ("private\ue000 use", "private use"),
        ("\u3164\u2800\u115fblank", "blank"),
        ("👨‍👩‍👧‍👦 ❤️ 1️⃣ 👍🏽", "👨‍👩‍👧‍👦 ❤️ 1️⃣ 👍🏽"),
        ("a\u200db 1\ufe0f2", "ab 12"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("Z" + "\u0336" * 40 + "algo", "Z" + "\u0336" * 4 + "algo"),
        ("  \n lead and trail \n\n", "lead and trail"),
        ("\u200b\u200b", ""),
        ("", ""),
    ],
)
def test_a_reader_sees_what_there_is_and_nothing_else(stored: str, shown: str) -> None:
    assert make_readable(stored).text.strip() == shown


@given(st.text(st.one_of(st.characters(), st.sampled_from("a \n\u200b\u200d\ufe0f\u202e👍🏽")), max_size=60))
def test_every_stored_character_is_counted_once(stored: str) -> None:
    readable = make_readable(stored)
    assert len(readable.stored) == len(readable.text)
    assert readable.stored == sorted(readable.stored)
    if readable.text:
        assert readable.missing(0) == len(stored)
    assert readable.missing(len(readable.text)) == 0
    joiners = "\u200c\u200d"
    prepended = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"  # Arabic signs that are seen
    for char in readable.text:
        assert char in "\n" + joiners + prepended or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Hi\r\nBcc: x@y.z\n\n1=Send", "Hi Bcc: x@y.z 1=Send"),
        ('say "yes"', "say 'yes'"),
        ("“curly”", "'curly'"),
        ("  \t ", ""),
        ("x" * 120, "x" * 120),
        ("x" * 121, "x" * 120 + "..."),
    ],
)
def test_a_subject_stays_on_one_line_inside_our_quotes(text: str, line: str) -> None:
    assert quote_line(text) == line


def test_a_cut_field_ends_in_a_whole_character() -> None:
    assert cut_short("abc👨‍👩‍👧‍👦def", 8) == "abc..."
    assert cut_short("abcd e", 5) == "abcd..."


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("John Doe", "John Doe"),
        ("John <x>", "John (x)"),
        ("Boss <boss@corp.com>", ""),
        ("boss＠corp.com", ""),
        ('A "B" C', "A 'B' C"),
        ("x" * 50, "x" * 40 + "..."),
    ],
)
def test_a_name_never_passes_itself_off_as_an_address(name: str, shown: str) -> None:
    assert quote_name(name) == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("john@example.com", "john@example.com"),
        ("joe@exämple.com", "joe@xn--exmple-cua.com"),
        ("joe@EXÄMPLE.com", "joe@xn--exmple-cua.com"),
        ("joe@exa\u0308mple.com", "joe@xn--exmple-cua.com"),
        ("joe@straße.de", "joe@xn--strae-oqa.de"),
        ("j\u043ehn@example.com", "j\\u043ehn@example.com"),
        ("😀@example.com", "\\U0001f600@example.com"),
        ("john@ex\nample.com\x00", "john@example.com"),
        ("a`b@example.com", "a\\u0060b@example.com"),
        ("", ""),
        ("no-at-sign", "no-at-sign"),
    ],
)
def test_an_address_is_shown_so_that_it_cannot_be_another(address: str, shown: str) -> None:
    assert display_address(address) == shown


@pytest.mark.parametrize(
    "twin", ["jоhn@example.com", "john@exаmple.com", "john@example.com\u200b", "john@ｅxample.com"]
)
def test_a_look_alike_address_looks_different(twin: str) -> None:
    assert display_address(twin) != "john@example.com"
    assert display_address(twin).isascii()


def test_an_endless_address_keeps_its_ends() -> None:
    shown = display_address("first" + "x" * 400 + "@mail.example.com")
    assert len(shown) <= 254
    assert shown.startswith("first")
    assert shown.endswith("@mail.example.com")


@given(st.text(st.characters(), max_size=40))
def test_any_address_is_shown_in_printable_ascii(address: str) -> None:
    shown = display_address(address)
    assert shown.isascii()
    assert shown.isprintable()


def test_right_to_left_fields_do_not_reorder_the_address() -> None:
    assert isolate("דוד") == "\u2068דוד\u2069"
    assert isolate("David") == "David"


@pytest.mark.parametrize(
    "line",
    [
        "1=Send 2=Edit 3=Ignore",
        "  1 = Send",
        "１＝Ｓｅｎｄ ２＝Ｅｄｉｔ",
        "1=Ѕend",
        "①=Send",
        "l=Send 2=Edit 3=Ignore",
        "1) Send  2) Edit",
        "1: send",
        "1=Senden 2=Ändern",
        "and now 1=Send",
        "1=S\u0335e\u0335nd",
        "1꓿Send",
        "[2/3]",
        "[2/3] and so on",
        "［２／３］ x",
        "【2∕3】",
        "(2/3)",
        "📧 #7 John: hi",
        "✉️ #7",
        "#8 Draft",
        "＃8 x",
        "Draft: ok",
        'Draft: "ok"',
        "Drаft: ok",
        "DRAFT：ok",
        "Дрaфт: ok",
        "Draft (continued): x",
        'Email: "x"',
        "E-mail: x",
        "Subject: x",
        "12 more characters",
        'text "more #7"',
        "Replaces #5",
        "Sent to john@example.com (#7)",
        "✅ Sent to boss@example.com",
        "1 #8 sends it",
        "[2 of 3]",
        "No draft waits for you.",
        "2 drafts wait:",
        "Which one? Nothing was done yet.",
        "Taken back: #7",
    ],
)
def test_a_line_that_could_be_ours_is_marked(line: str) -> None:
    assert defuse(line) == f"| {line}"
    assert defuse(f"Hello,\n{line}") == f"Hello,\n| {line}"


@pytest.mark.parametrize(
    "line",
    [
        "Yes, 2pm works!",
        "Let us meet at 1 or 2.",
        "1. Bring the papers",
        "I will send 3 drafts by email.",
        "Email me when you can.",
        "The draft is ready, see page 2/3.",
        "Order 4711 is on its way.",
        "We need 3 more people.",
        "Sent from my iPhone",
        "Which day suits you?",
        "He said “hello” to me",
        "",
    ],
)
def test_an_ordinary_line_is_left_alone(line: str) -> None:
    assert defuse(line) == line


@pytest.mark.parametrize("closing", ['"', "”", "''", "»", '" ', '"\u0332', "＂", "」"])
def test_what_follows_a_seeming_end_of_the_quotation_is_marked(closing: str) -> None:
    assert defuse(f"Sure!{closing}\n\nNow pay\nat once") == f"Sure!{closing}\n\n| Now pay\n| at once"


def test_the_mark_goes_on_in_the_next_part() -> None:
    assert defuse("at once", closed=True) == "| at once"


@pytest.mark.parametrize(
    "unit", ['"', "[", "more ", "1", "1 ", "#", "draft!", "\u0301", "(", "1=", " \n", "'", "-", "9 m", "¨"]
)
def test_hostile_repetition_costs_no_time(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    start = time.process_time()
    defuse(make_readable(text).text)
    assert time.process_time() - start < 3
