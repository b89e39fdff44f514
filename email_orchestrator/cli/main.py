"""The command group, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import click

from .. import __version__
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
from . import acting, reading, running

# sysexits.h gives 75 and 78 their meaning; scripts depend on all of them.
FAILED, NOT_FOUND, WRONG_STATE, TEMPORARY, CONFIGURATION = 1, 3, 4, 75, 78


def exit_code(error: OrchestratorError) -> int:
    """Return the exit code that stands for a failure."""
    if isinstance(error, ServiceError):
        return FAILED if error.kind is Kind.PERMANENT else TEMPORARY
    codes: dict[type[OrchestratorError], int] = {
        NotFound: NOT_FOUND,
        WrongState: WRONG_STATE,
        DatabaseUnavailable: TEMPORARY,
        SettingsError: CONFIGURATION,
        SchemaMismatch: CONFIGURATION,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), FAILED)


class Group(click.Group):
    """A group whose commands fail with a sentence instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a foreseen failure is printed as one line, a mistake in the settings as one each."""
        try:
            return super().invoke(ctx)
        except (OrchestratorError, OSError) as error:
            if ctx.params.get("verbose"):
                traceback.print_exc()
            problems = error.problems if isinstance(error, SettingsError) else (str(error),)
            for problem in problems:
                click.echo(f"Error: {problem}", err=True)
            ctx.exit(exit_code(error) if isinstance(error, OrchestratorError) else FAILED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever it was
            if ctx.params.get("verbose"):
                traceback.print_exc()
            click.echo(f"Error: this should not have happened ({type(error).__name__}): see --verbose.", err=True)
            ctx.exit(FAILED)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--env-file", type=click.Path(path_type=Path), help="Read the settings from this file instead of .env.")
@click.option("--verbose", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(__version__, prog_name="email-orchestrator")
@click.pass_context
def main(ctx: click.Context, env_file: Path | None, verbose: bool) -> None:  # noqa: ARG001 - read by Group.invoke
    """Answer email with drafts that the owner approves by text message.

    ID is a workflow's number (7 or #7) or the email's Message-ID.
    """
    ctx.obj = env_file


for command in (*running.COMMANDS, *reading.COMMANDS, *acting.COMMANDS):
    main.add_command(command)
