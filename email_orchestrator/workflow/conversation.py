"""A conversation: what one text of the owner's asks for is done, and the owner is told."""

from __future__ import annotations

from datetime import timedelta

from ..core import wording
from ..core.commands import Command, Verb, parse_command
from ..core.hours import is_answer
from ..core.models import InboundText, Workflow
from ..core.states import Actor, State
from ..errors import WrongState
from ..store import inbox, standing, texts, workflows
from ..store.inbox import Received
from ..store.texts import Sort
from ..store.transaction import Transaction
from . import actions, asking, meaning
from .account import check_may_edit, is_in_hand, mail_rests, refusal, what_happened
from .desk import Desk, tell
from .pausing import resume_mail

# Commands that need a draft the owner has; the others find their workflow in other ways.
ON_A_DRAFT = (Verb.APPROVE, Verb.EDIT, Verb.IGNORE, Verb.MORE)
# These neither answer a question nor take the place of what was asked about.
LEAVE_QUESTIONS_OPEN = (Verb.CARRIER, Verb.REACTION)
# Seconds for which the replies wait that an undo may have meant.
TIME_TO_SAY_WHICH = 60
# What these mean depends on the texts before them.
DEPEND_ON_WHAT_WAS_SAID = (Verb.UNDO, Verb.NUMBER, Verb.UNCLEAR)


class Conversation:
    """One text of the owner's, in the transaction that acts on it."""

    def __init__(self, tx: Transaction, desk: Desk, received: Received) -> None:
        self.tx = tx
        self.desk = desk
        self.text: InboundText = received.text
        self.said_at = received.said_at
        # A text that was fetched hours later is not part of a conversation any more.
        self.fresh = is_answer(tx.now, self.said_at)
        # A command may have been begun by an earlier text, and is about what the owner had then.
        self.begun_at = self.said_at
        self._received = received

    def act(self) -> str:
        """Do what the text asks, and queue the answer; returns what was done in a few words."""
        command = parse_command(self.text.text)
        question = asking.open_question(self.tx, self.said_at)
        if question is not None and command.verb not in LEAVE_QUESTIONS_OPEN:
            asking.close_question(self.tx)
        if command.verb in DEPEND_ON_WHAT_WAS_SAID:
            self._keep_order(command)
        if question is not None and (completed := asking.complete(question, command)):
            command, self.begun_at = completed
        try:
            return self._dispatch(command)
        except WrongState as refused:
            self.say(str(refused))
            return f"{command.verb}: refused"

    def say(self, text: str) -> None:
        """Queue an answer."""
        tell(self.tx, self.desk, Sort.ANSWER, text, urgent=self.fresh)

    def _dispatch(self, command: Command) -> str:
        if command.verb in ON_A_DRAFT:
            return self._on_a_draft(command)
        match command.verb:
            case Verb.UNDO:
                return self._undo(command)
            case Verb.RETRY:
                return self._retry(command)
            case Verb.AGAIN:
                return self._again(command)
            case Verb.LIST:
                self.say(wording.waiting_list(standing.offered(self.tx)))
            case Verb.MENU:
                self.say(wording.MENU)
            case Verb.NUMBER:
                if workflow := self._named(command.workflow_id or 0):
                    self.say(what_happened(self.tx, self.desk, workflow))
            case _:
                return asking.not_a_command(self.tx, self.desk, command, urgent=self.fresh)
        return str(command.verb)

    def _on_a_draft(self, command: Command) -> str:
        workflow = self._which(command)
        if workflow is None:
            return f"{command.verb}: which one?"
        if workflow.is_on_its_way and meaning.answers(workflow, self.said_at):
            raise meaning.StillSending(self._received, workflow.id)
        if workflow.state is State.TIMEOUT and command.verb in (Verb.APPROVE, Verb.EDIT):
            note = wording.change_again(workflow) if command.words else wording.ONCE_MORE
            actions.offer_again(self.tx, self.desk, workflow, Actor.SMS, note=note, said_at=self.said_at)
            return f"{command.verb}: #{workflow.id} offered again"
        # What the owner does not have is left only by its number, and nothing else can be done with it.
        if workflow.is_still_to_come and not (command.verb is Verb.IGNORE and command.workflow_id):
            happened = what_happened(self.tx, self.desk, workflow)
            leave = f" {wording.how_to_leave(workflow)}" if command.verb is Verb.IGNORE else ""
            raise WrongState(happened + leave)
        if meaning.is_outdated(workflow, self.said_at, self.begun_at):
            self.say(wording.answered_too_early(workflow, command.verb))
            return f"{command.verb}: crossed with the draft of #{workflow.id}"
        match command.verb:
            case Verb.APPROVE:
                self._approve(workflow)
            case Verb.EDIT:
                self._edit(workflow, command)
            case Verb.IGNORE:
                actions.ignore(self.tx, self.desk, workflow, Actor.SMS, said_at=self.said_at)
                self._confirm(wording.ignored(workflow))
            case _:
                self._more(workflow)
        return f"{command.verb} #{workflow.id}"

    def _which(self, command: Command) -> Workflow | None:
        """Find the draft that is meant; where that is not clear, ask."""
        if command.workflow_id is not None:
            return self._named(command.workflow_id)
        offered = standing.offered(self.tx)
        meant = meaning.may_be_meant(self.tx, offered, self.said_at)
        # When none can be meant, the only one there is gets told that the text crossed with it.
        only = [workflow for workflow in offered if meant == {workflow.id} or (not meant and len(offered) == 1)]
        # What may be out already goes out by its number, or not at all.
        if only and not workflows.may_have_gone_out(self.tx, only[0].id):
            return workflows.hold(self.tx, only[0].id)
        if offered:
            listed = [one for one in offered if one.id in meant] or offered
            self._ask(command, wording.waiting_list(listed, command.verb))
        else:
            self._nothing_waits()
        return None

    def _approve(self, workflow: Workflow) -> None:
        if workflow.state is State.AWAITING_USER and workflow.hidden_chars:
            raise WrongState(wording.not_shown_yet(workflow))
        if is_in_hand(self.tx, workflow) and workflows.is_asked_back(self.tx, workflow):
            raise WrongState(wording.undo_in_hand(workflow))
        found = standing.before_approval(self.tx, workflow, self.said_at)
        if found.rest_shown:
            raise WrongState(wording.answered_too_early(workflow, Verb.APPROVE))
        delay = self.desk.policy.send_delay
        # An approval that is lost is acted on again, its text being in the inbox still; nothing is sent before a commit
        # that waits for the disk.
        self.tx.commit_asynchronously()
        actions.approve(self.tx, self.desk, workflow, Actor.SMS, delay=delay, said_at=self.said_at)
        due = self.tx.now + timedelta(seconds=delay)
        way_back = "" if found.may_be_out else f" {wording.how_to_stop(workflow)}"
        if rest := mail_rests(self.tx, self.desk, workflow, found.pause, due):
            self.say(rest + way_back)
        elif delay:
            self._confirm(wording.sending_soon(workflow, delay) + way_back)

    def _edit(self, workflow: Workflow, command: Command) -> None:
        if workflow.state is State.AWAITING_USER and not command.words:
            check_may_edit(self.desk, workflow)
            self._ask(Command(Verb.EDIT, workflow.id), wording.what_to_change(workflow))
            return
        actions.edit(self.tx, self.desk, workflow, Actor.SMS, command.words, said_at=self.said_at)
        self._confirm(wording.rewriting(workflow))

    def _more(self, workflow: Workflow) -> None:
        if workflow.state is not State.AWAITING_USER:
            raise refusal(self.tx, self.desk, workflow)
        if hidden := max(texts.left_out(self.tx, workflow), workflow.hidden_chars):
            actions.show_more(self.tx, self.desk, workflow, hidden, urgent=self.fresh)
        else:
            self.say(wording.nothing_hidden(workflow))

    def _undo(self, command: Command) -> str:
        approved = meaning.may_be_undone(self.tx, self.said_at)
        # The approval may not have come in yet; it counts for nothing when it does.
        standing.owner_spoke(self.tx, command.workflow_id, self.said_at)
        if command.workflow_id is None and len(approved) != 1:
            if approved:
                workflows.put_off(self.tx, approved, TIME_TO_SAY_WHICH)
                self._ask(command, wording.undo_which(approved))
            else:
                self.say(wording.nothing_to("undo"))
            return "undo: which one?"
        if (workflow := self._named(command.workflow_id or approved[0].id)) is None:
            return "undo: no such number"
        if meaning.had_a_later_word(workflow, self.said_at):
            raise refusal(self.tx, self.desk, workflow)
        if is_in_hand(self.tx, workflow):
            workflows.ask_back(self.tx, workflow, self.said_at)
            self.say(wording.undo_in_hand(workflow))
        else:
            actions.undo(self.tx, self.desk, workflow, Actor.SMS, said_at=self.said_at)
            self.say(wording.undone(workflow))
        return "undo"

    def _retry(self, command: Command) -> str:
        if command.workflow_id is None and resume_mail(self.tx, self.desk):
            self.say(wording.MAIL_RESUMED)
            return "retry: mail resumed"
        failed = standing.failed(self.tx)
        # What may be out already is sent again only by its name.
        if command.workflow_id is None and (len(failed) != 1 or workflows.may_have_gone_out(self.tx, failed[0].id)):
            if failed:
                self._ask(command, wording.failed_list(failed))
            else:
                self.say(wording.nothing_to("try again"))
            return "retry: which one?"
        if workflow := self._named(command.workflow_id or failed[0].id):
            if workflow.doubt and meaning.is_earlier(self.begun_at, workflow.updated_at):
                raise refusal(self.tx, self.desk, workflow)
            actions.retry(self.tx, self.desk, workflow, Actor.SMS, said_at=self.said_at)
            self._confirm(wording.trying_again(workflow))
        return "retry"

    def _again(self, command: Command) -> str:
        offered = standing.offered(self.tx)
        if command.workflow_id is None and not offered:
            self._nothing_waits()
            return "again: nothing waits"
        if command.workflow_id is None and len(offered) > 1:
            self._ask(command, wording.waiting_list(offered, command.verb))
            return "again: which one?"
        if workflow := self._named(command.workflow_id or offered[0].id):
            actions.offer_again(self.tx, self.desk, workflow, Actor.SMS, said_at=self.said_at)
        return "again"

    def _keep_order(self, command: Command) -> None:
        """Wait with this text while an earlier one waits for a sending to be recorded, unless it is about another."""
        earlier = inbox.earlier_waits(self.tx, self._received)
        of_another = command.verb is Verb.UNDO and command.workflow_id is not None
        if earlier is not None and not (of_another and command.workflow_id != earlier):
            raise meaning.StillSending(self._received, earlier)

    def _named(self, number: int) -> Workflow | None:
        """Find and hold a workflow by its number; say so when there is none."""
        workflow = workflows.hold(self.tx, number)
        if workflow is None:
            self.say(wording.unknown_number(number))
        return workflow

    def _ask(self, command: Command, question: str) -> None:
        """Ask for what a command lacks."""
        asking.ask_back(self.tx, command, self.said_at)
        self.say(question)

    def _nothing_waits(self) -> None:
        last = standing.last_moved(self.tx)
        self.say(wording.nothing_waits(what_happened(self.tx, self.desk, last) if last else ""))

    def _confirm(self, text: str) -> None:
        if self.desk.policy.confirm:
            self.say(text)
