"""What systemd is told, and how often it wants to hear."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from email_orchestrator import systemd


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.settimeout(2)
        yield made


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_reaches_systemds_socket(
    channel: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@eo-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    channel.bind("\0" + name[1:] if abstract else name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    assert systemd.notify("READY=1")
    assert channel.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "/" + "x" * 200, "vsock:2:1234"])
def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("limit", "owner", "expected"),
    [
        ("30000000", None, 15.0),
        ("30000000", "ours", 15.0),
        ("30000000", "1", None),
        ("", None, None),
        ("0", None, None),
        ("soon", None, None),
        ("²", None, None),
    ],
)
def test_a_sign_of_life_is_due_twice_within_systemds_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str, owner: str | None, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if owner is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if owner == "ours" else owner)
    assert systemd.watchdog_interval() == expected
