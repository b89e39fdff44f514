import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from email_orchestrator.core.html_text import html_to_text
from email_orchestrator.core.preview import make_preview, readable_text
from email_orchestrator.demo.mailbox import read_mailbox

SAMPLES = Path(os.environ.get("EMAIL_SAMPLES") or Path(__file__).resolve().parents[3] / "shared" / "emails")
with_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="there is no folder of sample emails")

OUTLOOK = "From: Bob <bob@example.com>\nSent: Friday, March 9, 2012 4:22 PM\nTo: Jane\nSubject: Budget\n\nOld text"
FORWARD = (
    "---------- Forwarded message ---------\nFrom: Bob <b@example.com>\nDate: Mon\nSubject: Old\nTo: me\n\nOld text"
)


@pytest.mark.parametrize(
    "history",
    [
        "On Mon, Apr 2, 2012 at 6:26 PM, Bob <bob@example.com> wrote:\n> Old text\n> more",
        "On Mon, Apr 2, 2012 at 6:26 PM, Bob With A Long Name <\nbob@example.com> wrote:\n\n> Old text",
        "On Mon, Apr 2, 2012 at 6:26 PM, Bob <bob@example.com> wrote:\nOld text without marks",
        "Am 02.04.2012 um 14:20 schrieb Bob <bob@example.com>:\n> Old text",
        "Le lun. 2 avr. 2012 à 14:20, Bob <bob@example.com> a écrit :\n> Old text",
        "El lun, 2 abr 2012 a las 14:20, Bob (<bob@example.com>) escribió:\n> Old text",
        "Il giorno lun 2 apr 2012 alle ore 14:20 Bob <bob@example.com> ha scritto:\n> Old text",
        '02.04.2012 14:20 пользователь "bob@example.com" <\nbob@example.com> написал:\n\n> Old text',
        "2012年4月2日(月) 14:20 Bob <bob@example.com>:\n> Old text",
        OUTLOOK,
        "________________________________\n" + OUTLOOK,
        "-----Original Message-----\nFrom: bob\nSent: now\n\nOld text",
        "-----Ursprüngliche Nachricht-----\nVon: Bob\nGesendet: gestern\nAn: Jane\nBetreff: Geld\n\nOld text",
        "> Old text\n>\n> > older text",
        FORWARD,
    ],
)
def test_earlier_emails_are_cut(history: str) -> None:
    assert readable_text(f"Fine, at 3.\n\n{history}", None) == "Fine, at 3."


@pytest.mark.parametrize(
    "signature",
    [
        "-- \nJane Doe\nCEO, Example Ltd\n+61 400 000 000",
        "--\nJane Doe",
        "Sent from my iPhone",
        "Get Outlook for iOS<https://aka.ms/o0ukef>",
        "Best regards,\nJane Doe\nCEO",
        "Thanks,\nJane\n\nSent from my iPhone",
        "Mit freundlichen Grüßen\nJane Doe",
        "Kind regards",
    ],
)
def test_signatures_are_cut(signature: str) -> None:
    assert readable_text(f"Fine, at 3.\n\n{signature}", None) == "Fine, at 3."


@pytest.mark.parametrize(
    "text",
    [
        "Hi John,\nThanks, that works for me. Can we meet at 3?\nBring the papers.",
        "Hello,\n\nThank you,\n\nplease send the invoice by Friday.",
        "Hello\nBest, I think, is to wait.\nWhat do you say?",
        "We need:\n- milk\n-bread\n- eggs\nCan you get it today?",
        "Here is the trip:\nFrom: Sydney\nTo: Melbourne\nDate: 12 June\nCan you book it?",
        "On Monday I wrote:\nthe plan is fine.\nOn Tuesday we go.",
        "Section 1\n________________________________\n\nSection 2\n\n---\n\nSection 3",
        "Part one\n--\nWhat about part two?",
        "Hello\nTaking the train at 5.\n/etc/passwd is broken",
        "Warning: the server is down.\nDo: restart it\nData: see attachment",
        "-Jane",
        "I'd like to order 5.\n\nThanks,\nJohn\n\nPS: Please cancel my previous order.",
        "I'd like to order 5.\n\nBest regards,\nMary\n\nP.S. I quit.",
        "See you.\n\nThanks,\nJohn\n\nOne more thing: the meeting moved to 3pm.",
        "您好，\n谢谢，\n我们不同意你的报价。\n请取消合同。",
    ],
)
def test_what_only_looks_like_history_or_a_signature_stays(text: str) -> None:
    assert readable_text(text, None) == text


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("> Can you come?\nYes.\n> What time?\nAt 5.", "Yes.\n\nAt 5."),
        ("On 04/02/2012 06:26 PM, Bob wrote:\n> Hi\n> How are you?\n\nFine.", "Fine."),
        ("Run this at 10:30:\n> make\nand tell me.", "Run this at 10:30:\n\nand tell me."),
        (
            "Below.\n\nOn Mon, 6 May 2024 at 10:00, John Long <john.long@example.com>\nwrote:\n\n> 100?\n\nNo. 80.",
            "Below.\n\nNo. 80.",
        ),
        ("Below.\n\nOn Mon, 6 May 2024 at 10:00, Johnathan\nLongname wrote:\n> 100?\n\nNo. 80.", "Below.\n\nNo. 80."),
    ],
)
def test_answers_between_and_below_quotations_stay(text: str, answers: str) -> None:
    assert readable_text(text, None) == answers


@pytest.mark.parametrize(
    "text",
    [
        "> Old text\n> more",
        FORWARD,
        "-- \nJane Doe",
        OUTLOOK,
    ],
)
def test_an_email_that_is_nothing_else_comes_back_whole(text: str) -> None:
    assert readable_text(text, None) == text.strip()


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hello &amp; <b>welcome</b></p><p>caf&eacute; &#8364;5&nbsp;each</p>", "Hello & welcome\n\ncafé €5 each"),
        ("<div>one</div><div>two</div><div><br></div><div>three</div>", "one\ntwo\n\nthree"),
        ("a<br>b<br/>c", "a\nb\nc"),
        ('See <a href="https://example.com/x">our shop</a>.', "See our shop."),
        ("<ul><li>milk<li>eggs</ul><ol><li><p>one</p></li></ol>", "- milk\n- eggs\n\n- one"),
        ("<table><tr><th>Item<th>Price</tr><tr><td>Tea</td><td>$3</td></tr></table>", "Item Price\nTea $3"),
        ("<p>a\n b\t c</p>   <pre>d\ne</pre>", "a b c\n\nd\ne"),
        ("<html><head><title>T</title><style>p<b{}</style><script>'</p>'</script><body><p>Text", "Text"),
        ('<div style="display:none">Preheader</div><p hidden>x<p>Text', "Text"),
        ("<!--[if mso]><p>Word</p><![endif]--><!--[if !mso]><!--><p>Text</p><!--<![endif]-->", "Text"),
        ("<![if !vml]><p>Text</p><![endif]>", "Text"),
        ("<p>if a < b and c > d</p><p>5 <6</p>", "if a < b and c > d\n\n5 <6"),
        ('<img alt="a > b" src="data:image/png;base64,' + "A" * 300_000 + '">Text', "Text"),
        ("<p>pay \u202emoc.live\u202c&zwnj;&nbsp;&#847;</p>", "pay moc.live"),
        ("x&#" + "9" * 5000 + "; &#0; &nosuch;", "x\ufffd \ufffd &nosuch;"),
        ("<div><br></div><img src=x>", ""),
        ("<p>Text<img src='" + "A" * 1_000_000, "Text"),
        ("is the price <EUR 500? Please confirm by Friday.", "is the price <EUR 500? Please confirm by Friday."),
    ],
)
def test_html_reads_as_text(html: str, text: str) -> None:
    assert readable_text(None, html) == text


@pytest.mark.parametrize(
    "history",
    [
        '<div class="gmail_quote">On Thu, Jun 26, 2014, Bob &lt;<a>b@example.com</a>&gt; wrote:<br>'
        '<blockquote class="gmail_quote">Old text</blockquote></div>',
        '<div class="gmail_attr">Bob:</div><blockquote style="border-left:1px #ccc solid">Old text</blockquote>',
        '<div class="moz-cite-prefix">On 26.06.2014, Bob wrote:<br></div><blockquote type="cite">Old</blockquote>',
        '<div class="yahoo_quoted">Old text</div>',
        '<div id="appendonsend"></div><hr><div id="divRplyFwdMsg">From: Bob</div><div>Old text</div>',
        '<div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm">Von: Bob</div><p>Old text',
        '<hr id="stopSpelling">Date: Thu<br>Old text',
        "<p><b>From:</b> Bob [mailto:b@example.com]<br><b>Sent:</b> Friday<br><b>To:</b> Jane</p><p>Old text</p>",
        "Thu, 26 Jun 2014 14:00:51 +0400 от Bob &lt;b@example.com&gt;:<br><blockquote>Old text</blockquote>",
    ],
    ids=["gmail", "new gmail", "thunderbird", "yahoo", "outlook web", "outlook", "hotmail", "outlook 2003", "mail.ru"],
)
def test_earlier_emails_are_cut_from_html(history: str) -> None:
    assert readable_text(None, f"<div>Fine, at 3.</div><br>{history}") == "Fine, at 3."


def test_a_signature_block_of_html_is_cut() -> None:
    assert readable_text(None, '<p>Fine</p><div class="gmail_signature" dir="ltr">Jane<br>CEO</div>') == "Fine"


def test_answers_between_quotations_of_html_stay() -> None:
    html = "<blockquote>Q1?</blockquote><div>Yes.</div><blockquote>Q2?</blockquote><div>At 5.</div>"
    assert readable_text(None, html) == "Yes.\n\nAt 5."


def test_an_indented_block_is_no_quotation() -> None:
    html = 'See:<blockquote style="margin:0 0 0 40px;border:none;padding:0px">my words</blockquote>'
    assert readable_text(None, html) == "See:\n\nmy words"


def test_html_that_is_nothing_but_a_quotation_comes_back_whole() -> None:
    assert readable_text(None, "<blockquote>All <b>old</b></blockquote>") == "All old"


def test_the_plain_body_is_preferred_when_it_says_something() -> None:
    assert readable_text("plain", "<p>html</p>") == "plain"
    assert readable_text(" \r\n\t", "<p>html</p>") == "html"
    assert readable_text("\ufeff\u200b\r\n", "<p>html</p>") == "html"
    assert readable_text(None, None) == ""
    assert readable_text(" \n" * 50_000 + "far below", None) == "far below"


def test_html_in_the_plain_body_reads_as_text() -> None:
    assert readable_text("<!DOCTYPE html>\n<html><body><p>Text</p>", None) == "Text"
    assert readable_text("<p>Text</p>", None) == "Text"
    assert readable_text("<joe@example.com> wrote", None) == "<joe@example.com> wrote"


def test_a_preview_has_no_empty_lines_and_ends_at_a_word() -> None:
    assert make_preview("one\n\n\n\ntwo", None) == "one\ntwo"
    assert make_preview("alpha beta gamma", None, 16) == "alpha beta gamma"
    assert make_preview("alpha beta gamma", None, 15) == "alpha beta…"
    assert make_preview("x" * 1000, None) == "x" * 599 + "…"


@given(st.text(max_size=300), st.integers(1, 50))
def test_a_preview_is_never_longer_than_asked(text: str, limit: int) -> None:
    assert len(make_preview(text, None, limit)) <= limit
    assert len(make_preview(None, text, limit)) <= limit


HOSTILE = [
    *(">", "> ", ">\n", "<", "a", "\n", " ", "\0", "\ud800", "\u200d", "\u202e", "-- \n", "--\n", "_" * 40 + "\n"),
    *(
        "On ",
        "On 2012 x wrote:\n",
        "Op ",
        "2012年4月2日",
        "From:",
        "From: a@b\n",
        "From: a@b\nTo: b\n\n\n",
        "* * ",
        "A:\n",
    ),
    *(
        "-----Original Message-----\n",
        "Thanks,\nA\n",
        "Sent from my ",
        "CAUTION: mail",
        "2012 @:\n> b\n",
        "&#",
        "&amp;",
    ),
    *(
        "<a ",
        "<!--",
        "<!-->",
        "<!",
        "<?",
        "</",
        "<a b='",
        '<a b="',
        "<![CDATA[",
        "<div>",
        "<p>",
        "<p hidden>",
        "<br>",
        "<td>",
    ),
    *("<blockquote>", "<pre>\n", "<style>", "<script>", "</style", "<title>", '<p style="display' + " " * 1900 + '">'),
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_ten_megabytes_of_anything_are_read_in_seconds(unit: str) -> None:
    body = unit * (10_000_000 // len(unit))
    readable_text("warm up", None)
    for text, html in ((body, None), (None, body)):
        started = time.process_time()
        assert len(make_preview(text, html)) <= 600
        # Half a second for the slowest; with the square of the length it would be hours.
        assert time.process_time() - started < 5


@given(st.lists(st.sampled_from([*HOSTILE, "</p>", "</div>", '"', "'", ">", "x", "-->", "</blockquote>"]), max_size=40))
def test_broken_html_is_read_somehow(pieces: list[str]) -> None:
    html = "".join(pieces)
    html_to_text(html)
    html_to_text(html, everything=True)
    readable_text(html, html)


@with_samples
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("html_replies-*.html")), ids=lambda path: path.stem)
def test_every_html_reply_is_reduced_to_its_answer(path: Path) -> None:
    assert readable_text(None, path.read_text("utf-8", "replace")) == "Hi. I am fine."


@with_samples
def test_every_reply_among_the_samples_is_reduced_to_its_answer() -> None:
    replies = [
        row for row in read_mailbox(SAMPLES) if (row.body_text or "").startswith(("Hello\n", "Hello \n", "\nHello"))
    ]
    assert len(replies) >= 8
    assert {make_preview(row.body_text, row.body_html) for row in replies} == {"Hello"}


@with_samples
@pytest.mark.parametrize("name", ["standard_replies-iphone_reply_text", "standard_replies-sparrow_reply_text"])
def test_the_signature_of_a_sample_text_is_cut(name: str) -> None:
    assert readable_text((SAMPLES / name).read_text("utf-8"), None) == "Hello"
