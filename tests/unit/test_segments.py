"""Segments are counted as phones and carriers count them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.gsm7 import BASIC, EXTENSION
from email_orchestrator.core.segments import fits, may_cut_at, measure, utf16_units

FAMILY = "👨‍👩‍👧‍👦"


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", "GSM-7", 0, 0),
        ("a", "GSM-7", 1, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("a" * 459, "GSM-7", 459, 3),
        ("a" * 158 + "€", "GSM-7", 160, 1),
        ("a" * 159 + "€", "GSM-7", 161, 2),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        ("a" * 152 + "€" + "a" * 151, "GSM-7", 305, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),
        ("“Hello”", "UCS-2", 7, 1),
        ("`", "UCS-2", 1, 1),
        ("ç", "UCS-2", 1, 1),
        ("Ç", "GSM-7", 1, 1),
        ("\t", "UCS-2", 1, 1),
        ("\xa0", "UCS-2", 1, 1),
        ("…", "UCS-2", 1, 1),
        ("\x1b", "UCS-2", 1, 1),
        ("—" * 70, "UCS-2", 70, 1),
        ("—" * 71, "UCS-2", 71, 2),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 36, "UCS-2", 72, 2),
        (FAMILY, "UCS-2", 11, 1),
        ("👍🏽", "UCS-2", 4, 1),
        ("🇺🇸", "UCS-2", 4, 1),
        ("a" * 159 + "😀", "UCS-2", 161, 3),
        ("a" * 66 + "😀" + "a" * 66, "UCS-2", 134, 3),
        ("a" * 67 + "😀" + "a" * 65, "UCS-2", 134, 2),
    ],
)
def test_a_text_costs_what_the_standard_says(text: str, encoding: str, units: int, segments: int) -> None:
    cost = measure(text)
    assert (cost.encoding, cost.units, cost.segments) == (encoding, units, segments)


def test_the_basic_table_has_every_position_but_the_escape() -> None:
    assert len(BASIC) == len(set(BASIC)) == 127
    # Positions of TS 23.038 §6.2.1 that are easily mistaken; after the escape (0x1B) all are one lower here.
    for position, char in {
        0x00: "@",
        0x09: "Ç",
        0x0A: "\n",
        0x10: "Δ",
        0x1A: "Ξ",
        0x24: "¤",
        0x40: "¡",
        0x7F: "à",
    }.items():
        assert BASIC[position if position < 0x1B else position - 1] == char


@pytest.mark.parametrize("char", BASIC)
def test_a_basic_character_takes_one_septet(char: str) -> None:
    assert measure(char * 160) == measure("a" * 160)


@pytest.mark.parametrize("char", EXTENSION)
def test_an_extension_character_takes_two_septets(char: str) -> None:
    assert (measure(char).encoding, measure(char).units) == ("GSM-7", 2)


def test_the_extension_table_is_that_of_the_standard() -> None:
    assert set(EXTENSION) == set("\f^{}\\[~]|€")


def _pack_one_by_one(text: str) -> int:
    """Count segments the slow way, character by character."""
    cost = measure(text)
    alone, joined = (160, 153) if cost.encoding == "GSM-7" else (70, 67)
    if cost.units <= alone:
        return min(cost.units, 1)
    segments, room = 1, joined
    for char in text:
        width = 1 + (char in EXTENSION if cost.encoding == "GSM-7" else char > "\uffff")
        if width > room:
            segments, room = segments + 1, joined
        room -= width
    return segments


@given(st.text(st.sampled_from("ab €[]é😀—"), max_size=400), st.sampled_from(["", "€", "😀"]))
def test_no_pair_is_split_over_two_segments(text: str, more: str) -> None:
    text += more
    cost = measure(text)
    assert cost.segments == _pack_one_by_one(text)
    assert cost.segments >= math.ceil(cost.units / (160 if cost.encoding == "GSM-7" else 70))


def test_a_lone_surrogate_is_counted_and_does_no_harm() -> None:
    assert measure("\ud83d").units == 1


def test_clusters_kept_whole_by_the_phone_can_cost_a_segment_more() -> None:
    text = ("a" * 60 + FAMILY) * 8  # 71 units each: the standard cuts inside a family, Android before it
    assert measure(text).segments == 9
    text = ("a" * 56 + FAMILY) * 8
    assert fits(text)
    text = "a" * 60 + FAMILY + "a" * 463
    assert measure(text).segments == 8
    assert not fits(text)


@pytest.mark.parametrize(
    ("text", "index", "place"),
    [
        ("plain", 3, 3),
        ("e\u0301a", 1, 0),
        ("a" + FAMILY + "b", 4, 1),
        ("a👍🏽", 2, 1),
        ("🇦🇺🇳🇿", 2, 2),
        ("🇦🇺🇳🇿", 3, 2),
        ("❤\ufe0fx", 1, 0),
        ("\u1100\u1161\u11a8", 2, 0),
        ("a\r\nb", 2, 1),
    ],
)
def test_a_cut_never_splits_what_reads_as_one_character(text: str, index: int, place: int) -> None:
    assert may_cut_at(text, index) == place


def test_a_heap_of_marks_is_cut_like_ordinary_text() -> None:
    assert may_cut_at("a" + "\u0301" * 500, 200) == 200


@pytest.mark.parametrize("text", ["", "abc", "é", "😀", "a😀b🇦🇺"])
def test_utf16_units_are_those_of_the_codec(text: str) -> None:
    assert utf16_units(text) == len(text.encode("utf-16-le")) // 2
