"""All the checks, in the order in which one would mend things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..settings import Settings
from ..wiring import make_clients
from . import database, machine, services, webhook
from .finding import Finding


def check_everything(settings: Settings, env_file: Path | None, *, send_test_sms: bool = False) -> Iterator[Finding]:
    """Look at everything and yield each finding as it comes; reads only, unless a test text is asked for."""
    yield from machine.look(settings, env_file)
    ahead = yield from database.look(settings)
    clients = make_clients(settings)
    try:
        yield from services.look(settings, clients, ahead, send_test_sms=send_test_sms)
    finally:
        clients.mailer.close()
    yield from webhook.look(settings)
