"""The database: can it be reached, is it prepared, may we write, what does it remember, what does its clock say?"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

from ..embedded.programs import OLDEST_MAJOR
from ..errors import DatabaseRefused, OrchestratorError, SchemaMismatch, WrongInstallation
from ..settings import Settings
from ..store import figures, schema, server
from ..store.connection import Database
from ..store.transaction import Transaction
from ..wiring import holds_data, make_database, reach_postgres
from .finding import Finding, Grade, trouble

CLOCK_TOLERANCE = timedelta(seconds=5)
REACH = "See that the server runs and lets this machine in, and look at DATABASE_URL, or DB_HOST and its fellows."


def look(settings: Settings) -> Generator[Finding, None, timedelta | None]:
    """Look at the database; returns how far its clock is ahead of ours, None where that cannot be told."""
    if settings.dsn is None and not holds_data(settings.data_dir):
        yield from _embedded_to_come(settings)
        return None
    try:
        # Without a server of the owner's choice this is the embedded one, which is started for the look if need be.
        with reach_postgres(settings, prepare=False) as dsn, closing(make_database(dsn)) as database:
            return (yield from _look_inside(database, settings))
    except DatabaseRefused as error:
        yield Finding("Database", Grade.WRONG, error.says, error.mend)
    except OrchestratorError as error:
        yield trouble("Database", error, "" if isinstance(error, WrongInstallation) else REACH)
    return None


def _embedded_to_come(settings: Settings) -> Iterator[Finding]:
    from ..embedded import EmbeddedPostgresError, find_binaries

    try:
        programs = find_binaries()
    except EmbeddedPostgresError as error:
        yield Finding("Database", Grade.WRONG, str(error), "Or name a server in DATABASE_URL or DB_HOST.")
        return
    says = f"no server is named; `run` makes an embedded one in {settings.data_dir.absolute()} (with {programs})"
    yield Finding("Database", Grade.OK, says)


def _look_inside(database: Database, settings: Settings) -> Generator[Finding, None, timedelta]:
    with database.transaction() as tx:
        described = server.describe(tx)
        ahead = described.now - datetime.now(UTC)
        missing = server.missing_rights(tx)
    yield _server(described)
    yield _clock(ahead)
    if missing:
        yield _lack(missing)
        return ahead
    try:
        schema.check(database)
    except SchemaMismatch as error:
        yield trouble("Schema", error, "")
        if not described.may_create:
            mend = f"GRANT CREATE ON SCHEMA public TO {described.user}, for the time of `email-orchestrator init-db`."
            yield Finding("Rights", Grade.WRONG, "our user may not make or change tables", mend)
    else:
        with database.transaction() as tx:
            yield from _contents(tx, settings)
    return ahead


def _server(described: server.Server) -> Finding:
    where = f"PostgreSQL {described.version}, database {described.database}, as {described.user}"
    if described.number < OLDEST_MAJOR * 10_000:
        return Finding("Database", Grade.WRONG, f"{where}: too old", f"PostgreSQL {OLDEST_MAJOR} or newer is needed.")
    if described.read_only:
        return Finding("Database", Grade.WRONG, f"{where}: takes no writing", "Name the primary server, not a copy.")
    return Finding("Database", Grade.OK, where)


def _contents(tx: Transaction, settings: Settings) -> Iterator[Finding]:
    yield Finding("Schema", Grade.OK, f"version {schema.VERSION}")
    yield Finding("Rights", Grade.OK, "to read and write every table")
    yield _emails_table(tx)
    pulse = figures.pulse(tx, settings.poll_lookback_hours, settings.timezone)
    yield _older_emails(pulse, settings)
    if pulse.texting_blocked_since:
        says = f"the owner texted STOP or the like on {_moment(pulse.texting_blocked_since, settings)}"
        mend = "If texts do not arrive any more, text START to the gateway's number."
        yield Finding("Texting", Grade.WARNING, says, mend)
    if pulse.replies_paused:
        until = pulse.replies_paused_until
        says = f"paused ({pulse.replies_paused}) until {_moment(until, settings) if until else 'somebody acts'}"
        yield Finding("Replies", Grade.WARNING, says, 'Text "retry", or restart the service, once it is mended.')


def _moment(at: datetime, settings: Settings) -> str:
    return f"{at.astimezone(settings.timezone):%Y-%m-%d %H:%M %Z}"


def _lack(rights: Sequence[str]) -> Finding:
    more = f" and {len(rights) - 4} more" if len(rights) > 4 else ""
    says = f"our user lacks {', '.join(rights[:4])}{more}"
    return Finding("Rights", Grade.WRONG, says, "Grant them, or use the user who ran `email-orchestrator init-db`.")


def _emails_table(tx: Transaction) -> Finding:
    missing = server.missing_email_columns(tx)
    if not missing:
        return Finding("Emails", Grade.OK, "processed_emails is as the Email Monitor makes it")
    says = f"processed_emails has no column {', '.join(missing)}"
    return Finding("Emails", Grade.WRONG, says, "See that DB_NAME is the Email Monitor's database, and update it.")


def _older_emails(pulse: figures.Pulse, settings: Settings) -> Finding:
    count = pulse.older_emails_left_alone
    if not count:
        return Finding("Older emails", Grade.OK, "none is left alone")
    says = f"{count} older than {settings.poll_lookback_hours} hours are left alone"
    return Finding("Older emails", Grade.OK, f"{says}; `email-orchestrator poll --lookback HOURS` takes them up")


def _clock(ahead: timedelta) -> Finding:
    seconds = ahead.total_seconds()
    if abs(ahead) <= CLOCK_TOLERANCE:
        return Finding("Clock", Grade.OK, f"this machine's and the database's are {abs(seconds):.1f} s apart")
    says = f"the database's is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} this machine's"
    return Finding("Clock", Grade.WARNING, says, "The database's decides; set both by NTP.")
