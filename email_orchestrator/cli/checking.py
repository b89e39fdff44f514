"""The command that looks at everything: check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.clean import clean_line
from ..errors import SettingsError
from . import common, output, terminal
from .failing import CONFIGURATION, FAILED, TEMPORARY

if TYPE_CHECKING:
    from ..checks.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow"}
MARK, NAME = 8, 20
# On a terminal narrower than this, what follows the first line begins under the name.
NARROW = 60
# The exit code of the worst finding: what only a person can mend counts before what may mend itself.
CODES = {"wrong": CONFIGURATION, "failed": FAILED, "away": TEMPORARY}


@click.command()
@click.option("--send-test-sms", is_flag=True, help="Send a text to your phone, too.")
@common.as_json
@click.pass_context
def check(ctx: click.Context, send_test_sms: bool, json_output: bool) -> None:
    """Try every setting and every outside system; say how to mend them."""
    from ..checks.everything import check_everything
    from ..settings import secrets_of

    env_file: Path | None = ctx.obj
    try:
        settings = common.settings_of(env_file)
    except SettingsError as error:
        if json_output:
            output.print_json(_report([_wrong_setting(problem) for problem in error.problems]))
        raise
    findings = []
    for finding in check_everything(settings, env_file, send_test_sms=send_test_sms):
        line = _line(finding, secrets_of(settings))
        findings.append(line)
        if not json_output:
            _print(**line)
    report = _report(findings)
    if json_output:
        output.print_json(report)
    ctx.exit(report["exit_code"])


def _line(finding: Finding, secrets: Sequence[str]) -> dict[str, str]:
    """Write a finding down, without what others said that a terminal would obey or nobody is to read."""
    from ..core.masking import SHORT, Mask

    mask = Mask(secret for secret in secrets if len(secret) > SHORT)
    message = clean_line(mask(finding.says))
    return {"name": finding.name, "status": str(finding.grade), "message": message, "mend": finding.mend}


def _wrong_setting(problem: str) -> dict[str, str]:
    name, _, message = problem.partition(": ")
    return {"name": name, "status": "wrong", "message": message, "mend": ""}


def _report(findings: list[dict[str, str]]) -> dict[str, Any]:
    grades = {finding["status"] for finding in findings}
    code = next((code for grade, code in CODES.items() if grade in grades), 0)
    return {"ok": code == 0, "exit_code": code, "checks": findings}


def _print(name: str, status: str, message: str, mend: str) -> None:
    """Print a finding; in a pipe as one line, on a terminal broken so that the names stand out."""
    end = "" if message.endswith((".", "?", "!")) or not mend else "."
    width = terminal.columns()
    narrow = width is not None and width < NARROW
    beneath = " " * (MARK if narrow else MARK + NAME)
    start = f"{status:<{MARK}}{name}  " if narrow else f"{status:<{MARK}}{name:<{NAME}}"
    first, *more = terminal.wrap(f"{message}{end} {mend}".rstrip(), width, start, beneath)
    mark = click.style(first[:MARK], fg=COLOURS.get(status, "red"), bold=status != "ok")
    click.echo("\n".join((mark + first[MARK:], *more)))


COMMANDS = (check,)
