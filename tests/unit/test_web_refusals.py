"""Counting refusals by source."""

from __future__ import annotations

import logging

import pytest

from email_orchestrator.web.refusals import LIMIT, SOURCES, WINDOW, Refusals


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_source_is_told_to_wait_after_sixty_refusals_in_a_minute() -> None:
    refusals = Refusals(clock=Clock())
    assert [refusals.count("192.0.2.1") for _ in range(LIMIT)] == [None] * LIMIT
    assert refusals.count("192.0.2.1") == WINDOW


def test_other_sources_are_not_told_to_wait() -> None:
    refusals = Refusals(clock=Clock())
    for _ in range(LIMIT + 1):
        refusals.count("192.0.2.1")
    assert refusals.count("192.0.2.2") is None


def test_the_wait_grows_shorter_and_ends() -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)
    for _ in range(LIMIT):
        refusals.count("192.0.2.1")
    clock.now += 45
    assert refusals.count("192.0.2.1") == WINDOW - 45
    clock.now += 15
    assert refusals.count("192.0.2.1") is None


def test_memory_is_bounded_however_many_sources_knock() -> None:
    refusals = Refusals(clock=Clock())
    for n in range(3 * SOURCES):
        refusals.count(f"2001:db8::{n:x}")
    assert len(refusals) == SOURCES


def test_a_source_that_keeps_knocking_is_not_forgotten_for_new_ones() -> None:
    refusals = Refusals(clock=Clock())
    for _ in range(LIMIT):
        refusals.count("192.0.2.1")
    for n in range(SOURCES - 1):
        refusals.count(f"2001:db8::{n:x}")
    assert refusals.count("192.0.2.1") is not None


def test_the_log_mentions_a_source_once_in_a_window(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(clock=Clock())
    with caplog.at_level(logging.WARNING):
        for _ in range(5 * LIMIT):
            refusals.count("192.0.2.1")
    assert len(caplog.records) == 1
