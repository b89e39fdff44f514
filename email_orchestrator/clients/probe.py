"""Looks whether somebody listens, and how long a certificate is valid; says nothing to anybody."""

from __future__ import annotations

import smtplib
import socket
import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from ..errors import Kind, ServiceError
from .network import bad_certificate, reason

WEB_PORTS = {"http": 80, "https": 443}
TIMEOUT = 10.0  # seconds, for a certificate


def reach(service: str, url: str, timeout: float) -> str:
    """Open a connection to a web service and close it again; returns where that was, as `host:port`.

    Raises ServiceError when nobody listens there.
    """
    host, port = host_and_port(url)
    try:
        socket.create_connection((host, port), timeout).close()
    except (OSError, UnicodeError) as error:
        raise ServiceError(service, f"no connection to {host}:{port} ({reason(error)})", Kind.TRANSIENT) from error
    return f"{host}:{port}"


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host and the port of an address of the web."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or WEB_PORTS.get(parts.scheme, 80)


def addresses(host: str) -> list[IPv4Address | IPv6Address]:
    """Return the addresses of a host, none when it is not known."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ip_address(str(where[0]).partition("%")[0]) for *_, where in found]


def certificate_end(host: str, port: int, *, starttls: bool = False) -> datetime:
    """Return until when the certificate of a TLS server is valid; `starttls` for an SMTP server that begins in plain.

    Raises ServiceError when there is none, or it is not valid for that host now.
    """
    context = ssl.create_default_context()
    try:
        if starttls:
            with smtplib.SMTP(host, port, timeout=TIMEOUT) as server:
                server.starttls(context=context)
                return _end(server.sock)
        with (
            socket.create_connection((host, port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            return _end(encrypted)
    except ssl.SSLCertVerificationError as error:
        raise ServiceError(host, bad_certificate(host, error), Kind.PERMANENT) from error
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise ServiceError(host, f"no TLS connection to {host}:{port} ({reason(error)})", Kind.TRANSIENT) from error


def _end(connection: socket.socket | None) -> datetime:
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate:
        raise ValueError("no certificate was shown")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
