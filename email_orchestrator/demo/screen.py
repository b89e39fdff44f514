"""What the demo shows: texts as a phone would, and replies as they went out."""

from __future__ import annotations

import email
import email.policy
import shutil
import textwrap
import threading

import click

from ..core.segments import measure
from .standins import AcceptedMail, SentMessage

HEADERS = ("From", "To", "Subject", "In-Reply-To", "References", "Message-ID")
_one_at_a_time = threading.Lock()


def show_text(text: SentMessage) -> None:
    """Show a text that arrived on the phone."""
    segments = measure(text.message)
    with _one_at_a_time:
        click.secho(f"\n  ┌─ text ({segments.segments} × {segments.encoding})", fg="cyan")
        for line in _wrapped(text.message):
            click.echo(click.style("  │ ", fg="cyan") + line)
        click.secho("  └─", fg="cyan")


def show_mail(mail: AcceptedMail) -> None:
    """Show a reply that the SMTP server accepted."""
    message = email.message_from_bytes(mail.content, policy=email.policy.default)
    with _one_at_a_time:
        click.secho("\n  ╔═ mail accepted by the SMTP server", fg="green")
        for name in HEADERS:
            if message[name]:
                click.echo(click.style("  ║ ", fg="green") + f"{name}: {message[name]}")
        click.secho("  ║", fg="green")
        for line in _wrapped(str(message.get_content()).rstrip()):
            click.echo(click.style("  ║ ", fg="green") + line)
        click.secho("  ╚═", fg="green")


def _wrapped(text: str) -> list[str]:
    width = shutil.get_terminal_size().columns - 5
    return [piece for line in text.splitlines() for piece in textwrap.wrap(line, width) or [""]]


def say(text: str) -> None:
    """Say something about the play itself."""
    width = shutil.get_terminal_size().columns - 1
    with _one_at_a_time:
        click.echo()
        for line in text.splitlines():
            click.secho(textwrap.fill(line, width, initial_indent="* ", subsequent_indent="  "), fg="yellow")


def show_typed(text: str) -> None:
    """Show what the script's owner texts."""
    with _one_at_a_time:
        click.secho(f"\n  you> {text}", bold=True)
