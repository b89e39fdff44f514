"""The daemon: keeps time. One blocking loop on `schedule`, workers for what is slow, the web server beside them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from . import systemd, wiring
from .errors import DatabaseUnavailable, OrchestratorError
from .settings import Settings
from .stop_sign import StopSign
from .store import schema, workflows
from .store.connection import Database
from .timetable import NotYet, Timetable
from .unread import UnreadTexts
from .vitals import Vitals
from .web.app import make_app
from .web.front import Front
from .web.refusals import Refusals
from .web.server import WebServer
from .workers import LONG_REST, REST, Bell, Outage, Staff, Worker
from .workflow import answering, drafting, emailing, feedback, intake, receiving, replying, retention, texting, upkeep
from .workflow.desk import Desk, Room, texting_room

log = logging.getLogger(__name__)

# SIGTERM to exit takes at most ten seconds, of which the workers and the web server may use this many.
TIME_TO_STOP = 8.0
TIME_TO_CLOSE = 2.0
LONGEST_TURN = 1.0
AN_HOUR = 3600
A_DAY = 86_400
WAIT_FOR_DATABASE = 2.0
LOOK_FOR_EMAILS = 1
READ_TEXTS = "fetch missed texts"
POLL = "poll"


@dataclass(frozen=True, slots=True)
class House:
    """Everything that runs in a daemon."""

    settings: Settings
    desk: Desk
    clients: wiring.Clients
    staff: Staff
    outage: Outage
    vitals: Vitals
    stop: StopSign
    unread: UnreadTexts


def run(settings: Settings, dsn: str) -> None:
    """Run until SIGTERM or SIGINT.

    Raises SchemaMismatch when the database is not prepared for this program, and OrchestratorError when a part of the
    service has stopped by itself: then all of it ends, to be started anew.
    """
    stop = StopSign()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.put_up)
    # A terminal that goes away is no reason to end; there is nothing to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    house = _furnish(settings, wiring.make_database(dsn, writes=True), stop)
    with _web_server(house) as server:
        house.vitals.thread("web", server.alive)
        if _wait_for_schema(house):
            _work(house, server.port)
        lost = [] if house.stop.is_set() else house.vitals.stopped_threads()
        if lost:
            house.stop.put_up()
        systemd.notify("STOPPING=1")
        log.info("stopping", extra={"fields": {"action": "stopping"}})
    _close(house)
    if lost:
        raise OrchestratorError(f"The thread {lost[0]} has stopped: start the service anew.")


def _work(house: House, port: int) -> None:
    timetable = _timetable(house)
    _catch_up(house, timetable)
    house.staff.start()
    systemd.notify("READY=1")
    fields = {"action": "ready", "port": port}
    host = f"[{house.settings.host}]" if ":" in house.settings.host else house.settings.host
    log.info("ready on %s:%d", host, port, extra={"fields": fields})
    timetable.run_all()
    _loop(house, timetable)


def _wait_for_schema(house: House) -> bool:
    """Check the schema, as soon as there is a database; False when the stop came first."""
    while not house.stop.is_set():
        house.vitals.turned()
        try:
            schema.check(house.desk.database)
            upkeep.start_anew(house.desk)
        except DatabaseUnavailable as error:
            house.outage.noticed(error)
            house.stop.wait(WAIT_FOR_DATABASE)
        else:
            house.outage.over()
            return True
    return False


def _catch_up(house: House, timetable: Timetable) -> None:
    """Act on what the owner texted while nothing ran, before anything is sent: it may have been an undo."""
    house.unread.note()
    timetable.run(READ_TEXTS)


def _read_texts(desk: Desk, clients: wiring.Clients) -> None:
    """Fetch the texts that the webhook missed, and act on all that have come."""
    try:
        receiving.fetch_missed_texts(desk, clients.gateway)
    finally:
        answering.answer_all(desk)


def _furnish(settings: Settings, database: Database, stop: StopSign) -> House:
    staff, outage, vitals = Staff(), Outage(), Vitals()
    reports: SimpleQueue[feedback.Report] = SimpleQueue()
    unread = UnreadTexts(lambda: _read_texts(desk, clients))
    desk = wiring.make_desk(
        settings, database, wake=staff.wake, stop=stop, reports=reports, unread=unread.are_waited_for
    )
    clients = wiring.make_clients(settings, vitals.called)

    def hire(name: str, bell: Bell, step: Callable[[], bool], rest: float = REST) -> None:
        worker = Worker(name, step, database, outage, stop, bell, rest)
        staff.add(worker)
        vitals.thread(name, worker.alive)

    to_draft = staff.bell(Room.DRAFTING)
    for number in range(1, settings.workers + 1):
        # One looks for new work unasked, and calls the others when there is some.
        rest = REST if number == 1 else LONG_REST
        hire(f"drafting-{number}", to_draft, lambda: drafting.draft_in_turn(desk, clients.generator), rest)
    # A gateway may take half a minute for a draft's text, and an answer must not wait for that.
    for urgent in (False, True):
        room = texting_room(urgent)
        hire(room, staff.bell(room), partial(texting.text_in_turn, desk, clients.gateway, urgent))
    hire(Room.REPLYING, staff.bell(Room.REPLYING), lambda: _reply_or_notify(desk, clients))
    hire(Room.ANSWERING, staff.bell(Room.ANSWERING), lambda: answering.answer_in_turn(desk))
    hire("feedback", staff.bell("feedback"), lambda: feedback.report(database, clients.generator, reports, REST), 0.0)
    return House(settings, desk, clients, staff, outage, vitals, stop, unread)


def _reply_or_notify(desk: Desk, clients: wiring.Clients) -> bool:
    """Approved replies go first; both speak to SMTP, so that they share its one connection."""
    busy = replying.reply_in_turn(desk, clients.mailer, clients.sent_mail) or emailing.email_one(desk, clients.mailer)
    if not busy:
        clients.mailer.close_idle()
    return busy


@contextmanager
def _web_server(house: House) -> Iterator[WebServer]:
    settings = house.settings
    front = Front(
        desk=house.desk,
        vitals=house.vitals,
        api_token=settings.api_token,
        signing_keys=settings.sms_webhook_signing_key,
        allow_from=settings.sms_webhook_allow_from,
        poll_interval=settings.poll_interval,
        lookback_hours=settings.poll_lookback_hours,
        not_stored=partial(_not_stored, house),
    )
    refusals = Refusals()
    server = WebServer(make_app(front, refusals), settings.host, settings.port, refusals)
    server.start()
    try:
        yield server
    finally:
        server.stop(TIME_TO_CLOSE)


def _not_stored(house: House, error: DatabaseUnavailable) -> None:
    house.unread.note()
    house.outage.noticed(error)


def _timetable(house: House) -> Timetable:
    settings, desk, clients = house.settings, house.desk, house.clients
    timetable = Timetable(house.outage, house.stop)
    arrivals = intake.Arrivals(desk)
    # Before the first poll, so that what comes in during it is noticed.
    timetable.every(LOOK_FOR_EMAILS, "look for new emails", lambda: timetable.run(POLL) if arrivals.any() else None)
    timetable.every(settings.poll_interval, POLL, _after_texts(house, lambda: intake.poll(desk, clients.monitor)))
    timetable.every(settings.sms_reconcile_interval, READ_TEXTS, house.unread.read)
    check = settings.timeout_check_interval
    timetable.every(check, "check timeouts", _after_texts(house, lambda: upkeep.check_timeouts(desk)))
    timetable.every(check, "offer stranded drafts", lambda: upkeep.offer_stranded(desk))
    timetable.every(AN_HOUR, "count closed workflows", lambda: upkeep.count_closed(desk))
    timetable.every(A_DAY, "clear old texts", lambda: retention.clear_old_texts(desk, settings.retention_days))
    return timetable


def _after_texts(house: House, action: Callable[[], object]) -> Callable[[], None]:
    """What the owner said in time counts before the clock and newer emails do, however late it is read."""

    def act() -> None:
        if house.unread.are_waited_for():
            raise NotYet
        answering.answer_all(house.desk)
        action()

    return act


def _loop(house: House, timetable: Timetable) -> None:
    """Turn until the stop, or until a thread is lost: do the jobs that are due, and show systemd that we are alive."""
    alive_every = systemd.watchdog_interval()
    alive_at = float("-inf")
    while not house.stop.is_set() and not house.vitals.stopped_threads():
        house.vitals.turned()
        if alive_every is not None and time.monotonic() - alive_at >= alive_every:
            systemd.notify("WATCHDOG=1")
            alive_at = time.monotonic()
        if house.unread.are_due():
            timetable.run(READ_TEXTS)
        house.stop.wait(min(LONGEST_TURN, timetable.turn()))


def _close(house: House) -> None:
    """Let the workers finish what they have in hand, and give back what they cannot."""
    late = house.staff.stop(max(1.0, house.stop.at + TIME_TO_STOP - time.monotonic()))
    if Room.REPLYING not in late:
        house.clients.mailer.close()
    try:
        with house.desk.database.transaction() as tx:
            workflows.release_claims(tx, house.desk.name + "/")
    except DatabaseUnavailable as error:
        house.outage.noticed(error)
    house.desk.database.close()
    log.info(
        "stopped%s", f"; not waited for: {', '.join(late)}" if late else "", extra={"fields": {"action": "stopped"}}
    )
