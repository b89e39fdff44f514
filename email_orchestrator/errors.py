"""The error family: every failure the program expects is one of these, and each carries a sentence for a person."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class OrchestratorError(Exception):
    """A failure that was foreseen; its text is one clear sentence and never holds a secret or an email's body."""


class SettingsError(OrchestratorError):
    """The settings are wrong; `problems` holds one sentence for each mistake, all of them at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class DatabaseUnavailable(OrchestratorError):
    """PostgreSQL cannot be reached or dropped the connection; as far as is known, the work was not committed."""


class DatabaseRefused(DatabaseUnavailable):
    """PostgreSQL answers, and does not let us in or allow us something: it works again once somebody has changed that.

    `says` is what is wrong, `mend` a sentence on what to do.
    """

    def __init__(self, says: str, mend: str) -> None:
        self.says = says
        self.mend = mend
        super().__init__(f"{says}. {mend}")


class WrongInstallation(OrchestratorError):
    """Something that the service needs on this machine is missing or not as it must be: a new start changes nothing."""


class SchemaMismatch(OrchestratorError):
    """The database's schema is missing, older or newer than this program's."""


class NotFound(OrchestratorError):
    """There is no workflow of that number or Message-ID."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no workflow {name}.")


class WrongState(OrchestratorError):
    """The workflow is in a state that does not allow what was asked; the text says which and what happened to it."""


class Kind(StrEnum):
    """What an outside system's failure means for the caller."""

    TRANSIENT = "transient"  # certainly not done: try again later
    PERMANENT = "permanent"  # certainly not done: trying again would fail the same way
    UNKNOWN = "unknown"  # it may have been done: find out before anything is repeated


class ServiceError(OrchestratorError):
    """An outside system failed.

    `service` names it (`AI Reply Generator`), `message` says what it answered in words fit for a log and a text
    message, `kind` what that means, and `retry_after` how many seconds it asked us to wait, when it did.
    """

    def __init__(self, service: str, message: str, kind: Kind, retry_after: float | None = None) -> None:
        self.service = service
        self.message = message
        self.kind = kind
        self.retry_after = retry_after
        super().__init__(f"{service}: {message}")


class Trouble(StrEnum):
    """What is wrong with the mail account as a whole."""

    BUSY = "busy"  # too many logins, or the server asks us to come back: wait minutes
    DAILY_LIMIT = "daily limit"  # the account's quota for the day is used up: wait hours
    CREDENTIALS = "credentials"  # the password is refused: a person must act


class AccountError(ServiceError):
    """The mail account, not the message, is in trouble: nothing was sent, and no message is to blame."""

    def __init__(self, service: str, message: str, trouble: Trouble) -> None:
        self.trouble = trouble
        super().__init__(service, message, Kind.TRANSIENT)
