"""The demo: somebody plays the phone, a person in the terminal or a script."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import click

from . import inbox, screen, script
from .stage import DemoFailed, Stage, set_stage

HELP = (
    "You are the phone. Answer the texts: 1 sends, 2 <what to change> rewrites, 3 leaves it.\n"
    "Beside that: `mail` lets another email come in, `quit` ends the demo."
)
T = TypeVar("T")
LISTENED_EVERY = 0.2
SETTLED_AFTER = 20.0


def as_here(show: Callable[[T], None]) -> Callable[[T], None]:
    """Have something shown on a stand-in's thread as it would be on this one: with colours or without."""
    context = click.get_current_context()

    def shown(item: T) -> None:
        with context.scope(cleanup=False):
            show(item)

    return shown


def play(*, auto: bool, mailbox: Path | None) -> int:
    """Play the demo; returns the exit code: 0 when everything was as it should be.

    `auto` plays a script, `mailbox` is a folder of .eml files that come in instead of the demo's own emails.
    """
    # A script does not mind how fast the parts of a text come.
    settings = {"SMS_PART_GAP": "0"} if auto or mailbox else {}
    settings |= {"MAX_AWAITING": "100000", "MAX_EMAILS_PER_POLL": "1000"} if mailbox else {}
    # A terminal that is closed ends the demo as Ctrl-C does, so that nothing is left behind.
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    screen.say("Starting PostgreSQL, the stand-ins and the daemon ...")
    try:
        with set_stage(settings) as stage:
            if not (auto and mailbox):
                # Whoever waits for something sees it before what comes of it.
                stage.gateway.sent.on_add = as_here(screen.show_text)
                stage.mail.mails.on_add = as_here(screen.show_mail)
            if mailbox is not None:
                rows = inbox.deliver_mailbox(stage, mailbox)
                screen.say(f"{len(rows)} emails came in.")
                script.wait_until_all_are_settled(stage, len(rows))
                if auto:
                    return script.report_mailbox(stage)
            elif auto:
                return script.perform(stage)
            return _converse(stage, own_emails=mailbox is None)
    except DemoFailed as error:
        screen.say(f"The demo failed: {error}")
        return 1


def _converse(stage: Stage, *, own_emails: bool) -> int:
    """Let the person at the terminal play the phone until they have had enough."""
    delivered = 0
    with suppress(KeyboardInterrupt):
        screen.say(HELP)
        if own_emails:
            delivered = _deliver(stage, delivered)
        for text in typed_lines(sys.stdin.fileno()):
            if text.strip().lower() in ("quit", "exit"):
                break
            if text.strip().lower() == "mail":
                delivered = _deliver(stage, delivered)
            elif text.strip() and stage.gateway.text_from_owner(text) != 200:
                screen.say("The daemon did not take that text.")
        else:
            # Piped input ends before the daemon is done with it.
            _let_it_settle(stage)
    screen.say("That was it. README.md says how to set it up for real.")
    return 0


def typed_lines(number: int) -> Iterator[str]:
    """Yield the lines that are typed, or piped in, until their end.

    The wait is in short turns: Python acts on a signal between its own steps only, and one that comes between the last
    of them and a read that blocks would not be heard before the next line.
    """
    rest = b""
    while True:
        if not select.select([number], [], [], LISTENED_EVERY)[0]:
            continue
        some = os.read(number, 65536)
        if not some:
            break
        *lines, rest = (rest + some).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in lines)
    if rest:
        yield rest.decode("utf-8", "replace")


def _deliver(stage: Stage, number: int) -> int:
    sample = inbox.deliver(stage, number)
    screen.say(f'An email from {sample.sender} came in: "{sample.subject}"')
    return number + 1


def _let_it_settle(stage: Stage) -> None:
    deadline = time.monotonic() + SETTLED_AFTER
    while time.monotonic() < deadline and script.busy(stage):
        time.sleep(LISTENED_EVERY)
