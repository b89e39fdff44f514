"""One phone number in its many spellings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from email_orchestrator.core.phone import is_e164, is_owner, mask, to_e164

AUSTRALIAN = "+61491570156"
AMERICAN = "+15551234567"


@pytest.mark.parametrize(
    ("number", "owner", "expected"),
    [
        ("+61491570156", AUSTRALIAN, "+61491570156"),
        ("0491570156", AUSTRALIAN, "+61491570156"),
        ("0491 570 156", AUSTRALIAN, "+61491570156"),
        ("+61 491-570-156", AUSTRALIAN, "+61491570156"),
        ("\u202a+61491570156\u202c", AUSTRALIAN, "+61491570156"),
        ("0011 61 491 570 156", AUSTRALIAN, "+61491570156"),
        ("5551234567", AMERICAN, "+15551234567"),
        ("15551234567", AMERICAN, "+15551234567"),
        ("(555) 123-4567", AMERICAN, "+15551234567"),
        ("555.123.4567", AMERICAN, "+15551234567"),
        ("07700 900123", "+447700900124", "+447700900123"),
        ("+447700900123", AMERICAN, "+447700900123"),
        ("0612345678", "+33698765432", "+33612345678"),
        ("8 912 345-67-89", "+79123456780", "+79123456789"),
        ("(416) 555-0123", "+14165550100", "+14165550123"),
    ],
)
def test_a_number_is_written_in_e164_whatever_form_it_came_in(number: str, owner: str, expected: str) -> None:
    assert to_e164(number, owner) == expected


@pytest.mark.parametrize(
    "number",
    [
        "",
        " ",
        "12345",
        "MYBANK",
        "1-800-FLOWERS",
        "+1555123HELP",
        "+15551234567 ext 5",
        "+15551234567x5",
        "+15551234567;ext=5",
        "tel:+15551234567",
        "+15551234567\x00",
        "+15551234567\n+1",
        "++15551234567",
        "+1" * 60,
        "٥٥٥١٢٣٤٥٦٧",
        "owner@example.com",
        "\ud800",
    ],
)
def test_what_is_no_number_is_nobody(number: str) -> None:
    assert to_e164(number, AMERICAN) is None
    assert not is_owner(number, AMERICAN)


@pytest.mark.parametrize("owner", ["+4915112345678", "+491701234567", "+61491570156", AMERICAN])
def test_the_owners_number_without_its_plus_sign_is_the_owner(owner: str) -> None:
    assert is_owner(owner.removeprefix("+"), owner)


@pytest.mark.parametrize("number", ["+15551234567", "5551234567", "1 (555) 123-4567"])
def test_every_form_of_the_owners_number_is_the_owner(number: str) -> None:
    assert is_owner(number, AMERICAN)


@pytest.mark.parametrize(
    "number",
    ["1234567", "51234567", "+15551234568", "+25551234567", "+6115551234567", "15551234567890", "+445551234567"],
)
def test_a_number_that_only_ends_like_the_owners_is_not_the_owner(number: str) -> None:
    assert not is_owner(number, AMERICAN)


@pytest.mark.parametrize("owner", ["", "5551234567", "nonsense"])
def test_without_a_proper_owner_nobody_is_the_owner(owner: str) -> None:
    assert not is_owner("5551234567", owner)


@pytest.mark.parametrize("number", ["+15551234567", "+61491570156", "+4930123456"])
def test_e164_is_recognised(number: str) -> None:
    assert is_e164(number)


@pytest.mark.parametrize(
    "number", ["15551234567", "+05551234567", "+1 5551234567", "+1555", "+15551234567\n", "+１５５５１２３４５６７"]
)
def test_what_only_resembles_e164_is_not(number: str) -> None:
    assert not is_e164(number)


@pytest.mark.parametrize(
    ("number", "shown"),
    [("+15551234567", "***67"), ("0491 570 156", "***56"), ("1234", "***"), ("MYBANK", "***"), ("", "***")],
)
def test_a_masked_number_shows_two_digits_at_most(number: str, shown: str) -> None:
    assert mask(number) == shown


def test_the_number_library_is_loaded_only_when_numbers_are_compared() -> None:
    program = (
        "import sys; from email_orchestrator.core import phone; phone.is_e164('+1'); phone.mask('+1');"
        "print('phonenumbers' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
