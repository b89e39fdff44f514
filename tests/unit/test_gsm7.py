"""What GSM phones cannot show is said in words they can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.gsm7 import BASIC, EXTENSION, is_gsm7, reads_in_gsm7, to_gsm7


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("“Hello” ‘you’ «there» „so“", '"Hello" \'you\' "there" "so"'),
        ("a–b—c−d‐e", "a-b-c-d-e"),
        ("wait…", "wait..."),
        ("a\xa0b\u2009c\td", "a b c d"),
        ("naïve façade, ça va, Łódź, œuvre", "naive facade, ca va, Lodz, oeuvre"),
        ("déjà vu, Ärger, Straße, mañana, Ø", "déjà vu, Ärger, Straße, mañana, Ø"),
        ("e\u0301 and q\u0303", "é and q"),
        ("３ × ＡＢ", "3 x AB"),
        ("1½ hours, 10² m, ①, Ⅳ, ﬁn, 5㎏", "1 1/2 hours, 10^2 m, (1), IV, fin, 5kg"),
        ("٣ pm, 20°C, 5 ≤ 6, 99 €, ₹5, ™", "3 pm, 20degC, 5 <= 6, 99 €, Rs5, TM"),
        ("Great 👍🏽 🎉", "Great (thumbs up) (party popper)"),
        ("🙂 ❤️ ⚠️", ":) <3 (!)"),
        ("👨‍👩‍👧", "(man)(woman)(girl)"),
        ("🇦🇺 1️⃣", "AU 1"),
        ("Привет, Щука", "Privet, Shchuka"),
        ("Ελλάδα", "Ellada"),
        ("שלום", "shlvm"),
        ("مرحبا، نعم", "mrhba, n'm"),
        ("こんにちは 한글", "konnitiha hangeul"),
        ("你好", "??"),
        ("a\u200bb\u202ec\ue000d", "abcd"),
        ("`code`", "'code'"),
        ("【a】", "(a)"),
    ],
)
def test_a_text_stays_readable(text: str, written: str) -> None:
    assert to_gsm7(text) == written


@pytest.mark.parametrize("text", ["Why? ¿Por qué? Why？ ⁇ مرحبا؟", "Great 👍🏽", "Привет", "こんにちは 한글", ""])
def test_whoever_asks_or_writes_another_alphabet_can_be_read(text: str) -> None:
    assert reads_in_gsm7(text)


@pytest.mark.parametrize("text", ["你好", "Hello 你", "สวัสดี", "of a newer Unicode \U0001fa7a\U0001faff"])
def test_what_has_no_counterpart_cannot_be_read(text: str) -> None:
    assert not reads_in_gsm7(text)


def test_what_the_alphabet_has_stays_as_it_is() -> None:
    assert to_gsm7(BASIC + EXTENSION) == BASIC + EXTENSION


@given(st.text(st.characters(), max_size=40))
def test_the_result_is_always_pure(text: str) -> None:
    assert is_gsm7(to_gsm7(text))


def test_every_character_of_the_first_planes_has_a_pure_counterpart() -> None:
    assert is_gsm7("".join(to_gsm7(chr(code)) for code in range(0x20, 0x1FB00, 7)))
