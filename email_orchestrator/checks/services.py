"""The outside systems: each is asked how it is, none is paid, and nothing is sent unless that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from ..clients import probe
from ..clients.email_monitor import EmailMonitor
from ..clients.network import is_loopback
from ..clients.sms_gateway import SmsGateway
from ..clients.smtp import Security, security_for
from ..errors import AccountError, ServiceError
from ..settings import Settings
from ..wiring import Clients
from .finding import Finding, Grade, trouble

CONNECT_TIMEOUT = 5.0
CERTIFICATE_MARGIN = timedelta(days=14)
GATEWAY_CLOCK_TOLERANCE = timedelta(minutes=1)
# What only one of the services says of itself.
SIGNS = {"pending_emails": "Email Monitor", "gateway_connected": "SMS Gateway"}
TEST_TEXT = "Email Orchestrator: a test. You need not answer."


def look(settings: Settings, clients: Clients, ahead: timedelta | None, *, send_test_sms: bool) -> Iterator[Finding]:
    """Look at the outside systems; `ahead` is how far the database's clock is ahead of ours, where that is known."""
    yield _monitor(clients.monitor)
    yield _generator(settings)
    yield from _gateway(clients.gateway, ahead or timedelta(0))
    if send_test_sms:
        yield _test_text(settings, clients.gateway)
    mail = _smtp(settings, clients)
    yield mail
    sent_mail = _sent_mail(settings, clients, mail)
    yield sent_mail
    yield from _certificates(settings, mail, sent_mail)


def _monitor(monitor: EmailMonitor | None) -> Finding:
    name = "Email Monitor"
    if monitor is None:
        return Finding(name, Grade.OK, "not asked (EMAIL_SOURCE=database)")
    try:
        health = monitor.health()
    except ServiceError as error:
        return trouble(name, error, "Start it, or set EMAIL_MONITOR_URL; EMAIL_SOURCE=database does without it.")
    if "pending_emails" not in health:
        return _stranger(name, health, "EMAIL_MONITOR_URL")
    return _by_status(name, health.get("status"), f"{health['pending_emails']} emails pending")


def _generator(settings: Settings) -> Finding:
    name = "AI Reply Generator"
    try:
        # Its /health makes a model call that somebody pays for.
        where = probe.reach(name, settings.ai_reply_generator_url, CONNECT_TIMEOUT)
    except ServiceError as error:
        return trouble(name, error, "Start it, or set AI_REPLY_GENERATOR_URL.")
    return Finding(name, Grade.OK, f"somebody listens at {where} (asking for more would cost a model call)")


def _gateway(gateway: SmsGateway, ahead: timedelta) -> Iterator[Finding]:
    name = "SMS Gateway"
    try:
        health = gateway.health()
    except ServiceError as error:
        yield trouble(name, error, "Start it, or set SMS_GATEWAY_URL.")
        return
    if "gateway_connected" not in health:
        yield _stranger(name, health, "SMS_GATEWAY_URL")
        return
    if health["gateway_connected"] is not True:
        says = "it runs, but has no connection to the phone"
        yield Finding(name, Grade.AWAY, says, "See that the phone is on, online, and its gateway app running.")
    else:
        yield _by_status(name, health.get("status"), "connected to the phone")
    clock = _gateway_clock(health.get("timestamp"), ahead)
    if clock is not None:
        yield clock


def _gateway_clock(stamp: object, ahead: timedelta) -> Finding | None:
    try:
        moment = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None  # its own local time, as it may be
    apart = moment - (datetime.now(UTC) + ahead)
    if abs(apart) <= GATEWAY_CLOCK_TOLERANCE:
        return None
    says = (
        f"the gateway's is {abs(apart.total_seconds()):.0f} s {'ahead of' if apart > timedelta(0) else 'behind'} ours"
    )
    return Finding("Gateway's clock", Grade.WARNING, says, "Set both by NTP: what crossed with what is told by them.")


def _test_text(settings: Settings, gateway: SmsGateway) -> Finding:
    try:
        gateway.send(settings.your_phone_number, TEST_TEXT)
    except ServiceError as error:
        return trouble("Test text", error, "See whether the phone can send, and look at YOUR_PHONE_NUMBER.")
    return Finding("Test text", Grade.OK, "the gateway took it; your phone should show it now")


def _smtp(settings: Settings, clients: Clients) -> Finding:
    name, where = "SMTP", f"{settings.gmail_smtp_server}:{settings.gmail_smtp_port}"
    try:
        clients.mailer.check()
    except AccountError as error:
        return trouble(name, error, "Look at EMAIL_ADDRESS, and set EMAIL_PASSWORD to an app password of that account.")
    except ServiceError as error:
        return trouble(
            name, error, "Look at GMAIL_SMTP_SERVER and GMAIL_SMTP_PORT, and whether this machine is online."
        )
    return Finding(name, Grade.OK, f"login at {where} works; nothing was sent")


def _sent_mail(settings: Settings, clients: Clients, mail: Finding) -> Finding:
    name = "Sent Mail"
    without = "A reply whose outcome gets lost is then left to you to look up"
    if clients.sent_mail is None:
        return Finding(name, Grade.OK, f"not looked into (SENT_CHECK=off). {without}")
    if mail.grade is Grade.WRONG:
        # A second wrong try brings the account nearer to being locked.
        return Finding(name, Grade.WARNING, "not tried, because SMTP refused the login", "Mend that first.")
    try:
        mailbox = clients.sent_mail.check()
    except ServiceError as error:
        return trouble(name, error, f"Switch IMAP on, or set SENT_CHECK=off. {without}.", only_warn=True)
    return Finding(name, Grade.OK, f"{mailbox} at {settings.gmail_imap_server} can be read")


def _certificates(settings: Settings, mail: Finding, sent_mail: Finding) -> Iterator[Finding]:
    """Look how long the certificates last; where the mail server itself was in trouble, that says enough."""
    smtp, imap = (settings.gmail_smtp_server, settings.gmail_smtp_port), settings.gmail_imap_server
    security = security_for(*smtp)
    if mail.grade is Grade.OK and security is not Security.PLAIN:
        yield _certificate(*smtp, starttls=security is Security.STARTTLS)
    looked_into = sent_mail.grade is Grade.OK and settings.sent_check == "imap"
    if looked_into and (settings.gmail_imap_port == 993 or not is_loopback(imap)):
        yield _certificate(imap, settings.gmail_imap_port)
    for url in (settings.email_monitor_url, settings.ai_reply_generator_url, settings.sms_gateway_url):
        if url.lower().startswith("https:"):
            yield _certificate(*probe.host_and_port(url))


def _certificate(host: str, port: int, *, starttls: bool = False) -> Finding:
    name = "Certificate"
    try:
        end = probe.certificate_end(host, port, starttls=starttls)
    except ServiceError as error:
        mend = f"Whoever runs {host} has to give it a valid one; a service without TLS is named with http://."
        return trouble(name, error, mend, only_warn=True)
    left = end - datetime.now(UTC)
    says = f"{host}:{port} is valid until {end:%Y-%m-%d} ({left.days} days)"
    if left > CERTIFICATE_MARGIN:
        return Finding(name, Grade.OK, says)
    return Finding(name, Grade.WARNING, says, f"Whoever runs {host} has to renew it in time.")


def _stranger(name: str, health: Mapping[str, object], setting: str) -> Finding:
    """Make the finding of a service that is well, and does not say what the one that is asked says of itself."""
    mend = f"Set {setting} to where the {name} listens."
    if "service" in health:
        says = f"what answers there calls itself {str(health['service'])[:40]!r}"
        return Finding(name, Grade.WRONG, says, mend)
    for sign, other in SIGNS.items():
        if sign in health:
            return Finding(name, Grade.WRONG, f"what answers there speaks as the {other} does", mend)
    return Finding(name, Grade.WARNING, f"what answers there does not speak as the {name} does", mend)


def _by_status(name: str, status: object, more: str) -> Finding:
    if status in ("healthy", "ok", None):
        return Finding(name, Grade.OK, more)
    return Finding(name, Grade.WARNING, f"it calls itself {str(status)[:40]!r}; {more}", "Look at its log.")
