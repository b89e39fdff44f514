"""What the clients have in common below their protocols: hosts, and the words for connections that fail."""

from __future__ import annotations

import ssl
from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine itself, so that nothing said to it leaves the machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def reason(error: Exception) -> str:
    """Say in a few words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or type(error).__name__


def bad_certificate(host: str, error: ssl.SSLCertVerificationError) -> str:
    """Say what is wrong with the certificate that a host shows."""
    return f"{host} shows a TLS certificate that is not valid for it ({error.verify_message})"
