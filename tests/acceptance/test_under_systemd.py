"""The daemon as systemd sees it: what it says and when, where its secrets come from, and how it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from house import House, end, wait_until

from email_orchestrator.demo.standins import Answer
from email_orchestrator.settings import SECRETS

MakeHouse = Callable[..., House]
SECONDS = 1  # systemd's limit for a sign of life; one is due every half second


class Systemd:
    """systemd's end of the notification socket, and the folder of credentials that it makes for a service."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.credentials = folder / "credentials"
        self.credentials.mkdir()
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.bind(str(self.address))

    def hears(self, seconds: float) -> str | None:
        """Return the next thing it is told, or None when it is told nothing for some seconds."""
        self._channel.settimeout(seconds)
        try:
            return self._channel.recv(200).decode()
        except TimeoutError:
            return None

    def close(self) -> None:
        self._channel.close()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NOTIFY_SOCKET": str(self.address),
            "WATCHDOG_USEC": str(SECONDS * 1_000_000),
            "CREDENTIALS_DIRECTORY": str(self.credentials),
        }


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.close()


def test_it_says_when_it_can_be_used_and_when_it_ends(house: House, systemd: Systemd) -> None:
    process = house.start(plain=True, **systemd.environment)
    assert systemd.hears(20) == "READY=1"
    assert house.health()[0] == 200
    assert systemd.hears(5 * SECONDS) == "WATCHDOG=1"
    process.terminate()
    assert wait_until(lambda: systemd.hears(5) == "STOPPING=1")
    assert end(process) == 0


def test_it_is_not_ready_before_its_schema_was_checked(house: House, systemd: Systemd) -> None:
    house.sql("UPDATE schema_version SET version = 1")
    process = house.start(plain=True, **systemd.environment)
    assert process.wait(20) == 78
    assert systemd.hears(0.1) is None


def test_signs_of_life_come_from_the_main_loop_and_stop_when_it_hangs(
    house: House, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start(plain=True, **systemd.environment)
    assert systemd.hears(20) == "READY=1"
    assert [systemd.hears(5 * SECONDS) for _ in range(3)] == ["WATCHDOG=1"] * 3
    # Only the main loop asks the Email Monitor; everything else goes on.
    monkeypatch.setattr(house.monitor, "answer", lambda _: Answer(hang=60.0))
    asked = len(house.monitor.calls)
    assert wait_until(lambda: len(house.monitor.calls) > asked)
    assert wait_until(lambda: systemd.hears(2 * SECONDS) is None)
    assert house.gateway.text_from_owner("?") == 200


def test_its_secrets_come_from_systemds_folder_and_are_not_in_its_environment(
    new_house: MakeHouse, systemd: Systemd
) -> None:
    house = new_house()
    secrets = {
        "EMAIL_PASSWORD": house.mail.password,
        "DATABASE_URL": house.dsn,
        "API_TOKEN": "a-token-of-32-characters-or-more",
    }
    for name, secret in secrets.items():
        (systemd.credentials / name).write_text(secret + "\n")
        house.environment.pop(name, None)
    house.environment["LOG_FORMAT"] = "json"
    process = house.start(plain=True, LOG_LEVEL="DEBUG", **systemd.environment)
    assert systemd.hears(20) == "READY=1"
    house.email("approve.1@example.com")
    house.gateway.wait_for_text(lambda text: "approve.1@" in text.message)
    house.gateway.text_from_owner("1")
    assert house.mail.wait_for_mail()
    environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert not [line for line in environment if line.startswith(tuple(f"{name}=".encode() for name in SECRETS))]
    log = house.log.read_text()
    assert all(json.loads(line) for line in log.splitlines())
    assert not [name for name in ("EMAIL_PASSWORD", "API_TOKEN") if secrets[name] in log]
