"""Tells systemd how the service does (sd_notify(3)); does nothing where systemd is not watching."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> bool:
    """Send a state such as `READY=1` or `WATCHDOG=1` to systemd; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Return how often, in seconds, systemd wants a sign of life (half its limit), or None (sd_watchdog_enabled(3))."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not (limit.isascii() and limit.isdigit() and int(limit)) or owner != str(os.getpid()):
        return None
    return int(limit) / 2_000_000
