"""One round by hand: everything that is due, in one thread, until nothing is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from ..errors import ServiceError
from . import answering, drafting, emailing, intake, receiving, replying, texting, upkeep
from .desk import Desk
from .ports import Gateway, Generator, Mailer, Monitor, SentMail

log = logging.getLogger(__name__)


class Outside(Protocol):
    """The outside systems of a round."""

    @property
    def monitor(self) -> Monitor | None:
        """Lists new emails; None when the database is read directly."""

    @property
    def generator(self) -> Generator:
        """Writes drafts."""

    @property
    def gateway(self) -> Gateway:
        """Texts the owner."""

    @property
    def mailer(self) -> Mailer:
        """Sends replies."""

    @property
    def sent_mail(self) -> SentMail | None:
        """Knows what was sent."""


def work_through(desk: Desk, outside: Outside, lookback_hours: float | None = None) -> ServiceError | None:
    """Take new emails and do all the work that is due; returns the trouble with the Email Monitor, if it was away."""
    try:
        receiving.fetch_missed_texts(desk, outside.gateway)
    except ServiceError as error:
        log.warning("%s", error)
    answering.answer_all(desk)
    away: ServiceError | None = None
    try:
        intake.poll(desk, outside.monitor, lookback_hours)
    except ServiceError as error:
        away = error
    upkeep.check_timeouts(desk)
    upkeep.offer_stranded(desk)
    steps: list[Callable[[], bool]] = [
        lambda: answering.answer_one(desk),
        lambda: drafting.draft_one(desk, outside.generator),
        lambda: texting.text_one(desk, outside.gateway),
        lambda: replying.reply_one(desk, outside.mailer, outside.sent_mail),
        lambda: emailing.email_one(desk, outside.mailer),
    ]
    while True:
        busy = False
        for step in steps:
            while step():
                busy = True
        if busy:
            continue
        if not texting.in_the_middle(desk) or desk.wait(desk.policy.part_gap):
            break
    return away
