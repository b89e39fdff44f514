"""How a failure becomes one line and an exit code."""

from __future__ import annotations

import traceback

import click

from ..core.clean import clean_line
from ..errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    Kind,
    NotFound,
    OrchestratorError,
    SchemaMismatch,
    ServiceError,
    SettingsError,
    WrongInstallation,
    WrongState,
)
from . import common

# sysexits.h gives 75 and 78 their meaning; scripts depend on all of them.
FAILED, NOT_FOUND, WRONG_STATE, TEMPORARY, CONFIGURATION = 1, 3, 4, 75, 78


def exit_code(error: Exception) -> int:
    """Return the exit code that stands for a failure."""
    if isinstance(error, ServiceError):
        return FAILED if error.kind is Kind.PERMANENT else TEMPORARY
    codes: dict[type[Exception], int] = {
        NotFound: NOT_FOUND,
        WrongState: WRONG_STATE,
        DatabaseRefused: CONFIGURATION,
        DatabaseUnavailable: TEMPORARY,
        SettingsError: CONFIGURATION,
        SchemaMismatch: CONFIGURATION,
        WrongInstallation: CONFIGURATION,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


def _sentences(error: Exception) -> list[str]:
    """Say what went wrong, and what to do where that is known: one line for each mistake in the settings, else one."""
    match error:
        case SettingsError():
            lines = list(error.problems)
        case DatabaseRefused():
            lines = [str(error)]
        case DatabaseUnavailable():
            lines = [f"{error}. Check DB_HOST or DATABASE_URL, or try again later."]
        case NotFound():
            lines = [f"{error} `email-orchestrator list` shows what there is."]
        case OrchestratorError():
            lines = [str(error)]
        case OSError():
            lines = [": ".join(filter(None, (error.filename and str(error.filename), error.strerror))) or str(error)]
        case _:
            from ..core.masking import Mask

            reason = Mask()(next(iter(str(error).splitlines()), ""))
            lines = [f"this should not have happened ({type(error).__name__}: {reason}); --verbose shows where"]
    # What others answered may hold what a terminal would obey.
    return [clean_line(line) for line in lines]


def complain(error: Exception) -> None:
    """Print what went wrong, and before it where, if that was asked for."""
    if common.verbose():
        traceback.print_exception(error)
    for sentence in _sentences(error):
        click.echo(f"Error: {sentence}", err=True)
