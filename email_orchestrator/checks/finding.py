"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..errors import (
    AccountError,
    Kind,
    OrchestratorError,
    SchemaMismatch,
    ServiceError,
    SettingsError,
    Trouble,
    WrongInstallation,
)


class Grade(StrEnum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"  # the service works without it, but not as well
    AWAY = "away"  # it does not work now, and may do so later by itself
    WRONG = "wrong"  # it will not work until somebody changes a setting
    FAILED = "failed"  # it does not work, and waiting does not help


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing is: a name, a sentence that says it, and where something is amiss one that says how to mend it."""

    name: str
    grade: Grade
    says: str
    mend: str = ""


def trouble(name: str, error: OrchestratorError, mend: str, *, only_warn: bool = False) -> Finding:
    """Make the finding of an error."""
    says = error.message if isinstance(error, ServiceError) else str(error)
    return Finding(name, Grade.WARNING if only_warn else _grade(error), says, mend)


def _grade(error: OrchestratorError) -> Grade:
    if isinstance(error, AccountError):
        return Grade.WRONG if error.trouble is Trouble.CREDENTIALS else Grade.AWAY
    if isinstance(error, ServiceError):
        return Grade.FAILED if error.kind is Kind.PERMANENT else Grade.AWAY
    return Grade.WRONG if isinstance(error, SettingsError | SchemaMismatch | WrongInstallation) else Grade.AWAY
