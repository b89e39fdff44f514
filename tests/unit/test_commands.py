"""The owner's texts, as phones really send them, become the right command or none."""

from __future__ import annotations

import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.commands import Command, Verb, parse_command
from email_orchestrator.core.owner_text import fold

OUR_TEXT = '📧 #7 John: "Meeting"\nDraft: "Yes"\n1=Send 2=Edit 3=Ignore'


def texts(*lines: str) -> list[str]:
    """Return the texts of a table, which are divided by `¦`."""
    return [text for line in lines for text in line.split("¦")]


APPROVALS = texts(
    "1¦ 1 ¦\n1\n¦\t1\r\n¦1.¦1,¦1!¦1;¦1:¦1)¦1 .¦1.)¦1!!!¦1...¦1 :)¦1 ;)¦(1)¦[1]¦{1}¦<1>¦\"1\"¦'1'¦`1`",
    '“1”¦‘1’¦«1»¦« 1 »¦„1“¦”1”¦「1」¦【1】¦“(1)”¦(1).¦"1."¦１¦1\ufe0f\u20e3¦1\u20e3¦①¦（１）¦１\u200b',
    "\u00a01\u00a0¦\u200b1\u200b¦\ufeff1¦\u20601¦1\u200d¦\u202a1\u202c¦\u20661\u2069¦1\u2028¦\u30001",
    "approve¦Approve¦APPROVE!¦send¦Send¦SEND¦Send.¦sEnD!¦ｓｅｎｄ¦ＳＥＮＤ¦s\u00adend¦“Send”¦(approve)",
    "1\n\nSent from my iPhone¦1\nSent from my iPhone.¦1\r\n\r\nSent from my iPad",
    "Send\n\nSent from my Galaxy S23¦1\nSent from my Samsung Galaxy smartphone.",
    "1\nSent from my Android phone with K-9 Mail.¦1\nSENT FROM MY IPHONE",
    "1\nSent from my T-Mobile 5G Device¦1\nSent from Outlook for iOS¦1\nGet Outlook for Android",
    "1\n--\nSent from my iPhone¦1\nSent from Yahoo Mail on Android¦1\nSent from Mail for Windows",
    "1\nSent from my Pixel 8 Pro¦1\nSent from my mobile phone",
    "1\nSent from my iPhone, please excuse typos¦1\nSent from my iPhone\nGet Outlook for iOS",
    "1\n\ufeffSent from my\u00a0iPhone\u200b¦1\nVon meinem iPhone gesendet¦1\nGesendet von meinem Handy",
    "1\nEnvoyé de mon iPhone¦1\nEnviado desde mi iPhone¦1\nEnviado do meu iPhone¦1\nInviato da iPhone",
    "1\nVerstuurd vanaf mijn iPhone¦1\nSkickat från min iPhone¦1\nSendt fra min iPhone",
    "1\nWysłane z iPhone'a¦1\nОтправлено с iPhone¦1\niPhoneから送信¦1\n发自我的 iPhone",
)

IGNORES = texts(
    "3¦3.¦3)¦(3)¦３¦3\ufe0f\u20e3¦③¦“3”¦ 3\u200b¦ignore¦Ignore¦IGNORE!¦skip¦Skip.¦SKIP",
    "3\n\nSent from my iPhone¦Skip\n\nSent from my Galaxy",
)

NAMED = [
    *[(text, Verb.APPROVE, 7) for text in texts("1 #7¦#7 1¦1 7¦1#7¦1\n#7¦#7\n1¦ 1  #7 ¦1. #7¦1) #7¦#7: 1")],
    *[(text, Verb.APPROVE, 7) for text in texts('Approve #7¦send #7!¦send 7¦#7 approve¦#7 Send.¦"1 #7"¦(1 7)¦１ ＃７')],
    *[(text, Verb.APPROVE, 7) for text in ("1️⃣ #️⃣7️⃣", "1 #07", "1\u00a0#7", "1 #7\n\nSent from my iPhone", "①\u3000７")],
    *[(f"1 {number}", Verb.APPROVE, number) for number in (1, 2, 3, 17, 999999999999999999)],
    ("#999999999999999999 1", Verb.APPROVE, 999999999999999999),
    *[(text, Verb.IGNORE, 7) for text in texts("3 #7¦#7 3¦3 7¦ignore #7¦skip #7.¦#7 skip¦Skip 7")],
    *[(text, Verb.MORE, 7) for text in ("more #7", "more 7", "#7 more", "More #7.")],
    *[(text, Verb.RETRY, 7) for text in ("retry 7", "retry #7", "#7 retry", "RETRY #7!")],
    *[(text, Verb.AGAIN, 7) for text in ("again #7", "again 7", "#7 again")],
    *[(text, Verb.UNDO, 7) for text in ("undo #7", "undo 7", "#7 undo")],
    *[
        (text, Verb.NUMBER, 7)
        for text in texts("#7¦ #7 ¦#7.¦(#7)¦“#7”¦＃７¦#\ufe0f\u20e37\ufe0f\u20e3¦#7\n\nSent from my iPhone")
    ],
    ("#71", Verb.NUMBER, 71),
]

WORDS = [
    *[(text, Verb.MORE) for text in ("more", "More", "MORE.", "(more)")],
    *[(text, Verb.LIST) for text in ("list", "List", "LIST!", '"list"')],
    *[(text, Verb.UNDO) for text in ("undo", "Undo!", "UNDO")],
    *[(text, Verb.RETRY) for text in ("retry", "Retry.")],
    *[(text, Verb.AGAIN) for text in ("again", "Again")],
    *[(text, Verb.MENU) for text in texts("?¦？¦??¦ ? ¦menu¦Menu¦MENU.¦(?)¦?\n\nSent from my iPhone")],
]

# Text, number named, instructions letter by letter.
EDITS: list[tuple[str, int | None, str]] = [
    *[(text, None, "") for text in texts("2¦2.¦2)¦(2)¦２¦2\ufe0f\u20e3¦②¦“2”¦2!¦2:¦2-¦2 -¦2 :)¦edit¦Edit:¦EDIT!")],
    ("2\n\nSent from my iPhone", None, ""),
    *[(text, 7, "") for text in texts("2 #7¦2#7¦#7 2¦edit #7¦Edit #7:¦#7 edit¦#7: 2.¦2 #7.¦“2 #7”¦2\ufe0f\u20e3 #7")],
    *[
        (text, None, "shorter")
        for text in texts(
            "2 shorter¦2  shorter¦2. shorter¦2) shorter¦2: shorter¦2, shorter¦2- shorter¦2 - shorter",
            "2 – shorter¦2 — shorter¦2.shorter¦2)shorter¦2:shorter¦2-shorter¦2... shorter¦2\nshorter",
            "2\r\nshorter¦edit shorter¦Edit: shorter¦EDIT shorter¦edit:shorter¦edit\nshorter¦ 2 shorter ",
            "２ shorter¦2\ufe0f\u20e3 shorter¦② shorter¦2\u00a0shorter¦2\u3000shorter¦\ufeff2 shorter",
            "2\u200b shorter\u200b¦ed\u00adit shorter¦2 shorter\n\nSent from my iPhone",
            "2 shorter\n-- \nSent from my Galaxy S23 Ultra",
        )
    ],
    *[
        (text, 7, "shorter")
        for text in texts(
            "2 #7 shorter¦#7 2 shorter¦2#7 shorter¦2 #7: shorter¦2 #7, shorter¦2: #7 - shorter¦2\n#7\nshorter",
            "#7: 2 shorter¦#7\n2\nshorter¦edit #7 shorter¦Edit #7: shorter¦#7 edit: shorter¦#7 Edit shorter",
            "２ ＃７ shorter¦2\ufe0f\u20e3 #\ufe0f\u20e37\ufe0f\u20e3 shorter¦2 #7 shorter\n\nSent from my iPhone",
        )
    ],
    ("2 7", None, "7"),
    ("edit 7", None, "7"),
    ("2 1", None, "1"),
    ("2 3 days later", None, "3 days later"),
    ("2 2nd paragraph shorter", None, "2nd paragraph shorter"),
    ("2 -5 degrees, not 5", None, "-5 degrees, not 5"),
    ("2 #7 3 days later", 7, "3 days later"),
    ("2 #7shorter", None, "#7shorter"),
    ("2 #7's order is the other one", None, "#7's order is the other one"),
    ("2 #hashtag first", None, "#hashtag first"),
    ("2 Say “Yes, 2pm!” — NOT 'no'.", None, "Say “Yes, 2pm!” — NOT 'no'."),
    ('2 "quoted"', None, '"quoted"'),
    ("2 (shorter)", None, "(shorter)"),
    ("2 <shorter>", None, "<shorter>"),
    ("2 make it SHORT.", None, "make it SHORT."),
    ("2 Dear Ms. O’Brien,\n\n  keep THIS line\n\nbye :)", None, "Dear Ms. O’Brien,\n\n  keep THIS line\n\nbye :)"),
    ("2\n- Shorter\n- Friendlier\n- No “regards”", None, "- Shorter\n- Friendlier\n- No “regards”"),
    ("2 first\r\n\r\nsecond\tcolumn  two blanks", None, "first\r\n\r\nsecond\tcolumn  two blanks"),
    ("edit #12\nDecline.\nSuggest Tuesday\n\n1=Send 2=Edit", 12, "Decline.\nSuggest Tuesday\n\n1=Send 2=Edit"),
    ("2 add ❤️", None, "add ❤️"),
    ("2 👍🏽 at the end 👨‍👩‍👧", None, "👍🏽 at the end 👨‍👩‍👧"),
    (
        "2 add 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        None,
        "add 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ),
    ("2 ٣ أيام لاحقا", None, "٣ أيام لاحقا"),
    ("2 remove the line Sent from my iPhone", None, "remove the line Sent from my iPhone"),
    ("2 Sent from my iPhone", None, "Sent from my iPhone"),
    ("2 write:\nSent from the office", None, "write:\nSent from the office"),
    ("2 is that ok? ask him", None, "is that ok? ask him"),
    ("2 why?", None, "why?"),
    ("2 STOP", None, "STOP"),
    ("2 write “[1/3]” on top", None, "write “[1/3]” on top"),
    ("2 to “Bob”", None, "to “Bob”"),
    ("2 👍 to “thanks”", None, "👍 to “thanks”"),
    ('edit say "📧 #7 …"', None, 'say "📧 #7 …"'),
]

UNCLEAR = [
    *texts(
        "11¦1 1 1¦1 2 3¦17¦1.5¦1,5¦1. 7¦1.7¦1/2¦1:30¦1-2¦½¦1st¦1a¦a1¦1x¦0¦4¦9¦7¦1?¦send?¦3?¦approve?¦1 ?¦?1",
        "1?!¦¿1?¦more?¦list?¦1 #7?¦#7?¦2?¦2 ?¦2 #7?¦2 #7 ?¦-1¦1-¦- 1¦1 -¦−1¦–1¦1—¦1 #7-¦-3¦3-¦+1¦1+¦=1¦1=",
        "1=Send¦~1¦1%¦$1¦1$¦1 but change the date¦1 please¦1, thanks¦1 and 3¦1 send¦1 approve¦send it",
        "send it tomorrow¦don't send¦do not send¦not 1¦ok 1¦ok¦OK¦okay¦y¦one¦l¦I¦i¦|¦yes please¦sure¦👍¦👍👍",
        "1👍¦👍1¦✅¦3 days is too long¦skip the second paragraph¦ignore the last line¦skip it¦never¦no",
        "cancel it¦stop it¦> 1¦1\n2¦1\n7¦2nd paragraph¦22 Baker street¦editorial¦edited¦2make",
        '2make it short¦2.5 days¦2:30 works¦2-3 days¦2,5 hours¦2=shorter¦2?shorter¦2/3¦2x¦(1¦[1¦"1¦1"¦1\'',
        "”1¦1]¦1}¦)1¦.1¦!1¦*1*¦_1_",
    ),
    *texts(
        "#7 1 #7¦1 #7 #8¦#7 #8¦#7 #8 1¦#7 1 8¦1 #7 3 #8¦1 #7\n3 #8",
        "2 #7 #8 shorter¦#7 2 #8 shorter¦#7 2 #7 shorter¦#7 shorter¦7 1¦#7 17¦#7approve¦#7-1¦1 -7¦1 #-7",
        "1 # 7¦1 #7th¦1 No. 7¦list #7¦menu 7¦#7 ?¦? #7¦#7 list¦listing¦undone¦again and again¦more or less",
        "retry later¦unsend",
    ),
    "",
    *texts(
        ' ¦\n¦\u200b¦.¦()¦""¦#¦# 7¦Sent from my iPhone¦“ ”¦1\u0000¦hello¦Hi John,\n1',
        "1\nSent from my iPhone?¦1\nSent from my iPhone by mistake¦1\nsent from my desk",
        "1 Sent from my iPhone¦1\n--\nJohn¦STOP it¦stop #7¦please stop¦yes?¦cancel #7",
        "\u017fend¦\u017fkip¦s\u212aip¦\u0455end",
        's\u0435nd¦\u03b1pprove¦1\u0336¦1\u20e0¦1\u0338¦<1¦1>¦《1》¦1。¦1…¦1‼¦"2 shorter"¦Liked it¦Loved your draft',
        "I liked “it” a lot¦Tell him “no”¦“Bob”, not “John”¦“1.¦'send,¦\u200b\u200b\u200aask\u200athem\u200afirst",
    ),
]

NO_WORKFLOWS_NUMBERS = ["0", "00", "1000000000000000000", "9223372036854775808", "9" * 19, "9" * 5000]

# Digits that look like 1 or 3 but that no phone's keyboard offers as an answer; none is taken for one.
OTHER_DIGITS = "¹³₁₃١٣۱۳१३১৩𝟏𝟑𝟙𝟛⑴⑶⒈⒊❶❸➀➂➊➌🄂🄄ⅠⅢⅰⅲ一三㊀㊂〡〣"

REACTIONS = [
    *(f"{lead} “{OUR_TEXT}”" for lead in texts("Liked¦Loved¦Disliked¦Laughed at¦Emphasized¦Emphasised¦Questioned")),
    f'Liked "{OUR_TEXT}"',
    f"liked “{OUR_TEXT}”.",
    f"Liked “{OUR_TEXT[:40]}…”",
    f"Liked “{OUR_TEXT}",
    "Loved “1”",
    "Liked “send”",
    "Emphasized “Sent to john@example.com (#7)”",
    *(
        f"Removed {what} from “{OUR_TEXT}”"
        for what in texts("a like¦a heart¦a dislike¦a laugh¦an exclamation¦a question mark¦👍")
    ),
    *(
        f"Reacted {emoji} to “{OUR_TEXT}”"
        for emoji in texts("👍¦❤\ufe0f¦1\ufe0f\u20e3¦2\ufe0f\u20e3¦👍🏽¦‼\ufe0f¦with a sticker")
    ),
    *(
        f"{emoji} to “{OUR_TEXT}”"
        for emoji in texts("👍¦❤\ufe0f¦1\ufe0f\u20e3¦2\ufe0f\u20e3¦3\ufe0f\u20e3¦😂¦✅¦👨\u200d👩\u200d👧\u200d👦")
    ),
    *("👍 to “shorter”", "2️⃣ to “Hi”", "👍 to “Sent to john@example.com (#7)”", "\u200b👍\u200b to “Hi”"),
    # Google Messages frames its reactions with hair spaces and zero-width marks, in every language.
    f"\u200a\u200b👍\u200b to “\u200a{OUR_TEXT}\u200a”\u200a",
    f"\u200a\u200b1️⃣\u200b an „\u200a{OUR_TEXT}\u200a“\u200a",
    f"\u200a\u200b2️⃣\u200b zu \u200a{OUR_TEXT}\u200a\u200a",
    "\u200aRemoved \u200c👍\u200c from “\u200aHi\u200a”\u200a",
    "\u200aFjernede \u200c👍\u200c fra „\u200aHi\u200a“\u200a",
    "\u200b2️⃣\u200b を \u200aHi\u200a に",
    # Apple's in other languages.
    f"Gefällt „{OUR_TEXT}“",
    f"Reagierte mit 👍 auf „{OUR_TEXT}“",
    f"Le gustó “{OUR_TEXT}”",
    f"Le encantó “{OUR_TEXT}”",
    f"Reaccionó con 👍 a “{OUR_TEXT}”",
    f"Gostou de “{OUR_TEXT}”",
    f"A aimé « {OUR_TEXT} »",
    f"N’a pas aimé « {OUR_TEXT} »",
    f"a attribué la mention « J’aime » à « {OUR_TEXT} »",
    f"a réagi avec 🔥 à « {OUR_TEXT} »",
    f"Likte “{OUR_TEXT}”",
    f"Satte et hjerte ved “{OUR_TEXT}”",
    f"Реакция 👍 към “{OUR_TEXT}”",
    # In a language nobody listed: the quoted words are plainly ours.
    f"Bayıldı “{OUR_TEXT}”",
    'Tykkäsi ”[2/3] Draft: "Yes"”',
    f"“{OUR_TEXT}”に「いいね」しました",
    f"1️⃣ ← “{OUR_TEXT}”",
    f"2️⃣ ← “{OUR_TEXT}”",
    "Beğendi “⚠️ Failed to send reply to john@example.com (#7)”",
]

CARRIER_WORDS = texts(
    "STOP¦STOPALL¦CANCEL¦END¦QUIT¦UNSUBSCRIBE¦REVOKE¦OPTOUT¦OPT-OUT¦REMOVE¦ARRET¦TD¦HELP¦INFO¦AIDE",
    "START¦YES¦UNSTOP",
)


@pytest.mark.parametrize("text", APPROVALS)
def test_the_whole_message_approves(text: str) -> None:
    assert parse_command(text) == Command(Verb.APPROVE)


@pytest.mark.parametrize("text", IGNORES)
def test_the_whole_message_ignores(text: str) -> None:
    assert parse_command(text) == Command(Verb.IGNORE)


@pytest.mark.parametrize(("text", "verb", "number"), NAMED)
def test_a_number_names_the_draft(text: str, verb: Verb, number: int) -> None:
    assert parse_command(text) == Command(verb, number)


@pytest.mark.parametrize(("text", "verb"), WORDS)
def test_a_word_alone_is_its_command(text: str, verb: Verb) -> None:
    assert parse_command(text) == Command(verb)


@pytest.mark.parametrize(("text", "number", "instructions"), EDITS)
def test_an_edit_keeps_its_instructions_letter_by_letter(text: str, number: int | None, instructions: str) -> None:
    assert parse_command(text) == Command(Verb.EDIT, number, instructions)


@pytest.mark.parametrize("text", UNCLEAR)
def test_anything_in_doubt_is_unclear(text: str) -> None:
    command = parse_command(text)
    assert (command.verb, command.workflow_id) == (Verb.UNCLEAR, None)


@pytest.mark.parametrize("digit", OTHER_DIGITS)
def test_a_digit_no_keyboard_offers_is_no_answer(digit: str) -> None:
    assert parse_command(digit) == Command(Verb.UNCLEAR, words=digit)
    assert parse_command(f"1 #{digit}").verb is Verb.UNCLEAR


@pytest.mark.parametrize("number", NO_WORKFLOWS_NUMBERS, ids=lambda number: f"{len(number)} digits {number[:20]}")
@pytest.mark.parametrize(
    "form",
    ["#{}", "1 #{}", "1 {}", "#{} 1", "3 #{}", "more {}", "retry #{}", "2 #{}", "2 #{} shorter", "#{} 2 shorter"],
)
def test_a_number_that_no_workflow_can_have_is_unclear(form: str, number: str) -> None:
    text = form.format(number)
    assert parse_command(text) == Command(Verb.UNCLEAR, words=text)


def test_an_unclear_text_keeps_its_words_as_typed() -> None:
    assert (
        parse_command("  Make it “short”,\n\nPlease! \n\nSent from my iPhone\n").words == "Make it “short”,\n\nPlease!"
    )


@pytest.mark.parametrize("text", REACTIONS)
def test_a_reaction_that_quotes_our_text_is_no_command(text: str) -> None:
    assert parse_command(text).verb is Verb.REACTION


@pytest.mark.parametrize("word", CARRIER_WORDS)
@pytest.mark.parametrize("form", ["{}", "{}.", " {}!", "“{}”", "{}\n\nSent from my iPhone"])
def test_a_word_carriers_act_on_is_reported_in_upper_case(word: str, form: str) -> None:
    for spelling in (word, word.lower(), word.capitalize()):
        assert parse_command(form.format(spelling)) == Command(Verb.CARRIER, words=word)


@pytest.mark.parametrize(
    ("text", "word"), [("Stop all", "STOPALL"), ("opt out", "OPTOUT"), ("ARRÊT", "ARRET"), ("arrêt", "ARRET")]
)
def test_a_carrier_word_in_another_spelling_is_the_same_word(text: str, word: str) -> None:
    assert parse_command(text) == Command(Verb.CARRIER, words=word)


def test_our_own_text_sent_back_is_no_command() -> None:
    for text in (OUR_TEXT, *OUR_TEXT.split("\n"), "1=Send 2=Edit 3=Ignore", f"> {OUR_TEXT}"):
        assert parse_command(text).verb in {Verb.UNCLEAR, Verb.REACTION}


# Everything below holds for texts nobody thought of.

QUOTE_MARKS = set("\"'`´“”„‟‘’‚‛«»‹›「」『』()[]{}<>【】")
COMMAND = re.compile(
    r"(?:(?:1|approve|send)|(?P<ignore>3|ignore|skip))(?:#?\d{1,18})?|#\d{1,18}(?:(?:1|approve|send)|(?P<ignore2>3|ignore|skip))"
)


def bare(text: str) -> str:
    """Leave out of a text what may surround or divide a command; no other character may be in one."""
    lines = [line for line in text.splitlines() if not re.search("iphone|galaxy", line, re.IGNORECASE)]
    kept = unicodedata.normalize("NFKC", " ".join(lines)).lower()
    kept = "".join(
        c for c in kept if unicodedata.category(c) not in {"Cf", "Cc", "Zs", "Mn", "Me"} and c not in "\u3164\u2800"
    )
    return "".join(c for c in kept if c not in QUOTE_MARKS and c not in ".,!;:")


around = st.lists(
    st.sampled_from(
        texts(
            " ¦ ¦\n¦\u00a0¦\u200b¦\ufeff¦\ufe0f¦\u20e3¦.¦,¦!¦;¦:¦)¦(¦?¦-¦–¦+¦“¦”¦\"¦'¦👍¦7¦ 7¦ #7¦#7 ¦#¦1¦2¦3¦¹¦١",
            "½¦①¦１¦ please¦not ¦ok ¦yes¦\nSent from my iPhone¦ to “¦Liked “¦ 1=Send¦[1/3]¦\r\n",
        )
    ),
    max_size=3,
).map("".join)
answers = st.sampled_from(texts("1¦１¦①¦Send¦approve¦3¦３¦SKIP¦Ignore¦2¦edit¦more¦list¦?¦#7¦stop¦ok¦"))
pieces = st.builds(lambda before, answer, after: before + answer + after, around, answers, around)
any_text = st.one_of(pieces, pieces, st.text(max_size=60))


@given(any_text)
def test_nothing_but_a_command_approves_or_ignores(text: str) -> None:
    command = parse_command(text)
    if command.verb in {Verb.APPROVE, Verb.IGNORE}:
        match = COMMAND.fullmatch(bare(text))
        assert match is not None, text
        assert (command.verb is Verb.IGNORE) == bool(match["ignore"] or match["ignore2"])


@given(
    st.text(max_size=12).filter(lambda text: bool(set(bare(text)) - set("#0123456789"))),
    st.sampled_from(["1", "3", "send", "skip"]),
)
def test_a_command_beside_other_words_is_not_that_command(words: str, answer: str) -> None:
    for text in (f"{answer} {words}", f"{words} {answer}", f"{words}\n{answer}", f"{answer}\n{words}"):
        assert parse_command(text).verb not in {Verb.APPROVE, Verb.IGNORE}


@given(any_text)
def test_any_text_has_an_answer(text: str) -> None:
    command = parse_command(text)
    assert command.workflow_id is None or 0 < command.workflow_id < 2**63
    if command.verb in {Verb.EDIT, Verb.UNCLEAR, Verb.REACTION}:
        assert command.words in text  # as typed: nothing changed inside
    elif command.verb is not Verb.CARRIER:
        assert command.words == ""


padding = st.text("\t\n\r \u00a0\u2009\u3000\u200b\u200c\u200e\u2028\u2060\ufeff\u00ad", max_size=6)


@given(any_text, padding, padding)
def test_blanks_and_invisible_characters_around_a_text_change_nothing(text: str, before: str, after: str) -> None:
    assert parse_command(before + text + after) == parse_command(text)


@given(st.integers(1, 10**18 - 1), st.text("abc XYZ\n“”'?!.,-1237#", max_size=30))
def test_an_edit_by_number_gives_back_number_and_instructions(number: int, middle: str) -> None:
    instructions = f"Say{middle}so"
    for text in (f"2 #{number} {instructions}", f"#{number} 2 {instructions}", f"Edit #{number}: {instructions}"):
        assert parse_command(text) == Command(Verb.EDIT, number, instructions)


def test_one_more_visible_character_makes_an_approval_something_else() -> None:
    for code in [*range(0x3100), *range(0xFE00, 0x10000), *range(0x1F000, 0x1FB00), *range(0xE0000, 0xE0200)]:
        character = chr(code)
        shows = not fold(character).isspace() and fold(character) != "\u200b"
        assert (parse_command("1" + character).verb is Verb.APPROVE) == (
            not shows or fold(character) in tuple(".,!;:)")
        )
        assert (parse_command(character + "1").verb is Verb.APPROVE) == (not shows)


def test_every_blank_and_line_break_of_unicode_is_known() -> None:
    blanks = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    assert all(fold(blank) in " \n" for blank in blanks)
    assert all(fold(blank) == "\n" for blank in blanks if len(f"a{blank}b".splitlines()) > 1)


def test_folding_keeps_every_position() -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE1000)]))
    assert len(fold(text)) == len(text)


BULK = 64 * 1024
PATHOLOGICAL = [
    *(character * BULK for character in " 1(?.\n#“👍\u200b\u200a"),
    *("1" + tail * BULK for tail in (")", " ", "!", "\u200b", " x")),
    *("2" + tail * BULK for tail in texts(".¦ ¦ .¦. ¦\n¦-¦\u200b¦ #7")),
    *("#" + "9" * BULK, "1 #" + "9" * BULK, "#7 " * BULK, "2 #" + "9" * BULK + " x"),
    *("(" * BULK + "1" + ")" * BULK, '"' * BULK + "1" + '"' * BULK, "1\n" * BULK, "(?" * BULK),
    *(
        "Sent from my " * BULK,
        "Sent from my iPhone\n" * BULK,
        "--\nSent from my iPhone\n" * 9999,
        "1\nSent from my " + "a " * BULK,
    ),
    *(
        "Liked “" + "“" * BULK,
        "reacted " + "x " * BULK,
        "👍" * BULK + " to “x”",
        "Liked “" * BULK,
        "\u200a\u200b👍\u200b" * BULK,
    ),
]


@pytest.mark.parametrize("text", PATHOLOGICAL, ids=lambda text: repr(text[:12]))
def test_no_text_takes_long_to_parse(text: str) -> None:
    started = time.process_time()
    parse_command(text)
    # A quadratic step over 64 KiB costs tens of seconds; the slowest text here takes a tenth of one.
    assert time.process_time() - started < 3
