"""The owner sees who wrote, about what, and the whole draft, and nothing in it passes for our own words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.gsm7 import is_gsm7, reads_in_gsm7
from email_orchestrator.core.models import Composed, TextStyle
from email_orchestrator.core.notification import COMMANDS, Offer, compose_more, compose_offer, compose_text
from email_orchestrator.core.quoting import make_readable
from email_orchestrator.core.segments import fits, measure

SHORT = Offer(
    workflow_id=7,
    sender="john@example.com",
    sender_name="John",
    subject="Meeting tomorrow at 2pm?",
    preview="Hi, can we meet?\n\nJohn",
    draft="Yes, 2pm works!",
)
AUTO = TextStyle()
MULTIPART = TextStyle(format="multipart")
CONDENSED = TextStyle(format="condensed")
GSM7 = TextStyle(charset="gsm7")
FAMILY = "👨‍👩‍👧‍👦"
LONG = " ".join(f"Sentence {number} says what must be said." for number in range(250))


def squeezed(text: str) -> str:
    """Return a text without blanks and without the marks that quoted lines get."""
    return re.sub(r"[\s|]", "", text)


def shown_draft(composed: Composed, opening: str = 'Draft: "') -> str:
    """Return what the parts show of a draft whose email, subject and note hold no opening of their own."""
    text = "\n".join(re.sub(r"^\[\d+/\d+\] ", "", part) for part in composed.parts)
    quoted = text.partition(opening)[2]
    ending = (
        f'"\n{COMMANDS}'
        if composed.hidden == 0
        else re.compile(r'\n\d+ more characters?: text "more #7"\n2=Edit 3=Ignore$')
    )
    if isinstance(ending, str):
        assert quoted.endswith(ending)
        return squeezed(quoted.removesuffix(ending))
    assert ending.search(quoted)
    return squeezed(ending.sub("", quoted))


def test_a_short_draft_takes_three_lines() -> None:
    assert compose_offer(SHORT, AUTO) == Composed(
        ('📧 #7 John <john@example.com>: "Meeting tomorrow at 2pm?"\nDraft: "Yes, 2pm works!"\n1=Send 2=Edit 3=Ignore',)
    )


def test_an_offer_that_does_not_fit_three_segments_comes_in_parts() -> None:
    draft = "Thank you, the offer is fine for us. " * 6
    assert compose_offer(replace(SHORT, sender_name="John Doe", draft=draft), AUTO).parts == (
        "[1/3] 📧 #7 Email from: John Doe <john@example.com>\nSubject: Meeting tomorrow at 2pm?",
        '[2/3] Email: "Hi, can we meet?\n\nJohn"',
        f'[3/3] Draft: "{draft.strip()}"\n1=Send 2=Edit 3=Ignore',
    )


def test_the_condensed_form_gives_up_the_name_before_the_address() -> None:
    offer = replace(SHORT, sender_name="Jonathan Doe of Example", draft="x" * 100)
    (text,) = compose_offer(offer, AUTO).parts
    assert text.startswith("📧 #7 john@example.com: ")
    assert measure(text).segments == 3


def test_the_form_can_be_forced() -> None:
    assert len(compose_offer(SHORT, MULTIPART).parts) == 3
    long = compose_offer(replace(SHORT, draft=LONG[:900]), CONDENSED)
    assert long.parts[0].startswith('[1/2] 📧 #7 john@example.com: "Meeting tomorrow at 2pm?"\nDraft: "Sentence 0')
    assert long.hidden == 0
    assert shown_draft(long) == squeezed(LONG[:900])


def test_without_a_subject_the_email_itself_is_quoted() -> None:
    (text,) = compose_offer(replace(SHORT, subject=" \n"), AUTO).parts
    assert text.startswith('📧 #7 John <john@example.com>: "Hi, can we meet? John"\n')
    (text,) = compose_offer(replace(SHORT, subject="", preview=""), AUTO).parts
    assert text.startswith("📧 #7 John <john@example.com>: (no subject)\n")


def test_an_empty_email_is_said_to_be_empty() -> None:
    parts = compose_offer(replace(SHORT, subject="", preview="\u200b"), MULTIPART).parts
    assert parts[0] == "[1/2] 📧 #7 Email from: John <john@example.com>\nSubject: (none)\nEmail: (no text)"
    assert len(parts) == 2


def test_a_note_stands_in_the_head() -> None:
    offer = replace(SHORT, note="Replaces #5")
    assert compose_offer(offer, AUTO).parts[0].split("\n")[1] == "Replaces #5"
    assert compose_offer(offer, MULTIPART).parts[0].endswith("\nReplaces #5")


def test_a_name_never_stands_without_the_address() -> None:
    for style in (AUTO, MULTIPART, CONDENSED, GSM7):
        for name in ("", "John", "x" * 300, "דוד", FAMILY * 30):
            assert "john@example.com" in compose_offer(replace(SHORT, sender_name=name), style).parts[0]


def test_a_look_alike_address_is_shown_as_it_is_in_every_charset() -> None:
    for style in (AUTO, GSM7, MULTIPART):
        text = compose_offer(replace(SHORT, sender="jоhn@exаmple.com"), style).parts[0]
        assert "j\\u043ehn@xn--exmple-4nf.com" in text


def test_the_preview_is_cut_to_a_modest_size() -> None:
    part = compose_offer(replace(SHORT, preview="word " * 500), MULTIPART).parts[1]
    assert part.endswith('word..."')
    assert len(part) < 325


def test_a_draft_too_long_for_all_parts_says_how_much_is_missing() -> None:
    composed = compose_offer(replace(SHORT, draft=LONG), AUTO)
    assert len(composed.parts) == 6
    assert composed.hidden > 0
    assert composed.parts[-1].endswith(f'\n{composed.hidden} more characters: text "more #7"\n2=Edit 3=Ignore')
    assert not any("1=Send" in part for part in composed.parts)
    assert shown_draft(composed) == squeezed(LONG[: len(LONG) - composed.hidden])


def test_more_shows_the_rest_and_then_invites_an_answer() -> None:
    composed = compose_offer(replace(SHORT, draft=LONG), AUTO)
    rest = compose_more(7, LONG, composed.hidden, AUTO)
    assert rest.hidden == 0
    assert '#7 Draft (continued): "' in rest.parts[0]
    assert rest.parts[-1].endswith(f'"\n{COMMANDS}')
    assert shown_draft(rest, '(continued): "') == squeezed(LONG[len(LONG) - composed.hidden :])


def test_more_begins_exactly_where_the_last_text_ended() -> None:
    assert compose_more(7, "abc def\u200b", 3, AUTO).parts == (f'#7 Draft (continued): "ef"\n{COMMANDS}',)
    assert compose_more(7, "abc def", 0, AUTO).parts == (f'#7 Draft (continued): ""\n{COMMANDS}',)


def test_the_last_part_never_holds_the_command_line_alone() -> None:
    for length in range(1180, 1230):
        parts = compose_offer(replace(SHORT, draft="word " * 20 + "x" * (length - 106) + " end"), MULTIPART).parts
        assert re.match(r"\[\d/\d\] (Draft: \")?\w", parts[-1])


def test_a_seeming_end_of_the_quotation_marks_the_parts_that_follow() -> None:
    parts = compose_offer(replace(SHORT, draft='Sure!"\n' + LONG), MULTIPART).parts
    assert parts[2].startswith('[3/6] Draft: "Sure!"\n| Sentence')
    assert all(re.match(r"\[\d/6\] \| \w", part) for part in parts[3:])


def test_a_head_of_extreme_length_keeps_the_address() -> None:
    address = "a" * 64 + "@" + "b" * 60 + ".example" * 16
    heap = "\U00011013" + "\U00011038" * 19  # Brahmi: one character to its reader, 40 units to a phone
    offer = Offer(2**31, address, heap, "x" * 200, "hi", "ok", "x" * 99)
    part = compose_offer(offer, MULTIPART).parts[0]
    assert measure(part).segments < 8
    assert address in part
    assert "\nSubject: xxx" in part


def test_a_word_without_end_still_gets_on() -> None:
    offer = replace(SHORT, sender="a" * 190 + "@example.com", subject="x" * 99, draft="y" * 3000)
    composed = compose_offer(offer, replace(CONDENSED, max_parts=9))
    assert composed.hidden == 0
    assert all("y" * 20 in part for part in composed.parts)
    assert sum(part.count("y") for part in composed.parts) == 3000


def test_a_subject_of_emoji_leaves_room_for_the_draft_in_every_charset() -> None:
    composed = compose_offer(replace(SHORT, subject="🥰" * 99, draft=LONG), replace(GSM7, format="condensed"))
    assert 'Draft: "Sentence 0 says' in composed.parts[0]


def test_one_missing_character_is_in_the_singular() -> None:
    style = TextStyle(charset="gsm7", max_parts=1)
    draft = "a" * 1130 + "🥰"  # (smiling face with smiling eyes and three hearts)
    rest = compose_more(7, draft, len(draft), style)
    assert rest.hidden == 1
    assert rest.parts[0].endswith('\n1 more character: text "more #7"\n2=Edit 3=Ignore')


def test_a_draft_that_gsm_cannot_show_is_shown_in_unicode() -> None:
    draft = "我不同意。请把钱退回来。"
    [text] = compose_offer(replace(SHORT, draft=draft), GSM7).parts
    assert draft in text
    [rest] = compose_more(7, f"Dear Li, {draft}", len(draft), GSM7).parts
    assert draft in rest


def test_an_email_that_gsm_cannot_show_has_its_draft_in_gsm_all_the_same() -> None:
    [text] = compose_offer(replace(SHORT, subject="我不同意。"), GSM7).parts
    assert is_gsm7(text)


@pytest.mark.parametrize("sign", ["✅", "✏️", "⌛", "⏰"])
def test_no_sign_of_ours_is_spelled_out(sign: str) -> None:
    assert compose_text(f"{sign} Sent to john@example.com ✅", GSM7) == (
        "Sent to john@example.com (white heavy check mark)",
    )


def test_a_part_ends_after_a_whole_word() -> None:
    for part in compose_offer(replace(SHORT, draft=LONG), AUTO).parts[2:-1]:
        assert part.split()[-1] in LONG.split()


def test_emoji_in_a_long_draft_stay_whole() -> None:
    draft = f"{FAMILY}{FAMILY}👍🏽🇦🇺" * 60
    for part in compose_offer(replace(SHORT, draft=draft), AUTO).parts[2:]:
        quoted = re.sub(r"^\[\d/\d\] (Draft: \")?", "", part).split('"\n')[0]
        assert re.fullmatch(f"(?:{FAMILY}|👍🏽|🇦🇺)+", quoted)


def test_blanks_and_invisible_characters_count_although_they_are_not_shown() -> None:
    draft = ("word\u200b\u200b   \r\n" * 2000) + "end"
    composed = compose_offer(replace(SHORT, draft=draft), AUTO)
    assert shown_draft(composed) == squeezed(make_readable(draft[: len(draft) - composed.hidden]).text)
    while composed.hidden:
        composed = compose_more(7, draft, composed.hidden, AUTO)
    assert composed.parts[-1].endswith(f'end"\n{COMMANDS}')


def test_a_draft_of_nothing_visible_hides_nothing() -> None:
    assert compose_offer(replace(SHORT, draft="\u200b" * 9000), AUTO).hidden == 0


def test_one_part_is_enough_for_the_head_and_the_draft_when_no_more_may_go_out() -> None:
    composed = compose_offer(replace(SHORT, draft=LONG), TextStyle(max_parts=1))
    (text,) = composed.parts
    assert text.startswith("📧 #7 Email from: john@example.com\nSubject: ")
    assert composed.hidden > 0


def test_a_draft_cannot_forge_an_end_and_a_new_head() -> None:
    hostile = 'Sure!"\n1=Send 2=Edit 3=Ignore\n\n[1/2] 📧 #8 Boss <b@c.d>: "Pay"\nWire it.\nDrаft: "ok"\n１＝Ｓｅｎｄ'
    text = compose_offer(replace(SHORT, draft=hostile), MULTIPART).parts[2]
    assert text == (
        '[3/3] Draft: "Sure!"\n| 1=Send 2=Edit 3=Ignore\n\n| [1/2] 📧 #8 Boss <b@c.d>: "Pay"\n| Wire it.\n'
        '| Drаft: "ok"\n| １＝Ｓｅｎｄ"\n1=Send 2=Edit 3=Ignore'
    )


def test_a_hostile_head_stays_one_line_each() -> None:
    offer = replace(
        SHORT,
        sender="a@b.c\n1=Send",
        sender_name='X"\n[2/3]\u202e <y@z>',
        subject='Hi"\r\nDraft: "ok"\n1=Send 2=Edit 3=Ignore',
    )
    assert compose_offer(offer, MULTIPART).parts[0] == (
        "[1/3] 📧 #7 Email from: a@b.c1=Send\nSubject: Hi' Draft: 'ok' 1=Send 2=Edit 3=Ignore"
    )


def test_other_texts_are_cut_into_numbered_parts() -> None:
    assert compose_text("✅ Sent to john@example.com (#7)", AUTO) == ("✅ Sent to john@example.com (#7)",)
    assert compose_text("⚠️ “Failed”", GSM7) == ('(!) "Failed"',)
    assert compose_text(" \n", AUTO) == ()
    parts = compose_text("word " * 3000, AUTO)
    assert len(parts) == 13
    assert parts[0].startswith("[1/13] word")
    assert all(fits(part) for part in parts)
    assert sum(part.count("word") for part in parts) == 3000


OURS = [
    "1=Send 2=Edit 3=Ignore",
    "１＝Ｓｅｎｄ",
    "1=Ѕend",
    "[2/3] ",
    "［2/3］",
    "📧 #8 Boss: ",
    'Draft: "',
    'Email: "',
    "Subject: x",
    '99 more characters: text "more #7"',
]
PIECES = [
    *OURS,
    *("\n", "\n\n", " ", '"', "”", '"\n', "\r\n", "\t", "\u200b", "\u202e", "\u2066", "\U000e0041", "\x00", "\ud800"),
    *(
        FAMILY,
        "👍🏽",
        "🇦🇺",
        "❤️",
        "e\u0301",
        "Z" + "\u0336" * 7,
        "שלום",
        "مرحبا",
        "你好",
        "“q”",
        "€[]{}",
        "x" * 90,
        "hello world",
    ),
]
hostile_text = st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(), max_size=8)), max_size=40).map(
    "".join
)
long_text = st.builds(lambda text, times: text * times, hostile_text, st.integers(1, 60))
styles = st.builds(
    TextStyle,
    format=st.sampled_from(["auto", "condensed", "multipart"]),
    charset=st.sampled_from(["unicode", "gsm7"]),
    max_parts=st.integers(1, 12),
)
offers = st.builds(
    Offer,
    workflow_id=st.integers(1, 2**31),
    sender=st.one_of(st.just("john@example.com"), hostile_text),
    sender_name=hostile_text,
    subject=hostile_text,
    preview=long_text,
    draft=long_text,
    note=st.sampled_from(["", "Replaces #5", "Reminder"]),
)


def check_parts(parts: tuple[str, ...], style: TextStyle, draft: str = "") -> None:
    for part in parts:
        assert part
        assert measure(part).segments <= 8
        assert fits(part)
        assert len(part) <= 1600
        assert part.encode("utf-8")
        assert style.charset == "unicode" or is_gsm7(part) or not reads_in_gsm7(draft)


def folded(line: str) -> str:
    return unicodedata.normalize("NFKC", line).replace("Ѕ", "S").strip().casefold()


@given(offers, styles)
def test_whatever_an_email_holds_every_part_can_be_sent_and_nothing_passes_for_ours(
    offer: Offer, style: TextStyle
) -> None:
    composed = compose_offer(offer, style)
    check_parts(composed.parts, style, offer.draft)
    assert len(composed.parts) <= max(style.max_parts, 1)
    numbered = len(composed.parts) > 1
    lines: list[str] = []
    for number, part in enumerate(composed.parts, 1):
        mark = f"[{number}/{len(composed.parts)}] " if numbered else ""
        assert part.startswith(mark)
        lines.extend(part.removeprefix(mark).split("\n"))
    ending = 1 if composed.hidden == 0 else 2
    assert lines[-1] == (COMMANDS if composed.hidden == 0 else "2=Edit 3=Ignore")
    assert re.match(rf"(📧 )?#{offer.workflow_id} ", lines[0])
    drafts = 0
    for line in map(folded, lines[1:-ending]):
        assert not re.match(r"1 ?= ?send|\[\d/\d\]|(📧 )?#\d|\d+ more char", line)
        drafts += line.startswith('draft: "')
    assert drafts == 1


@given(long_text, styles)
def test_what_was_shown_and_what_was_not_make_up_the_draft(draft: str, style: TextStyle) -> None:
    composed = compose_offer(replace(SHORT, draft=draft), style)
    seen = [composed]
    while composed.hidden:
        less = compose_more(7, draft, composed.hidden, style)
        assert less.hidden < composed.hidden
        composed = less
        seen.append(composed)
        check_parts(composed.parts, style, draft)
        assert len(composed.parts) <= max(style.max_parts, 1)
    if style.charset == "unicode" or not reads_in_gsm7(draft):
        shown = shown_draft(seen[0]) + "".join(shown_draft(rest, '(continued): "') for rest in seen[1:])
        assert shown == squeezed(make_readable(draft).text)
        first = make_readable(draft)
        count = next((at for at in range(len(first.text) + 1) if first.missing(at) == seen[0].hidden), 0)
        assert shown_draft(seen[0]) == squeezed(first.text[:count])


@given(long_text, styles)
def test_any_text_of_ours_can_be_sent(text: str, style: TextStyle) -> None:
    check_parts(compose_text(text, style), style)
