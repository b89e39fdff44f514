from __future__ import annotations

import threading

import click
import pytest

from email_orchestrator.demo.play import as_here


@pytest.mark.parametrize("colours", [True, False])
def test_what_another_thread_shows_has_colours_where_this_one_has(
    capsys: pytest.CaptureFixture[str], colours: bool
) -> None:
    def show(text: str) -> None:
        click.secho(text, fg="green")

    with click.Context(click.Command("demo")) as context:
        context.color = colours
        shown = as_here(show)
        thread = threading.Thread(target=shown, args=("a text",))
        thread.start()
        thread.join()

    assert capsys.readouterr().out == ("\x1b[32ma text\x1b[0m\n" if colours else "a text\n")
