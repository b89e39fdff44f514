"""Emailing: what could not be texted to the owner goes to the owner by email."""

from __future__ import annotations

import logging

from ..core.notice_mail import build_notice
from ..core.reply_headers import new_message_id
from ..core.retry import retry_delay
from ..errors import AccountError, Kind, ServiceError
from ..store import texts
from .desk import Desk
from .pausing import pause_mail
from .ports import Mailer

log = logging.getLogger(__name__)


def email_one(desk: Desk, mailer: Mailer) -> bool:
    """Email the next notice that could not be texted to the owner's own address; False when there is none."""
    own, until = desk.policy.email_address, desk.lease_until()
    with desk.database.transaction() as tx:
        text = texts.claim_email_notice(tx, desk.claim(), desk.policy.lease_seconds)
        now = tx.now
        if text is not None and not text.wanted:
            texts.settle(tx, text, status="unwanted", channel="email")
            return True
    if text is None:
        return False
    message = build_notice(own, text.parts, now.astimezone(desk.policy.timezone), new_message_id(f"n{text.id}", own))
    try:
        mailer.send(own, own, message, until)
    except AccountError as error:
        with desk.database.transaction() as tx:
            texts.settle(tx, text, status="queued", channel="email", attempts=text.attempts, error=str(error))
            pause_mail(tx, desk, error)
    except ServiceError as error:
        # A notice that comes twice does no harm, one that never comes does: it is tried until it is out.
        failures = text.attempts + 1
        delay = retry_delay(failures, Kind.TRANSIENT, None, desk.chance(), error.retry_after) or 0.0
        with desk.database.transaction() as tx:
            texts.settle(tx, text, status="queued", channel="email", attempts=failures, delay=delay, error=str(error))
        log.warning("notice %d: %s; trying again in %.0f s", text.id, error, delay)
    else:
        with desk.database.transaction() as tx:
            texts.settle(tx, text, status="sent", channel="email")
        log.info("notice %d: sent by email", text.id)
    return True
