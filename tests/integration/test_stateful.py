"""Any interleaving of steps, answers, crashes, lapsed leases and passing hours keeps what must hold.

Hypothesis plays the world: it chooses what happens next, what breaks in it, and what another process does meanwhile.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, cast

import hypothesis.strategies as st
import invariants
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from email_orchestrator.core.models import GeneratedDraft, InboundText, SentText, TextStyle
from email_orchestrator.core.states import Actor
from email_orchestrator.errors import (
    AccountError,
    DatabaseUnavailable,
    Kind,
    NotFound,
    ServiceError,
    Trouble,
    WrongState,
)
from email_orchestrator.store.connection import Database
from email_orchestrator.store.transaction import Transaction
from email_orchestrator.workflow import actions, answering, drafting, emailing, intake, replying, texting, upkeep

if TYPE_CHECKING:
    from .conftest import Belt

STEPS = 40
MOST_EMAILS = 6  # fewer than may wait for the owner at a time
SENDERS = ("ann@example.com", "bob@example.com")
THREADS = ("<one@example.com>", "<two@example.com>", "")
WORDS = (
    *("1 #{}", "1 #{}", "1 #{}", "2 #{} shorter", "3 #{}", "retry #{}", "undo #{}", "again #{}", "more #{}", "#{}"),
    *("1", "2", "2 shorter", "3", "retry", "undo", "again", "list", "ok", "Liked “1=Send”"),
)


class Crash(BaseException):
    """The process is gone, and whatever it held with it."""


@dataclass(frozen=True)
class Break:
    """What goes wrong in a call to the outside: before it has an effect, or after."""

    error: BaseException
    done: bool


def _service(kind: Kind) -> ServiceError:
    return ServiceError("Outside", "trouble", kind)


BREAKS = {
    "crash before": Break(Crash(), done=False),
    "crash after": Break(Crash(), done=True),
    "transient": Break(_service(Kind.TRANSIENT), done=False),
    "permanent": Break(_service(Kind.PERMANENT), done=False),
    "unknown, not done": Break(_service(Kind.UNKNOWN), done=False),
    "unknown, done": Break(_service(Kind.UNKNOWN), done=True),
    "a bug after": Break(RuntimeError("a bug"), done=True),
    "account busy": Break(AccountError("Outside", "454", Trouble.BUSY), done=False),
    "password refused": Break(AccountError("Outside", "535", Trouble.CREDENTIALS), done=False),
}
FITTING = {
    "draft": ("crash before", "crash after", "transient", "permanent"),
    "text": ("crash before", "crash after", "transient", "permanent", "unknown, not done", "unknown, done"),
    "reply": tuple(BREAKS),
    "notice": ("crash before", "crash after", "transient", "permanent", "account busy"),
    "answer": (),
    "poll": (),
    "timeouts": (),
    "stranded": (),
}
COMMITS = ("crash before", "crash after", "lost", "unheard")


T = TypeVar("T")


class FragileDatabase(Database):
    """A database whose commits can fail: `trouble` says in which commit from now on, and how."""

    trouble: tuple[int, str] | None = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        after, how = self.trouble or (-1, "")
        if self.trouble is not None:
            self.trouble = (after - 1, how) if after > 0 else None
        now = after == 0
        with super().transaction() as tx:
            yield tx
            if now and how == "crash before":
                raise Crash
            if now and how == "lost":
                raise DatabaseUnavailable("The connection was lost.")
        if now and how == "crash after":
            raise Crash
        if now and how == "unheard":
            raise DatabaseUnavailable("The connection was lost as the commit was answered.")


class World:
    """The outside systems: `broken` is what goes wrong in the next call, `meanwhile` what others do during it."""

    def __init__(self, check_mail: Callable[[str, bytes], None]) -> None:
        self.broken: Break | None = None
        self.meanwhile: Callable[[], None] | None = None
        self.texts: list[SentText] = []
        self.mails: list[invariants.Mail] = []
        self.forgetful = False
        self._check_mail = check_mail
        self._numbers = itertools.count(1)

    def generate(self, message_id: str, tone: str, max_length: int | None, context: str | None) -> GeneratedDraft:
        number = next(self._numbers)
        # Every second draft is long enough for several parts.
        text = f"Draft number {number}." + " And so on and so forth, as letters do." * (12 * (number % 2))
        return self._act(lambda: GeneratedDraft(f"D{number}", text, "test", 1))

    def record_action(self, draft_id: str, action: str) -> None:
        raise AssertionError("nobody reports here")

    def send(self, to_or_from: str, text_or_to: str, message: bytes = b"", until: float = 0.0) -> str:
        if message:
            return self._act(lambda: self._accept_mail(text_or_to, message))
        return self._act(lambda: self._accept_text(text_or_to))

    def incoming(self, since: datetime) -> list[InboundText]:
        return []

    def outgoing(self, phone_number: str, since: datetime) -> list[SentText]:
        return [] if self.forgetful else list(self.texts)

    def was_sent(self, message_id: str) -> bool:
        return any(f"Message-ID: {message_id}".encode() in mail.content for mail in self.mails)

    def _accept_text(self, text: str) -> str:
        self.texts.append(SentText("+15551234567", text, datetime.now(UTC)))
        return f"G{len(self.texts)}"

    def _accept_mail(self, recipient: str, message: bytes) -> str:
        if recipient != "owner@example.com":
            self._check_mail(recipient, message)
            self.mails.append(invariants.Mail(recipient, message))
        return "250 OK"

    def _act(self, do: Callable[[], T]) -> T:
        broken, self.broken = self.broken, None
        meanwhile, self.meanwhile = self.meanwhile, None
        if broken is not None and not broken.done:
            raise broken.error
        result = do()
        if meanwhile is not None:
            meanwhile()
        if broken is not None:
            raise broken.error
        return result


class Mistakes(logging.Handler):
    """Collects the tracebacks in the log: a step that hides a fault of ours would be no proof of anything."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and "a bug" not in str(record.exc_info[1]):
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


class Machine(RuleBasedStateMachine):
    """A belt in a world that Hypothesis breaks."""

    def __init__(self, belt: Belt) -> None:
        super().__init__()
        belt.sql(
            "TRUNCATE processed_emails, workflow_state, workflow_event, draft, sms_inbox, sms_outbox, service_state"
            " RESTART IDENTITY CASCADE"
        )
        self.belt = belt
        self.database = FragileDatabase(belt.dsn)
        self.world = World(self.check_mail)
        policy = replace(belt.desk.policy, max_edit_iterations=3, max_replies_per_sender=1000, style=TextStyle())
        self.desk = replace(belt.desk, database=self.database, policy=policy)
        self.touched: set[str] = set()
        self.gone: set[int] = set()
        self.erased: list[str] = []
        self.troubles = 0
        self.emails = 0
        self.mistakes = Mistakes()
        logging.getLogger("email_orchestrator").addHandler(self.mistakes)
        self.steps: dict[str, Callable[[], object]] = {
            "poll": lambda: intake.poll(self.desk, None),
            "answer": lambda: answering.answer_one(self.desk),
            "draft": lambda: drafting.draft_one(self.desk, self.world),
            "text": lambda: texting.text_one(self.desk, self.world),
            "reply": lambda: replying.reply_one(self.desk, self.world, self.world),
            "notice": lambda: emailing.email_one(self.desk, self.world),
            "timeouts": lambda: upkeep.check_timeouts(self.desk),
            "stranded": lambda: upkeep.offer_stranded(self.desk),
        }
        # From the first poll on no email is too old, however long nobody polls.
        self.do("poll")

    # What happens ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.emails < MOST_EMAILS)
    @rule(sender=st.sampled_from(SENDERS), thread=st.sampled_from(THREADS))
    def an_email_comes_in(self, sender: str, thread: str) -> None:
        self.emails += 1
        message_id = f"<m{self.emails}@example.com>"
        self.belt.email(sender, message_id=message_id, thread_id=thread or message_id, body=f"Hello from {message_id}")

    @initialize(emails=st.integers(1, 3), offered=st.sampled_from((True, True, False)))
    def it_begins(self, emails: int, offered: bool) -> None:
        for _ in range(emails):
            self.an_email_comes_in(SENDERS[0], "")
        if offered:
            self.all_that_is_due_is_done()

    @rule()
    def all_that_is_due_is_done(self) -> None:
        self.do("poll")
        while any([self.do(step) for step in ("answer", "draft", "text", "reply", "notice")]):  # noqa: C419 - each has its turn
            pass

    @rule(steps=st.lists(st.sampled_from(("poll", "draft", "text", "answer", "reply")), min_size=1, max_size=10))
    def some_steps(self, steps: list[str]) -> None:
        for step in steps:
            self.do(step)

    @rule(step=st.sampled_from(("draft", "text", "reply", "reply", "notice")), data=st.data())
    def a_step_whose_call_breaks(self, step: str, data: st.DataObject) -> None:
        self.give_something_to(step)
        self.world.broken = BREAKS[data.draw(st.sampled_from(FITTING[step]))]
        self.do(step)
        self.world.broken = None

    @rule(step=st.sampled_from(sorted(FITTING)), commit=st.integers(0, 2), how=st.sampled_from(COMMITS))
    def a_step_whose_commit_breaks(self, step: str, commit: int, how: str) -> None:
        self.give_something_to(step)
        self.database.trouble = (commit, how)
        self.do(step)
        self.database.trouble = None

    @rule(
        step=st.sampled_from(("draft", "text", "reply", "reply")),
        others=st.lists(st.sampled_from((*sorted(FITTING), "lapse", "hurry")), min_size=1, max_size=4),
    )
    def a_step_that_takes_so_long_that_others_go_on(self, step: str, others: list[str]) -> None:
        self.give_something_to(step)

        def meanwhile() -> None:
            for other in others:
                if other == "lapse":
                    self.belt.lapse()
                elif other == "hurry":
                    self.belt.hurry()
                else:
                    self.do(other)

        self.world.meanwhile = meanwhile
        self.do(step)
        self.world.meanwhile = None

    @rule(words=st.sampled_from(WORDS), number=st.integers(1, 4), early=st.sampled_from((0, 0, 0, 3)))
    def the_owner_texts(self, words: str, number: int, early: int) -> None:
        self.belt.text(words.format(number), at=datetime.now(UTC) - timedelta(seconds=early))

    @rule(words=st.sampled_from(("1 #{}", "1 #{}", "1 #{}", "2 #{} shorter", "3 #{}")), place=st.integers(0, 2))
    def the_owner_answers_a_draft_that_waits(self, words: str, place: int) -> None:
        if waiting := self.waiting():
            self.hear(words.format(waiting[place % len(waiting)]))

    @rule(words=st.sampled_from(("retry #{}", "retry #{}", "retry", "3 #{}")))
    def the_owner_answers_to_a_failure(self, words: str) -> None:
        failed = self.belt.sql("SELECT id FROM workflow_state WHERE current_state = 'failed' ORDER BY id")
        if failed:
            self.hear(words.format(failed[0][0]))

    @rule(
        number=st.integers(1, 4),
        how=st.sampled_from(("approve", "edit", "ignore", "undo", "retry", "again", "time out")),
    )
    def somebody_acts_from_a_shell(self, number: int, how: str) -> None:
        with suppress(WrongState, NotFound), self.database.transaction() as tx:
            workflow = actions.find(tx, str(number))
            match how:
                case "approve":
                    actions.approve(tx, self.desk, workflow, Actor.CLI)
                case "edit":
                    actions.edit(tx, self.desk, workflow, Actor.CLI, "longer")
                case "ignore":
                    actions.ignore(tx, self.desk, workflow, Actor.CLI)
                case "undo":
                    actions.undo(tx, self.desk, workflow, Actor.CLI)
                case "retry":
                    actions.retry(tx, self.desk, workflow, Actor.CLI)
                case "again":
                    actions.offer_again(tx, self.desk, workflow, Actor.CLI)
                case _:
                    actions.time_out(tx, self.desk, workflow, Actor.CLI)

    @rule()
    def leases_lapse(self) -> None:
        self.belt.lapse()

    @rule()
    def pauses_between_attempts_are_over(self) -> None:
        self.belt.hurry()

    @rule(hours=st.sampled_from((1, 25, 49)))
    def hours_pass(self, hours: int) -> None:
        statements = self.belt.sql(
            "SELECT format('UPDATE %%I SET %%s', table_name, string_agg(format('%%1$I = %%1$I - interval ''%s h''',"
            " column_name), ', ')) FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type = 'timestamp with time zone' AND table_name <> 'schema_version' GROUP BY table_name",
            hours,
        )
        for (statement,) in statements:
            self.belt.sql(statement)
        for key in ("at", "until"):
            self.belt.sql(
                "UPDATE service_state SET value = jsonb_set(value, ARRAY[%s],"
                " to_jsonb((value ->> %s)::timestamptz - %s * interval '1 h')) WHERE value ->> %s IS NOT NULL",
                *(key, key, hours, key),
            )
        for check in ("timeouts", "stranded"):
            self.do(check)

    @rule(forgetful=st.booleans())
    def the_gateway_restarts(self, forgetful: bool) -> None:
        self.world.forgetful = forgetful

    @rule(status=st.sampled_from(("sent", "ignored", "pending")), number=st.integers(1, 4))
    def somebody_else_answers_an_email(self, status: str, number: int) -> None:
        self.touched.add(f"<m{number}@example.com>")
        self.belt.sql(
            "UPDATE processed_emails SET status = %s WHERE message_id = %s", status, f"<m{number}@example.com>"
        )

    @precondition(lambda self: len(self.gone) < 1)
    @rule(number=st.integers(1, 4))
    def the_monitor_cleans_up(self, number: int) -> None:
        if self.belt.sql("SELECT 1 FROM workflow_state WHERE id = %s", number):
            self.gone.add(number)
            self.erased += [
                part
                for (parts,) in self.belt.sql("SELECT parts FROM sms_outbox WHERE workflow_id = %s", number)
                for part in parts
            ]
            self.belt.sql(
                "DELETE FROM processed_emails USING workflow_state w"
                " WHERE w.message_id = processed_emails.message_id AND w.id = %s",
                number,
            )

    def give_something_to(self, step: str) -> None:
        """See to it that a step that is about to go wrong has something to do."""
        self.troubles += 1
        self.all_that_is_due_is_done()
        waiting = self.waiting()
        match step:
            case "reply" if waiting:
                self.hear(f"1 #{waiting[0]}")
            case "text" if waiting:
                self.hear(f"again #{waiting[-1]}")
            case "draft" if waiting:
                self.hear(f"2 #{waiting[0]} shorter")
            case "answer" if waiting:
                self.belt.text(f"1 #{waiting[0]}", at=datetime.now(UTC))
            case "timeouts":
                self.belt.sql("UPDATE workflow_state SET remind_at = now(), timeout_at = now() WHERE id %% 2 = 0")
            case "poll" | "draft" | "text" if self.emails < MOST_EMAILS:
                self.an_email_comes_in(SENDERS[1], "")
                if step != "poll":
                    self.do("poll")
                if step == "text":
                    self.do("draft")

    def hear(self, words: str) -> None:
        """Have the owner text something, and act on it."""
        self.belt.text(words, at=datetime.now(UTC))
        self.do("answer")

    def waiting(self) -> list[int]:
        """List the drafts that wait for the owner."""
        rows = self.belt.sql("SELECT id FROM workflow_state WHERE current_state = 'awaiting_user' ORDER BY id")
        return [row[0] for row in rows]

    def do(self, step: str) -> bool:
        """Do a step; False when there was nothing to do or the process did not live to tell."""
        try:
            return bool(self.steps[step]())
        except (Crash, DatabaseUnavailable):
            return False

    # What must hold -------------------------------------------------------------------------------------------------

    def check_mail(self, recipient: str, content: bytes) -> None:
        """At the moment SMTP takes a mail, its workflow is approved, and it is what was approved."""
        books = invariants.open_books(self.belt.dsn)
        mail = invariants.Mail(recipient, content)
        made = invariants.REPLY_ID.search(content.decode("ascii", "replace"))
        assert made is not None
        workflow = books.workflows[int(made[1])]
        assert workflow["current_state"] == "user_approved"
        assert workflow["send_started_at"] is not None
        assert list(invariants.wrong_mails(books, [*self.known_mails(), mail])) == []
        if "cli" not in [event["actor"] for event in books.events[workflow["id"]]]:
            self.check_shown(workflow["ai_reply_text"])

    def check_shown(self, draft: str) -> None:
        """The owner who approves by text has seen all of the draft."""
        seen = " ".join(" ".join(text.text for text in self.world.texts).split())
        assert draft.partition(".")[0] in seen
        assert seen.count("as letters do.") >= draft.count("as letters do.")

    @invariant()
    def what_must_hold_holds(self) -> None:
        books = invariants.open_books(self.belt.dsn)
        problems = [
            *invariants.broken_histories(books),
            *invariants.strayed_statuses(books, self.touched),
            *invariants.wrong_mails(books, self.known_mails()),
            *self.mistakes.found,
        ]
        assert problems == []

    def known_mails(self) -> list[invariants.Mail]:
        """The mails of workflows that have not been cleaned up since."""
        found = ((mail, invariants.REPLY_ID.search(mail.content.decode("ascii"))) for mail in self.world.mails)
        return [mail for mail, made in found if made and int(made[1]) not in self.gone]

    def teardown(self) -> None:
        """Once nothing breaks any more, everything comes to rest: nothing is stuck, and nothing was lost."""
        try:
            self.come_to_rest()
        finally:
            logging.getLogger("email_orchestrator").removeHandler(self.mistakes)
            self.database.close()

    def come_to_rest(self) -> None:
        self.world.broken = self.world.meanwhile = self.database.trouble = None
        self.belt.sql("DELETE FROM service_state WHERE key = 'mail_pause'")
        for _ in range(12):
            self.belt.lapse()
            self.belt.hurry()
            self.do("stranded")
            self.all_that_is_due_is_done()
        self.what_must_hold_holds()
        books = invariants.open_books(self.belt.dsn)
        texts = [text.text for text in self.world.texts]
        waiting = [f"#{number}: stands at {workflow['current_state']}" for number, workflow in books.workflows.items()
                   if workflow["current_state"] not in RESTING]  # fmt: skip
        unread = [f"never acted on: {text['message']}" for text in books.inbox if text["processed_at"] is None]
        left = [f"{id} is still pending" for id, status in books.emails.items()
                if status == "pending" and id not in self.touched]  # fmt: skip
        lost = list(invariants.lost_texts(books, texts, self.troubles, self.erased))
        assert [*waiting, *unread, *left, *lost] == []


RESTING = ("awaiting_user", "reply_sent", "user_ignored", "timeout", "failed")


def test_whatever_happens_in_whatever_order_what_must_hold_holds(belt: Belt) -> None:
    profile = settings()
    # A failing example is a story of forty steps: to tell it shorter takes minutes, which only a search has.
    phases = [phase for phase in Phase if phase is not Phase.shrink or not profile.derandomize]
    run_state_machine_as_test(
        cast(type[Machine], lambda: Machine(belt)),
        settings=settings(
            max_examples=profile.max_examples // 8,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
            phases=phases,
            print_blob=True,
        ),
    )
