"""The sentences that answer the owner."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .commands import Verb
from .hours import show_time
from .models import Workflow
from .policy import Policy
from .quoting import display_address, quote_line
from .states import State

MENU = (
    "Text 1 to send a draft, 2 <what to change> to rewrite it, 3 to leave it. With several waiting, name one: 1 #7. "
    "Also: list, more #7, undo, again #7, retry #7."
)
NOTHING_WAITS = "No draft waits for you."
MAIL_RESUMED = "Trying to send mail again."
# Beside a draft that is texted for another reason than that it is new.
ONCE_MORE = "Once more"
AS_IT_IS_NOW = "As it is now"
REMINDER = "Reminder"


def about(workflow: Workflow) -> str:
    """Name a workflow in a few words: number, sender, subject."""
    subject = quote_line(workflow.subject, 40)
    return f"#{workflow.id} {display_address(workflow.sender)}" + (f': "{subject}"' if subject else "")


def sent(workflow: Workflow) -> str:
    """Confirm that SMTP accepted the reply."""
    return f"✅ Sent to {display_address(workflow.sender)} (#{workflow.id})"


def sending_soon(workflow: Workflow, delay: int) -> str:
    """Say that an approved reply leaves after the delay."""
    return f"Sending to {display_address(workflow.sender)} in {delay} s (#{workflow.id})."


def waits_for_mail(workflow: Workflow, until: datetime | None, policy: Policy) -> str:
    """Say that an approved reply waits, as all mail does, until a moment or until somebody acts (None)."""
    if until is None:
        rest = 'the mail account does not let us in. Mend it, then text "retry".'
    else:
        rest = f"no mail goes out for now. It does by itself from {show_time(until, policy)}."
    return f"#{workflow.id} is approved, but {rest}"


def how_to_stop(workflow: Workflow) -> str:
    """Say how to take back an approval."""
    return f'Text "undo #{workflow.id}" to stop it.'


def how_to_leave(workflow: Workflow) -> str:
    """Say how to leave an email unanswered."""
    return f"3 #{workflow.id} leaves it."


def rewriting(workflow: Workflow) -> str:
    """Confirm an edit."""
    return f"✏️ Rewriting #{workflow.id}. The new draft follows."


def ignored(workflow: Workflow) -> str:
    """Confirm that an email is left, or a reply of unknown fate given up."""
    return f"Closed: {about(workflow)}. {fate(workflow)}" if workflow.doubt else f"Left unanswered: {about(workflow)}"


def change_again(workflow: Workflow) -> str:
    """Say beside a draft that comes again that the change was not made to it."""
    return f"Text your change again: 2 #{workflow.id} ..."


def offer_note(workflow: Workflow) -> str:
    """Say what the owner should know about a draft beside its text."""
    if workflow.revision > 1:
        return f"Draft {workflow.revision}"
    return f"Replaces #{workflow.supersedes}" if workflow.supersedes else ""


def undone(workflow: Workflow) -> str:
    """Confirm that an approval was taken back."""
    number = f"#{workflow.id}"
    if workflow.timeout_at is None:
        return f"Taken back: {number} was not sent. Its draft comes once more as a text."
    return f"Taken back: {number} was not sent and waits again. 1 {number} sends it."


def undo_in_hand(workflow: Workflow) -> str:
    """Answer an undo of a reply that is just being handed over."""
    number = f"#{workflow.id}"
    return f"{number} is on its way out. If the mail server does not take it now, it is taken back and you hear of it."


def trying_again(workflow: Workflow) -> str:
    """Confirm a retry."""
    return f"Trying again: {about(workflow)}"


def what_to_change(workflow: Workflow) -> str:
    """Ask for the instructions that an edit lacks."""
    return f"What shall I change in #{workflow.id}? Text it now, for example: shorter and more friendly"


def too_many_edits(workflow: Workflow) -> str:
    """Refuse another edit."""
    number = f"#{workflow.id}"
    times = {0: "may not be rewritten", 1: "was rewritten once, that is the limit"}
    done = times.get(workflow.edit_iteration, f"was rewritten {workflow.edit_iteration} times, that is the limit")
    return f"{number} {done}. 1 {number} sends it, {how_to_leave(workflow)}"


def not_shown_yet(workflow: Workflow) -> str:
    """Refuse an approval of a draft that the owner has not seen whole."""
    return (
        f"Not sent: you have not seen the last {workflow.hidden_chars} characters of #{workflow.id}. "
        f'Text "more #{workflow.id}" first.'
    )


def no_draft_yet(workflow: Workflow) -> str:
    """Refuse an approval where there is not a word to send."""
    return f'Not sent: #{workflow.id} has no draft. Text "2 #{workflow.id} <what to say>" to have one written.'


def answered_too_early(workflow: Workflow, verb: Verb) -> str:
    """Refuse an answer that was written before the draft it would be for was on its way; repeat what it asked."""
    again = {Verb.APPROVE: f"1 #{workflow.id}", Verb.IGNORE: f"3 #{workflow.id}", Verb.MORE: f"more #{workflow.id}"}
    words = again.get(verb, f"2 #{workflow.id} <what to change>")
    return f"Your text crossed with a newer draft of {about(workflow)}. If you mean the one you have now, text {words}."


def unknown_number(number: int) -> str:
    """Say that no workflow has this number."""
    return f'There is no #{number}. Text "list" to see what waits.'


def nothing_hidden(workflow: Workflow) -> str:
    """Answer a request for more of a draft that was shown whole."""
    return f'You have seen all of #{workflow.id}. "again #{workflow.id}" texts it once more.'


def nothing_to(verb: str) -> str:
    """Say that there is nothing to undo or to try again."""
    return f'There is nothing to {verb}. Text "list" to see what waits.'


def nothing_waits(happened: str) -> str:
    """Say that no draft waits, and what happened to the last one, if there was any."""
    return f"{NOTHING_WAITS} {happened}".rstrip()


def waiting_list(workflows: Sequence[Workflow], verb: str | None = None) -> str:
    """List drafts, with the words to use; `verb` is the command that needs a number, when there was one."""
    if not workflows:
        return NOTHING_WAITS
    count = f"{len(workflows)} drafts wait" if len(workflows) > 1 else "1 draft waits"
    head = f"{count}:" if verb is None else f"Which one? Nothing was done yet. {count}:"
    names = [about(one) + (" (still to come as a text)" if one.is_still_to_come else "") for one in workflows[:10]]
    more = [f"and {len(workflows) - 10} more"] if len(workflows) > 10 else []
    answerable = next((one for one in workflows[:10] if not one.is_still_to_come), None)
    words = f"1 #{answerable.id} sends, 2 #{answerable.id} <what to change> rewrites, " if answerable else ""
    return "\n".join([head, *names, *more, words + how_to_leave(answerable or workflows[0])])


def undo_which(workflows: Sequence[Workflow]) -> str:
    """List approved replies that can still be taken back."""
    lines = ["Which one?", *(about(workflow) for workflow in workflows[:10])]
    lines.append(f'Text "undo #{workflows[0].id}" within a minute.')
    return "\n".join(lines)


def not_acted_on(text: str) -> str:
    """Own up to a text that could not be acted on because of a fault of ours."""
    return f'⚠️ I could not act on "{quote_line(text, 30)}". Nothing was sent. Text "list" to see how things stand.'


def failed_list(workflows: Sequence[Workflow]) -> str:
    """List workflows that failed, with the words to use."""
    doubt = " (may be out already)"
    names = [about(one) + (doubt if one.doubt else "") for one in workflows[:10]]
    lines = ["Which one?", *names, f'Text "retry #{workflows[0].id}".']
    return "\n".join(lines)


def not_understood(text: str) -> str:
    """Answer a text that is no command."""
    return f'I did not understand "{quote_line(text, 30)}". Nothing was sent. {MENU}'


def carrier_word(word: str) -> str:
    """Answer a word that the carrier, not we, may have acted on."""
    return f"{word} is not a command here, but your carrier may act on it and block these texts. {MENU}"


def how_it_stands(workflow: Workflow, policy: Policy, reason: str | None = None) -> str:
    """Say what became of a workflow and when, for a command that comes too late or too soon.

    `reason` is why it was closed, where that is not its `error`.
    """
    when = show_time(workflow.updated_at, policy)
    number = f"#{workflow.id}"
    match workflow.state:
        case State.REPLY_SENT:
            sent_at = workflow.reply_sent_at or workflow.updated_at
            return f"{number} was already sent to {display_address(workflow.sender)} on {show_time(sent_at, policy)}."
        case State.USER_IGNORED:
            why = reason or (None if workflow.doubt else workflow.error)
            return f"{number} was closed on {when}{f' ({why})' if why else ''}. {fate(workflow)}"
        case State.TIMEOUT:
            back = "" if workflow.texts_cleared_at else f' Text "again {number}" to have it back.'
            return f"{number} timed out on {when}. {fate(workflow)}{back}"
        case State.FAILED if workflow.doubt:
            return (
                f"Whether the reply to {number} went out on {when} is not known. Look into Sent Mail, then text "
                f'"retry {number}" to send it again or "3 {number}" to close it.'
            )
        case State.FAILED:
            return f'{number} failed on {when}: {workflow.error}. Text "retry {number}" or "3 {number}".'
        case State.USER_APPROVED:
            return f"{number} is approved and on its way out."
        case State.AWAITING_USER if not workflow.is_on_its_way:
            words = f"1 {number} sends it, 2 {number} ... rewrites it, 3 {number} leaves it"
            return f"{about(workflow)} waits for you: {words}."
        case State.SMS_SENDING | State.SMS_SENT | State.AWAITING_USER:
            held = ", in quiet hours when they are over" if policy.quiet_hours else ""
            return f"The draft of {number} is being texted to you{held}."
        case _:
            return f"The draft of {number} is still being written; you get it as a text."


def texts_cleared(workflow: Workflow) -> str:
    """Refuse to take up a workflow whose texts are gone."""
    return f"#{workflow.id} ended too long ago: its texts were cleared, and it cannot be taken up again."


def fate(workflow: Workflow) -> str:
    """Say what is known of a reply to a workflow that is closed."""
    return "Whether a reply went out before is not known." if workflow.doubt else "Nothing was sent."
