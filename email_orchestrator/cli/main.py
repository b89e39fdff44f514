"""The command group, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..core.clean import clean_line
from ..errors import (
    DatabaseUnavailable,
    Kind,
    NotFound,
    OrchestratorError,
    SchemaMismatch,
    ServiceError,
    SettingsError,
    WrongState,
)
from . import acting, checking, reading, running

# sysexits.h gives 75 and 78 their meaning; scripts depend on all of them.
FAILED, NOT_FOUND, WRONG_STATE, TEMPORARY, CONFIGURATION = 1, 3, 4, 75, 78


def exit_code(error: Exception) -> int:
    """Return the exit code that stands for a failure."""
    if isinstance(error, ServiceError):
        return FAILED if error.kind is Kind.PERMANENT else TEMPORARY
    codes: dict[type[Exception], int] = {
        NotFound: NOT_FOUND,
        WrongState: WRONG_STATE,
        DatabaseUnavailable: TEMPORARY,
        SettingsError: CONFIGURATION,
        SchemaMismatch: CONFIGURATION,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


def sentences(error: Exception) -> list[str]:
    """Say what went wrong, and what to do where that is known: one line for each mistake in the settings, else one."""
    match error:
        case SettingsError():
            lines = list(error.problems)
        case DatabaseUnavailable():
            lines = [f"{error}. Check DB_HOST or DATABASE_URL, or try again later."]
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


class Group(click.Group):
    """A group whose commands fail with a sentence instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a failure is printed as one line, mistakes in the settings as one each."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever it was
            if ctx.params.get("verbose"):
                traceback.print_exc()
            for sentence in sentences(error):
                click.echo(f"Error: {sentence}", err=True)
            ctx.exit(exit_code(error))


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--env-file", type=click.Path(path_type=Path), help="Read the settings from this file instead of .env.")
@click.option("--verbose", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__, prog_name="email-orchestrator")
@click.pass_context
def main(ctx: click.Context, env_file: Path | None, verbose: bool) -> None:  # noqa: ARG001 - read by Group.invoke
    """Answer email with drafts that the owner approves by text message.

    ID is a workflow's number (7 or #7) or the email's Message-ID.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that cannot show a character shows another in its place.
        sys.stdout.reconfigure(errors="replace")
    ctx.obj = env_file


for command in (*running.COMMANDS, *checking.COMMANDS, *reading.COMMANDS, *acting.COMMANDS):
    main.add_command(command)
