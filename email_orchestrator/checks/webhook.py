"""Our own door: does the daemon listen, and will it take what the gateway brings?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from ..clients import probe
from ..clients.http import JsonService
from ..clients.network import is_loopback
from ..errors import ServiceError
from ..settings import Settings
from .finding import Finding, Grade

TIMEOUT = 5.0
START = "Start it: `systemctl start email-orchestrator`, or `email-orchestrator run`."


def look(settings: Settings) -> Iterator[Finding]:
    """Look at our own door."""
    yield _daemon(settings)
    yield _door(settings)


def _daemon(settings: Settings) -> Finding:
    name = "Daemon"
    if settings.port == 0:
        return Finding(name, Grade.WARNING, "PORT=0 lets the system choose one, which nobody knows", "Set PORT.")
    url = f"http://{_address(settings.host)}:{settings.port}"
    try:
        probe.reach(name, url, TIMEOUT)
    except ServiceError:
        return Finding(name, Grade.WARNING, f"it does not run here: nobody listens at {url}", START)
    try:
        health = JsonService(name, url, TIMEOUT).call("GET", "/health")
    except ServiceError as error:
        mend = "Look at its log and its /health; if that is none of ours, choose another PORT."
        return Finding(name, Grade.AWAY, f"at {url}: {error.message}", mend)
    if health.get("service") != "orchestrator":
        says = f"something else listens at {url}"
        return Finding(name, Grade.WRONG, says, "Choose another PORT, or end what uses it.")
    problems = " ".join(map(str, health.get("problems") or ()))
    if problems:
        return Finding(name, Grade.WARNING, f"it runs at {url}, but: {problems}", "Look at its log.")
    return Finding(name, Grade.OK, f"it runs at {url} and is {health.get('status')}")


def _door(settings: Settings) -> Finding:
    """Look whether the gateway's forward can get in, which comes unsigned and from where the gateway runs."""
    gateway, _ = probe.host_and_port(settings.sms_gateway_url)
    name = "Webhook"
    instead = "Without it texts are fetched from the gateway's history, every SMS_RECONCILE_INTERVAL seconds."
    if is_loopback(settings.host) and not is_loopback(gateway):
        says = f"the gateway is at {gateway}, and HOST={settings.host} lets in this machine only"
        return Finding(name, Grade.WARNING, says, f"Set HOST=0.0.0.0. {instead}")
    if _named(gateway, settings) or (is_loopback(gateway) and not settings.sms_webhook_signing_key):
        return Finding(name, Grade.OK, f"what the gateway at {gateway} forwards is let in")
    without = "with a signing key, " if settings.sms_webhook_signing_key else ""
    says = f"{without}what the gateway at {gateway} forwards, unsigned as it is, is refused"
    addresses = "127.0.0.1,::1" if is_loopback(gateway) else "its address"
    return Finding(name, Grade.WARNING, says, f"Set SMS_WEBHOOK_ALLOW_FROM={addresses}. {instead}")


def _named(gateway: str, settings: Settings) -> bool:
    """Say whether SMS_WEBHOOK_ALLOW_FROM names an address of the gateway."""
    networks = settings.sms_webhook_allow_from
    return any(address in network for address in probe.addresses(gateway) for network in networks)


def _address(host: str) -> str:
    """Return where to reach a daemon that listens on this host name, ready for a web address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return f"[{address}]" if address.version == 6 else str(address)
