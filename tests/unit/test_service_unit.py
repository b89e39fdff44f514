"""The systemd unit: systemd takes it, finds it well locked in, and it agrees with the program it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from email_orchestrator import daemon, wiring
from email_orchestrator.cli.failing import CONFIGURATION
from email_orchestrator.settings import SECRETS

UNIT = Path(__file__).parents[2] / "email-orchestrator.service"
PROGRAM = "/opt/email-orchestrator/bin/email-orchestrator"
EXPOSURE = 15  # tenths, out of a hundred: systemd calls up to 20 "OK"


@pytest.fixture(scope="module")
def analyze() -> str:
    """The program that knows what systemd thinks of a unit."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"systemd (\d+)", said)
    if version is None or int(version[1]) < 250:
        pytest.skip("this systemd-analyze is too old to judge a unit file by itself")
    return found


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be on a machine where the program is installed."""
    file = tmp_path / UNIT.name
    file.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, shutil.which("true") or "/bin/true"))
    return file


def options() -> dict[str, list[str]]:
    """The unit's options, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def seconds(name: str) -> float:
    (text,) = options()[name]
    number, unit = re.fullmatch(r"(\d+)(min|s|)", text).groups()  # type: ignore[union-attr]
    return int(number) * (60 if unit == "min" else 1)


def verify(analyze: str, unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([analyze, "verify", "--recursive-errors=no", unit], capture_output=True, text=True)


def test_systemd_finds_no_mistake_in_it(analyze: str, unit: Path) -> None:
    done = verify(analyze, unit)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong"), [("RestartSec=10", "RestartSecs=10"), ("WatchdogSec=4min", "WatchdogSec=soon")]
)
def test_systemd_would_find_a_mistake(analyze: str, unit: Path, right: str, wrong: str) -> None:
    text = unit.read_text()
    assert right in text
    unit.write_text(text.replace(right, wrong))
    assert verify(analyze, unit).stderr


def test_systemd_finds_it_well_locked_in(analyze: str, unit: Path) -> None:
    command = [analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-200:]


def test_every_secret_of_the_settings_is_handed_over_as_a_credential() -> None:
    assert options()["LoadCredential"] == [f"{name}:email-orchestrator.{name}" for name in SECRETS]


def test_no_secret_is_in_the_environment() -> None:
    assert not [value for value in options()["Environment"] if value.startswith(SECRETS)]


def test_a_crash_leaves_no_memory_behind() -> None:
    assert options()["LimitCORE"] == ["0"]


def test_wrong_settings_are_not_tried_again() -> None:
    assert options()["RestartPreventExitStatus"] == [str(CONFIGURATION)]


def test_a_crash_is_tried_again_for_ever_but_not_in_a_storm() -> None:
    assert options()["Restart"] == ["on-failure"]
    assert options()["StartLimitIntervalSec"] == ["0"]
    assert seconds("RestartSec") >= 5


def test_the_watchdog_outlasts_the_longest_turn_of_the_main_loop() -> None:
    # One after the other: the Email Monitor, the gateway's history, and for each a database that hangs until its
    # statement is given up after 15 s.
    longest = wiring.MONITOR_TIMEOUT + wiring.GATEWAY_TIMEOUT + 4 * 15
    assert longest < seconds("WatchdogSec") <= 300


def test_the_daemon_has_time_to_end_by_itself() -> None:
    assert seconds("TimeoutStopSec") > 10 > daemon.TIME_TO_STOP
    assert options()["KillMode"] == ["mixed"]
