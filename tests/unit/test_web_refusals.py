"""Counting refusals by source."""

from __future__ import annotations

import logging

import pytest

from email_orchestrator.web.refusals import LIMIT, NEWS, SOURCES, WINDOW, Refusals


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_source_is_told_to_wait_after_sixty_refusals_in_a_minute() -> None:
    refusals = Refusals(clock=Clock())
    assert [refusals.count("192.0.2.1", "401") for _ in range(LIMIT)] == [None] * LIMIT
    assert refusals.count("192.0.2.1", "401") == WINDOW


def test_other_sources_are_not_told_to_wait() -> None:
    refusals = Refusals(clock=Clock())
    for _ in range(LIMIT + 1):
        refusals.count("192.0.2.1", "401")
    assert refusals.count("192.0.2.2", "401") is None


def test_the_wait_grows_shorter_and_ends() -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)
    for _ in range(LIMIT):
        refusals.count("192.0.2.1", "401")
    clock.now += 45
    assert refusals.count("192.0.2.1", "401") == WINDOW - 45
    clock.now += 15
    assert refusals.count("192.0.2.1", "401") is None


def test_memory_is_bounded_however_many_sources_knock() -> None:
    refusals = Refusals(clock=Clock())
    for n in range(3 * SOURCES):
        refusals.count(f"2001:db8:{n:x}::1", "401")
    assert len(refusals) == SOURCES


def test_a_source_that_keeps_knocking_is_not_forgotten_for_new_ones() -> None:
    refusals = Refusals(clock=Clock())
    for _ in range(LIMIT):
        refusals.count("192.0.2.1", "401")
    for n in range(SOURCES - 1):
        refusals.count(f"2001:db8:{n:x}::1", "401")
    assert refusals.count("192.0.2.1", "401") is not None


def test_all_addresses_of_one_ipv6_network_are_one_source() -> None:
    refusals = Refusals(clock=Clock())
    for n in range(LIMIT):
        refusals.count(f"2001:db8::{n:x}", "401")
    assert refusals.count("2001:db8::ffff:1", "401") is not None
    assert refusals.count("2001:db8:0:1::1", "401") is None
    assert len(refusals) == 2


def test_an_ipv4_address_is_the_same_source_in_its_ipv6_form() -> None:
    refusals = Refusals(clock=Clock())
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"):
        refusals.count(address, "401")
    assert len(refusals) == 2


def test_the_log_says_each_reason_once_in_a_window_and_once_that_it_was_too_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(2 * LIMIT):
            refusals.count("192.0.2.1", "401, it is not signed.")
            refusals.count("192.0.2.1", "400, it is not JSON.")
            refusals.count("192.0.2.1", "401, it is not signed.")
        for n in range(2 * LIMIT):
            refusals.count("192.0.2.1", f"400, another reason {n}.")
    assert caplog.messages == [
        "refused a request from 192.0.2.1: 401, it is not signed.",
        "refused a request from 192.0.2.1: 400, it is not JSON.",
        "more than 60 requests from 192.0.2.1 were refused within a minute",
    ]
    clock.now += WINDOW
    refusals.count("192.0.2.1", "401, it is not signed.")
    assert len(caplog.messages) == 4


def test_however_many_sources_knock_the_log_stays_short(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)
    with caplog.at_level(logging.WARNING):
        for n in range(2 * SOURCES):
            refusals.count(f"2001:db8:{n:x}::1", "401")
    assert len(caplog.messages) == NEWS
    clock.now += WINDOW
    refusals.count("192.0.2.1", "401")
    assert len(caplog.messages) == NEWS + 1
