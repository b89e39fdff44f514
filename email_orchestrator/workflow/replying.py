"""Replying: an approved reply is handed to SMTP, at most once, and its outcome is found out."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..core import notices, reasons, wording
from ..core.hours import is_answer
from ..core.models import Email, Workflow
from ..core.reply import UnsafeReply
from ..core.retry import retry_delay
from ..core.states import OUTCOME_UNKNOWN, Actor, State
from ..errors import AccountError, Kind, ServiceError
from ..store import mail_pause, workflows
from ..store.texts import Sort
from ..store.transaction import Transaction
from ..store.workflows import IN_WORK, Claimed
from . import actions
from .desk import Desk, advance, give_up, insist, offer_anew, tell_of
from .letters import build_message, write_letter
from .pausing import pause_mail
from .ports import Mailer, SentMail
from .sent import count_as_sent

log = logging.getLogger(__name__)

# Sent Mail is looked into at once, 5 s and 20 s after an outcome was lost: Gmail files its copy within seconds.
LOOK_AGAIN_AFTER = (5, 15)


@dataclass(frozen=True, slots=True)
class Job:
    """A leased workflow and its email as it is now; the lease holds until the moment `until` of `clock.now()`."""

    claimed: Claimed
    email: Email
    until: float


def reply_one(desk: Desk, mailer: Mailer, sent_mail: SentMail | None, only: int | None = None) -> bool:
    """Send the next approved reply that is due; False when there is none.

    `only` names the one workflow to send, without waiting for its delay. `sent_mail` is None when Sent Mail is not
    to be looked into.
    """
    until = desk.lease_until()
    with desk.database.transaction() as tx:
        if only is not None:
            # Others may be looking at the row for a moment; the claim alone would pass it over.
            workflows.hold(tx, only)
        job = _claim(tx, desk, until, only)
    if job is None:
        return False
    _reply(desk, job, mailer, sent_mail, in_turn=False)
    return True


def reply_in_turn(desk: Desk, mailer: Mailer, sent_mail: SentMail | None) -> bool:
    """Send one reply after the other, the next leased in the transaction that records the last; True: look again."""
    if desk.unread():
        return False
    until = desk.lease_until()
    with desk.database.transaction() as tx:
        job = _claim(tx, desk, until)
    looked = True
    while job is not None:
        job, looked = _reply(desk, job, mailer, sent_mail, in_turn=True)
    return not looked


def _claim(tx: Transaction, desk: Desk, until: float, only: int | None = None) -> Job | None:
    leased = workflows.claim_replying(tx, desk.claim(), desk.policy.lease_seconds, only)
    return Job(*leased, until) if leased else None


def _reply(
    desk: Desk, job: Job, mailer: Mailer, sent_mail: SentMail | None, *, in_turn: bool
) -> tuple[Job | None, bool]:
    """Send a reply or find out what became of it; returns the next job, and whether one was looked for."""
    if job.claimed.in_doubt:
        _look_into_sent_mail(desk, job.claimed, sent_mail)
        return None, False
    if desk.unread():
        # Perhaps an undo. Asked once more, for the lease may have waited for the very database that could not store it.
        insist(desk, lambda: _put_back(desk, job.claimed))
        return None, False
    message = _message(desk, job.claimed, job.email)
    if message is None or not _send(desk, job, message, mailer, sent_mail):
        return None, False
    in_turn = in_turn and not desk.wait(0)
    return insist(desk, lambda: _record_sent(desk, job.claimed, accepted=True, in_turn=in_turn)), in_turn


def _put_back(desk: Desk, claimed: Claimed) -> None:
    with desk.database.transaction() as tx:
        if workflows.put_back(tx, claimed, delay=1) and workflows.is_asked_back(tx, claimed.workflow):
            _take_back(tx, desk, claimed.workflow)


def _message(desk: Desk, claimed: Claimed, email: Email) -> bytes | None:
    """Make what SMTP is to get, or give the workflow up when that is not what was approved."""
    try:
        if claimed.email_status != IN_WORK:
            reason = f"{reasons.dealt_with_elsewhere(claimed.email_status)}, so nothing was sent"
        else:
            letter = write_letter(claimed.workflow, email, desk.policy)
            if letter.fingerprint == claimed.workflow.approved_hash:
                return build_message(letter, claimed.workflow, email, desk.policy)
            _offer_as_it_is_now(desk, claimed)
            return None
    except UnsafeReply as error:
        reason = reasons.reply_unsafe(error)
    except Exception as error:
        log.exception("workflow %d: its reply could not be put together", claimed.workflow.id)
        reason = reasons.reply_not_made(error)
    with desk.database.transaction() as tx:
        give_up(tx, desk, claimed.workflow, reason, claimed.claim)
    return None


def _offer_as_it_is_now(desk: Desk, claimed: Claimed) -> None:
    """Bring back a reply that is not what was approved (a new signature, say), for the owner to approve what it is."""
    with desk.database.transaction() as tx:
        doubt = OUTCOME_UNKNOWN if workflows.may_have_gone_out(tx, claimed.workflow.id) else None
        back = advance(
            tx,
            desk,
            claimed.workflow,
            State.AWAITING_USER,
            actor=Actor.TIMER,
            reason=reasons.NOT_WHAT_WAS_APPROVED,
            claim=claimed.claim,
            approved_hash=None,
            reply_message_id=None,
            send_started_at=None,
            offered_at=None,
            next_attempt_at=None,
            remind_at=None,
            timeout_at=None,
            error_message=doubt,
        )
        current = workflows.get(tx, claimed.workflow.id)
        if back and current is not None:
            tell_of(tx, desk, current, Sort.NOTICE, notices.changed_since(current))
            offer_anew(tx, desk, current, wording.AS_IT_IS_NOW)


def _send(desk: Desk, job: Job, message: bytes, mailer: Mailer, sent_mail: SentMail | None) -> bool:
    """Hand a reply to SMTP; returns whether it was accepted, which is yet to be recorded, unlike all else."""
    claimed, workflow = job.claimed, job.claimed.workflow
    try:
        answer = mailer.send(desk.policy.email_address, workflow.sender, message, job.until)
    except ServiceError as error:
        if error.kind is Kind.UNKNOWN:
            log.warning("workflow %d: %s; looking into Sent Mail", workflow.id, error)
            _look_into_sent_mail(desk, claimed, sent_mail, lookups=0)
        else:
            failure = error
            insist(desk, lambda: _record_failure(desk, claimed, failure))
    except Exception:
        # Whatever it was, it may have struck after the message was handed over.
        log.exception("workflow %d: the sending broke off", workflow.id)
        _look_into_sent_mail(desk, claimed, sent_mail, lookups=0)
    else:
        log.info("workflow %d: accepted by SMTP: %s", workflow.id, answer)
        return True
    return False


def _record_sent(desk: Desk, claimed: Claimed, *, accepted: bool, in_turn: bool = False) -> Job | None:
    """Record that a reply is out, which is so whoever has the lease by now and whatever others could not find out.

    One that SMTP has just accepted shows that mail works. Returns the next reply, leased in the same transaction, when
    it goes on in turn.
    """
    until = desk.lease_until()
    with desk.database.transaction() as tx:
        if not count_as_sent(tx, desk, claimed):
            log.error("workflow %d: its reply is out, but somebody else moved it meanwhile", claimed.workflow.id)
        elif accepted:
            mail_pause.forget(tx)
        return _claim(tx, desk, until) if in_turn else None


def _record_failure(desk: Desk, claimed: Claimed, error: ServiceError) -> None:
    workflow = claimed.workflow
    failures = workflow.attempts + 1
    delay = retry_delay(failures, error.kind, desk.policy.max_retry_attempts, desk.chance(), error.retry_after)
    with desk.database.transaction() as tx:
        # First the row: whoever texts an undo at this moment has it, and must have been heard.
        workflows.hold(tx, workflow.id)
        asked_back = workflows.is_asked_back(tx, workflow)
        if isinstance(error, AccountError):
            pause_mail(tx, desk, error, urgent=is_answer(tx.now, workflow.responded_at))
        if asked_back or isinstance(error, AccountError):
            kept = workflows.postpone(tx, claimed, delay=0, attempts=workflow.attempts, error=str(error))
            if asked_back and kept:
                _take_back(tx, desk, workflow)
        elif delay is None:
            give_up(tx, desk, workflow, str(error), claimed.claim)
        elif workflows.postpone(tx, claimed, delay=delay, attempts=failures, error=str(error)):
            log.warning("workflow %d: %s; trying again in %.0f s", workflow.id, error, delay)


def _take_back(tx: Transaction, desk: Desk, workflow: Workflow) -> None:
    """Do what the owner asked for while the reply was being handed over: it certainly was not taken."""
    current = workflows.hold(tx, workflow.id)
    if current is not None:
        actions.undo(tx, desk, current, Actor.SMS, said_at=current.responded_at)
        tell_of(tx, desk, current, Sort.ANSWER, wording.undone(current))


def _look_into_sent_mail(desk: Desk, claimed: Claimed, sent_mail: SentMail | None, lookups: int | None = None) -> None:
    """Find out whether a reply went out; ask the owner when that cannot be told. Never send it again from here."""
    workflow = claimed.workflow
    # After a crash the attempts are those of the sending, not of the looking.
    looked = workflow.attempts if workflow.doubt else 0
    done = looked if lookups is None else lookups
    try:
        found = sent_mail is not None and sent_mail.was_sent(workflow.reply_message_id or "")
    except ServiceError as error:
        log.warning("workflow %d: %s", workflow.id, error)
        found = False
    if found:
        log.info("workflow %d: found in Sent Mail", workflow.id)
        insist(desk, lambda: _record_sent(desk, claimed, accepted=False))
        return
    with desk.database.transaction() as tx:
        if sent_mail is not None and done < len(LOOK_AGAIN_AFTER):
            workflows.postpone(
                tx, claimed, delay=LOOK_AGAIN_AFTER[done], attempts=done + 1, error=OUTCOME_UNKNOWN, in_doubt=True
            )
        elif advance(
            tx,
            desk,
            workflow,
            State.FAILED,
            actor=Actor.TIMER,
            reason=OUTCOME_UNKNOWN,
            claim=claimed.claim,
            error_message=OUTCOME_UNKNOWN,
        ):
            tell_of(tx, desk, workflow, Sort.NOTICE, notices.outcome_unknown(workflow))
