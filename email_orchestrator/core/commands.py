"""The owner's text becomes a command, or honestly nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .owner_text import UNSEEN, fold, is_reaction, unwrap, without_signature


class Verb(StrEnum):
    """What a text asks for."""

    APPROVE = "approve"
    EDIT = "edit"
    IGNORE = "ignore"
    MORE = "more"
    LIST = "list"
    UNDO = "undo"
    RETRY = "retry"
    AGAIN = "again"
    MENU = "menu"
    NUMBER = "number"  # "#7" alone: completes an earlier command
    REACTION = "reaction"  # a tapback that quotes our own text
    CARRIER = "carrier"  # STOP, HELP, YES …: a word carriers act on
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed text: what is asked, of which workflow (None when none was named), and the instructions as typed.

    For `EDIT`, empty instructions mean the owner sent the bare word. For `REACTION` and `UNCLEAR`, `words` is the text
    itself without a phone signature and outer blanks (so it can serve as the instruction a bare `2` asked for); for
    `CARRIER` it is the carrier's word in upper case.
    """

    verb: Verb
    workflow_id: int | None = None
    words: str = ""


_WORDS = {
    **{"1": Verb.APPROVE, "approve": Verb.APPROVE, "send": Verb.APPROVE},
    **{"2": Verb.EDIT, "edit": Verb.EDIT},
    **{"3": Verb.IGNORE, "ignore": Verb.IGNORE, "skip": Verb.IGNORE},
    **{"more": Verb.MORE, "list": Verb.LIST, "undo": Verb.UNDO, "retry": Verb.RETRY},
    **{"again": Verb.AGAIN, "menu": Verb.MENU},
}
_WITHOUT_NUMBER = frozenset({Verb.LIST, Verb.MENU})

# Twilio's default opt-out, opt-in and help keywords, and those AWS adds
# (https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out,
# https://docs.aws.amazon.com/sms-voice/latest/userguide/keywords-required.html).
STOP_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "OPT-OUT", "REMOVE", "ARRET", "TD"}
)
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
_HELP_WORDS = frozenset({"HELP", "INFO", "AIDE"})
_CARRIER_WORDS = {word.casefold(): word for word in STOP_WORDS | START_WORDS | _HELP_WORDS}
_CARRIER_WORDS |= {"stop all": "STOPALL", "opt out": "OPTOUT", "arrêt": "ARRET"}

# Quantifiers are possessive ("++"): "#71" must never be read as "#7" and "1", and no input may cost more than one pass.
# A number without "#" stands on the same line as its command: "1⏎2" are two answers, not one.
_WHOLE = re.compile(
    r"(?:#(?P<before>[0-9]++)(?:[.,:;)][ \n]*+|[ \n]++))?"
    rf"(?P<word>{'|'.join(_WORDS)}|\?++)"
    r"(?:[.,:;)]?[ \n]*+#(?P<after>[0-9]++)| ++(?P<bare>[0-9]++))?"
)
_NUMBER_ALONE = re.compile(r"#([0-9]++)")

# After "2" or "#7" comes punctuation before a blank, punctuation before anything but a digit ("2.5 days", "2:30" are no
# edits), or a blank. Punctuation on a later line belongs to the instruction, which may be a list with dashes.
_SEPARATOR = r"(?: *+[.,:;)–—-]++(?=[ \n]|\Z)|[.,:;)–—-]++(?![0-9])|(?=[ \n#]|\Z))[ \n]*+"
_EDIT = re.compile(
    rf"(?:#(?P<before>[0-9]++){_SEPARATOR})?(?:2|edit){_SEPARATOR}(?:#(?P<after>[0-9]++){_SEPARATOR})?"
    r"(?P<another>(?=#[0-9]))?"
)
_QUESTION = re.compile(r"(?:#[0-9]++)? *+[?!]++")
_LONGEST_NUMBER = 18  # digits: any such number fits PostgreSQL's bigint


def parse_command(text: str) -> Command:
    """Given a text as it arrived, return the command it is.

    Never raises, and takes time in proportion to the text's length. Anything but an edit is a command only when it is
    the whole text, once blanks, invisible characters, surrounding quotes and brackets, trailing `. , ! ; : )` and a
    phone's signature are off; whatever is in doubt is `UNCLEAR`.
    """
    shown = without_signature(text)
    folded = fold(shown)
    compact = folded.replace(UNSEEN, "")
    whole = unwrap(compact)
    command = _whole_command(whole, shown)
    if command is not None:
        return command
    carrier_word = _CARRIER_WORDS.get(whole.casefold())
    if carrier_word is not None:
        return Command(Verb.CARRIER, words=carrier_word)
    # Before edits: a reaction with the emoji 2️⃣ begins like one.
    if is_reaction(text):
        return Command(Verb.REACTION, words=shown)
    return _edit(shown, folded, compact) or Command(Verb.UNCLEAR, words=shown)


def _whole_command(whole: str, shown: str) -> Command | None:
    """Return the command that the unwrapped text is as a whole, None when it is none."""
    alone = _NUMBER_ALONE.fullmatch(whole)
    if alone is not None:
        return _numbered(Verb.NUMBER, alone[1], shown)
    match = _WHOLE.fullmatch(whole)
    if match is None:
        return None
    verb = _WORDS.get(match["word"], Verb.MENU)
    numbers = [number for number in match.group("before", "after", "bare") if number is not None]
    if not numbers:
        return Command(verb)
    if len(numbers) > 1 or verb in _WITHOUT_NUMBER:
        return None
    if verb is Verb.EDIT and match["bare"] is not None:
        return None  # "2 3" asks for the change "3": an edit's draft is named with "#" only
    return _numbered(verb, numbers[0], shown)


def _edit(shown: str, folded: str, compact: str) -> Command | None:
    """Return the edit that the text begins with, its instructions cut from `shown` as typed; None when it is none."""
    match = _EDIT.match(compact)
    if match is None:
        return None
    visible = [position for position, character in enumerate(folded) if character != UNSEEN]
    start = visible[match.end()] if match.end() < len(visible) else len(shown)
    instructions = shown[start:]
    if _QUESTION.fullmatch(instructions):
        return None  # "2 ?" and "2 #7?" ask us something, and ask nothing of the draft
    number = match["before"] or match["after"]
    if number is None:
        return Command(Verb.EDIT, words=instructions)
    if match["another"] is not None or (match["before"] and match["after"]):
        return None  # two drafts are named
    return _numbered(Verb.EDIT, number, shown, instructions)


def _numbered(verb: Verb, digits: str, shown: str, words: str = "") -> Command:
    """Return the command for the workflow that `digits` name, an unclear one when no workflow can have the number."""
    if len(digits) > _LONGEST_NUMBER or int(digits) == 0:
        return Command(Verb.UNCLEAR, words=shown)
    return Command(verb, int(digits), words)
