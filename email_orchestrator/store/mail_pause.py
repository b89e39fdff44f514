"""The pause of all mail: while the account is in trouble, no reply is tried and no workflow is to blame."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from . import memory
from .transaction import Transaction

# The end of a pause that only a person can end: a date far off, for it is compared with the time.
UNTIL_A_PERSON_ACTS = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that ends by itself at `until`: what the trouble is, what the server said, how many there were on end."""

    until: datetime
    trouble: str
    message: str
    pauses: int

    @property
    def waits_for_a_person(self) -> bool:
        """Whether only a person can end it."""
        return self.until == UNTIL_A_PERSON_ACTS

    def lasts(self, now: datetime) -> bool:
        """Say whether it is not over yet."""
        return self.until > now


def recall(tx: Transaction) -> Pause | None:
    """Return the last pause, over or not, or None when mail has gone out since."""
    return to_pause(memory.recall(tx, memory.MAIL_PAUSE))


def to_pause(value: dict[str, Any] | None) -> Pause | None:
    """Make a Pause of what is remembered under `memory.MAIL_PAUSE`."""
    return Pause(**value | {"until": datetime.fromisoformat(value["until"])}) if value else None


def lasts(tx: Transaction) -> bool:
    """Say whether all mail rests for now."""
    pause = recall(tx)
    return pause is not None and pause.lasts(tx.now)


def remember(tx: Transaction, pause: Pause) -> None:
    """Begin a pause, in place of one that there was."""
    memory.remember(tx, memory.MAIL_PAUSE, asdict(pause))


def forget(tx: Transaction) -> None:
    """End the pause, if there is one."""
    memory.forget(tx, memory.MAIL_PAUSE)
