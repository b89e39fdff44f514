"""Texting: what lies in the outbox goes to the gateway, part by part."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from ..core import notices, reasons
from ..core.models import Workflow
from ..core.retry import retry_delay
from ..core.states import Actor, State
from ..errors import Kind, ServiceError
from ..store import mail_pause, texts, workflows
from ..store.texts import Outgoing, Sort
from ..store.transaction import Transaction
from .desk import Desk, Room, advance, call_for_texts, give_up, insist, is_quiet_now, tell
from .ports import Gateway

log = logging.getLogger(__name__)

# The gateway stamps its history with its own clock, which need not agree with the database's.
CLOCK_SLACK = timedelta(minutes=1)
# After so many failures the next try is still less than a minute away.
BEFORE_A_MINUTE = 3


def text_one(desk: Desk, gateway: Gateway) -> bool:
    """Hand the next part of the next text to the gateway; False when nothing is due."""
    with desk.database.transaction() as tx:
        text = _claim(tx, desk, None)
    if text is None:
        return False
    _text(desk, gateway, text)
    return True


def text_in_turn(desk: Desk, gateway: Gateway, urgent: bool) -> bool:
    """Text one part after the other, the next one leased in the transaction that records the last; True: look again.

    Only those that are urgent go out, or only those that are not.
    """
    with desk.database.transaction() as tx:
        text = _claim(tx, desk, urgent)
    looked = True
    while text is not None:
        text, looked = _text(desk, gateway, text, in_turn=True)
    return not looked


def _claim(tx: Transaction, desk: Desk, urgent: bool | None) -> Outgoing | None:
    """Lease the next text that is wanted; those before it that are not any more are closed."""
    quiet = is_quiet_now(tx, desk)
    while True:
        text = texts.claim_text(tx, desk.claim(), desk.policy.lease_seconds, quiet=quiet, urgent=urgent)
        if text is None or text.wanted:
            return text
        texts.settle(tx, text, status="unwanted")


def _text(desk: Desk, gateway: Gateway, text: Outgoing, *, in_turn: bool = False) -> tuple[Outgoing | None, bool]:
    """Hand a part to the gateway; returns the next text of its kind, and whether one was looked for."""
    part = text.parts[text.parts_sent]
    gateway_id = None
    try:
        found = text.in_doubt and _went_out(desk, gateway, part, text.attempt_at)
        if not found:
            if text.in_doubt:
                anew = _begin_anew(desk, text)
                if anew is None:
                    return None, False
                text = anew
            gateway_id = gateway.send(desk.policy.phone_number, part)
    except ServiceError as error:
        _record_failure(desk, text, error)
        return None, False
    in_turn = in_turn and not desk.wait(0)
    following = insist(desk, lambda: _record_and_claim(desk, text, gateway_id, in_turn))
    log.info("text %d (%s): part %d of %d accepted", text.id, text.sort, text.parts_sent + 1, len(text.parts))
    return following, in_turn


def _record_and_claim(desk: Desk, text: Outgoing, gateway_id: str | None, in_turn: bool) -> Outgoing | None:
    """Record in one transaction that a part was accepted, and lease the next when it goes on in turn."""
    with desk.database.transaction() as tx:
        _record_sent(tx, desk, text, gateway_id)
        return _claim(tx, desk, text.urgent) if in_turn else None


def in_the_middle(desk: Desk) -> bool:
    """Say whether a text has begun whose next part is due within moments."""
    with desk.database.transaction() as tx:
        return texts.has_begun(tx, within=desk.policy.part_gap + 1, quiet=is_quiet_now(tx, desk))


def _went_out(desk: Desk, gateway: Gateway, part: str, since: datetime) -> bool:
    return any(sent.text == part for sent in gateway.outgoing(desk.policy.phone_number, since - CLOCK_SLACK))


def _begin_anew(desk: Desk, text: Outgoing) -> Outgoing | None:
    """Write down that an earlier attempt came to nothing: what was answered since was no answer to this text.

    Returns None when the text is not wanted any more.
    """
    with desk.database.transaction() as tx:
        if not texts.begin_anew(tx, text):
            texts.settle(tx, text, status="unwanted")
            return None
        return replace(text, in_doubt=False, attempt_at=tx.now)


def _record_sent(tx: Transaction, desk: Desk, text: Outgoing, gateway_id: str | None) -> None:
    accepted = texts.part_sent(tx, text, gateway_id, desk.policy.part_gap)
    if accepted is None:
        return
    if text.attempts or accepted.others_wait:
        texts.hasten(tx)
        call_for_texts(tx, desk)
    workflow = accepted.workflow
    if accepted.finished and workflow is not None and workflow.revision == text.revision:
        _record_shown(tx, desk, text, workflow, gateway_id)


def _record_shown(tx: Transaction, desk: Desk, text: Outgoing, workflow: Workflow, gateway_id: str | None) -> None:
    remind_after, timeout_after = desk.policy.response_timeout, desk.policy.final_timeout
    if text.sort is Sort.OFFER and workflow.state is State.SMS_SENDING:
        advance(
            tx,
            desk,
            workflow,
            State.SMS_SENT,
            State.AWAITING_USER,
            actor=Actor.POLL,
            sms_sent_at=workflows.NOW,
            sms_message_id=gateway_id,
            sms_phone_number=desk.policy.phone_number,
            hidden_chars=text.hidden_chars,
            remind_at=tx.now + timedelta(seconds=remind_after),
            timeout_at=tx.now + timedelta(seconds=timeout_after),
        )
        return
    anew = text.sort is Sort.OFFER and workflow.is_on_its_way
    texts.shown(tx, text, workflow, anew=anew)
    if text.sort is Sort.OFFER:
        if workflow.is_on_its_way:
            tx.after_commit(lambda: desk.wake(Room.ANSWERING))
        texts.texted_again(tx, workflow, remind_after=remind_after, timeout_after=timeout_after)


def _record_failure(desk: Desk, text: Outgoing, error: ServiceError) -> None:
    failures = text.attempts + 1
    # An answer is owed however long the gateway is away; the rest goes another way in time, and so does what has begun
    # and keeps others of its sort waiting.
    owed = text.sort is Sort.ANSWER and text.parts_sent == 0
    in_doubt = error.kind is Kind.UNKNOWN or (text.in_doubt and error.kind is Kind.TRANSIENT)
    with desk.database.transaction() as tx:
        no_other_way = text.sort is not Sort.OFFER and mail_pause.lasts(tx)
        limit = None if owed or no_other_way else desk.policy.max_retry_attempts
        # What has begun keeps others waiting until it is tried again, and so is not put off for long.
        has_begun = text.parts_sent > 0 or (in_doubt and not owed)
        tries = min(failures, BEFORE_A_MINUTE) if limit is None and has_begun else failures
        delay = retry_delay(tries, error.kind, limit, desk.chance(), error.retry_after)
        if delay is not None:
            settled = texts.settle(
                tx, text, status="queued", attempts=failures, delay=delay, in_doubt=in_doubt, error=str(error)
            )
            log.warning("text %d (%s): %s; trying again in %.0f s", text.id, text.sort, error, delay)
        elif text.sort is Sort.OFFER:
            settled = texts.settle(tx, text, status="failed", error=str(error))
        else:
            settled = texts.settle(tx, text, status="queued", channel="email", error=str(error))
            log.warning("text %d (%s): %s; it goes by email instead", text.id, text.sort, error)
        if not settled or text.sort is not Sort.OFFER or text.workflow_id is None:
            return
        if text.parts_sent == 0 and not in_doubt:
            texts.not_offered(tx, text)
        if delay is None:
            _offer_failed(tx, desk, text, error)


def _offer_failed(tx: Transaction, desk: Desk, text: Outgoing, error: ServiceError) -> None:
    """Leave a draft that could not be texted where a command can reach it, and tell the owner in a way that works."""
    workflow = workflows.get(tx, text.workflow_id or 0)
    if workflow is None or workflow.revision != text.revision:
        return
    channel = "sms" if mail_pause.lasts(tx) else "email"
    if workflow.state is State.SMS_SENDING:
        give_up(tx, desk, workflow, str(error), claim=None, channel=channel)
    elif workflow.state is State.AWAITING_USER:
        if workflow.is_on_its_way:
            # It came again in vain, at least in part: what the owner has of it is nothing to answer.
            advance(tx, desk, workflow, State.TIMEOUT, actor=Actor.TIMER, reason=reasons.NOT_TEXTED_AGAIN)
        tell(tx, desk, Sort.NOTICE, notices.not_texted(workflow, str(error)), channel=channel, workflow_id=workflow.id)
