"""The command group."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import click

from .. import __version__
from ..core.clean import clean_line
from . import acting, checking, failing, reading, running, terminal


class Mistake(click.UsageError):
    """A command that was written wrongly, told in one line."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print what is wrong, and where to read how it is written."""
        command = self.ctx.command_path if self.ctx else "email-orchestrator"
        sentence = clean_line(self.format_message()).removesuffix(".")
        click.echo(f"Error: {sentence}. `{command} --help` shows how it is written.", file=file, err=file is None)


@contextmanager
def _mistakes_in_one_line() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        # Whoever typed no command at all is shown the help.
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise Mistake(error.format_message(), error.ctx) from error


class Group(click.Group):
    """A group whose commands fail with a sentence instead of a traceback."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the options that come before the command."""
        with _mistakes_in_one_line():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a failure is printed as one line, mistakes in the settings as one each."""
        try:
            with _mistakes_in_one_line():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever it was
            failing.complain(error)
            ctx.exit(failing.exit_code(error))


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--env-file", type=click.Path(path_type=Path), help="Read the settings from this file instead of .env.")
@click.option("--verbose", is_flag=True, help="Show what is done, and where it failed.")
@click.version_option(__version__, prog_name="email-orchestrator")
@click.pass_context
def main(ctx: click.Context, env_file: Path | None, verbose: bool) -> None:  # noqa: ARG001 - read by Group.invoke
    """Answer email with drafts that the owner approves by text message.

    ID is a workflow's number (7 or #7) or the email's Message-ID.
    """
    if terminal.wants_plain_text():
        ctx.color = False
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that cannot show a character shows another in its place.
        sys.stdout.reconfigure(errors="replace")
    ctx.obj = env_file


for command in (*running.COMMANDS, *checking.COMMANDS, *reading.COMMANDS, *acting.COMMANDS):
    main.add_command(command)
