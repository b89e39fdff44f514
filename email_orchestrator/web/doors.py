"""Who may come in: a bearer token for the API, a signature or a trusted address for the webhook.

The source of a request is the address its connection comes from. Headers in which a proxy or a liar names another one
count for nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

from ..core.signature import is_recent, is_signed
from .answers import refused
from .front import Front

_BEARER = re.compile(r"bearer +([^\s]+)", re.IGNORECASE)
_BARE_NAME = re.compile(r"[A-Za-z0-9-]+(:[0-9]+)?")


def source_of(environ: Mapping[str, Any]) -> IPv4Address | IPv6Address | None:
    """Return the address that a connection comes from; None when it has none."""
    try:
        address = ip_address(environ.get("REMOTE_ADDR", ""))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def check_token(front: Front, environ: Mapping[str, Any]) -> None:
    """Let a request to the API pass, or raise the refusal (401, 403)."""
    if front.api_token is None:
        source = source_of(environ)
        if source is None or not source.is_loopback:
            raise refused(403, "Without API_TOKEN the API answers this machine only.")
        _check_browser(environ)
        # A name that somebody else's DNS points at this machine is how a web page would get in (DNS rebinding).
        if not _names_this_machine(environ.get("HTTP_HOST", "")):
            raise refused(403, "Without API_TOKEN the API answers to localhost and to addresses, not to host names.")
        return
    given = _BEARER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    if given is None or not _same(given[1].encode("latin-1", "replace"), front.api_token.encode()):
        challenge = {"WWW-Authenticate": 'Bearer realm="email-orchestrator"'}
        raise refused(401, "Authorization: Bearer with the token of API_TOKEN is needed.", challenge)


def check_webhook(front: Front, environ: Mapping[str, Any], body: bytes) -> None:
    """Let a webhook's event pass, or raise the refusal (401, 403).

    Its signature has to be right, and its time within five minutes of this machine's clock; where only the time is not,
    the database's clock decides, as it does everywhere else. Raises DatabaseUnavailable.
    """
    if _counts_by_address(front, environ):
        _check_browser(environ)
    elif front.signing_keys:
        if not _is_authentic(front, environ, body):
            challenge = {"WWW-Authenticate": 'HMAC-SHA256 headers="X-Timestamp X-Signature"'}
            raise refused(401, "X-Timestamp and X-Signature do not match the body and the time.", challenge)
    else:
        source = source_of(environ)
        # From this machine it was let in but for the public name it asked for: a proxy sent it, and no address helps.
        through_proxy = source is not None and source.is_loopback
        instead = "" if through_proxy else ", or name this address in SMS_WEBHOOK_ALLOW_FROM"
        raise refused(403, f"Set SMS_WEBHOOK_SIGNING_KEY{instead}.")


def _counts_by_address(front: Front, environ: Mapping[str, Any]) -> bool:
    """Say whether an event needs no signature, because of where it comes from.

    What a proxy on this machine passes on comes from this machine too, but it asks for the public name that it was
    sent to. The gateway beside us asks for `localhost`, an address or the machine's own bare name.
    """
    source = source_of(environ)
    if source is None:
        return False
    named = any(source in network for network in front.allow_from)
    if not source.is_loopback:
        return named
    return (named or not front.signing_keys) and not _is_public_name(environ.get("HTTP_HOST", ""))


def _is_authentic(front: Front, environ: Mapping[str, Any], body: bytes) -> bool:
    timestamp, signature = environ.get("HTTP_X_TIMESTAMP", ""), environ.get("HTTP_X_SIGNATURE", "")
    if not is_signed(body, timestamp, signature, front.signing_keys):
        return False
    if is_recent(timestamp, front.clock()):
        return True
    with front.desk.database.transaction() as tx:
        return is_recent(timestamp, tx.now)


def _check_browser(environ: Mapping[str, Any]) -> None:
    """Refuse what a web page on this machine sends: an address is no proof that the owner meant it (CSRF)."""
    if "HTTP_ORIGIN" in environ:
        raise refused(403, "Web pages are not let in by their address alone: set API_TOKEN or a signing key.")


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
        if name in (None, "localhost"):
            return True
        ip_address(name or "")
    except ValueError:
        return False
    return True


def _is_public_name(host: str) -> bool:
    """Say whether a `Host` is a name as the internet has them: names without a dot are known at home only."""
    return not _names_this_machine(host) and _BARE_NAME.fullmatch(host) is None


def _same(given: bytes, expected: bytes) -> bool:
    # Digests have one length, so that not even the length of the token shows in the time this takes.
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())
