"""What the web front works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..errors import DatabaseUnavailable
from ..settings import Network
from ..vitals import Vitals
from ..workflow.desk import Desk


def system_clock() -> datetime:
    """Return the time by this machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Front:
    """The desk behind the counter, the vital signs, and who may come in.

    `signing_keys` are those that a webhook may be signed with, `allow_from` the networks whose webhooks need no
    signature, `poll_interval` is in seconds, `lookback_hours` is how far back the poll looks. `not_stored` is told why
    a webhook's event could not be stored.
    """

    desk: Desk
    vitals: Vitals
    api_token: str | None = None
    signing_keys: tuple[str, ...] = ()
    allow_from: tuple[Network, ...] = ()
    poll_interval: float = 30.0
    lookback_hours: float = 24.0
    not_stored: Callable[[DatabaseUnavailable], None] = lambda _: None
    clock: Callable[[], datetime] = system_clock
