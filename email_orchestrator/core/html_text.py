"""HTML as the plain text its sender might have typed.

A quotation becomes a `>` line and Outlook's divider `-----Original Message-----`, so that whoever reads plain text
needs to know nothing about HTML. The parser is the standard library's: a preview needs no tree, and Beautiful Soup
would cost a tenth of a second at start and 8 MB of memory for the same tokens.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from .clean import clean_text

# Hostile HTML can make any parser slow, so it is handed only as much as a preview could ever need.
_MAX_RAW, _MAX_HTML = 1_000_000, 60_000
_OPAQUE = re.compile(r"<!(?=--)|<(style|script)\b", re.IGNORECASE)
_OPAQUE_ENDS = {
    "": re.compile("-->"),
    "style": re.compile("</style[^<>]*>", re.IGNORECASE),
    "script": re.compile("</script[^<>]*>", re.IGNORECASE),
}
_DATA = re.compile("(?<=[\"'(= ])data:[^\"'<>() ]{500,}")
_OVERLONG_TAG = re.compile(r"<[^<>]{2000,}>")
_DECLARATION = re.compile(r"<[!?][^<>]*>")
_NO_TAG = re.compile(r"<(?![a-zA-Z/])|<(?=[^<>]*(?:<|\Z))")
_CUT_TAG = re.compile(r"<[a-zA-Z/][^<>]*\Z")  # what is left of a tag, a picture in it say, where the text was cut
_ABSURD_REFERENCE = re.compile(r"&#[xX]?[0-9a-fA-F]{8,};?")

_PARAGRAPHS = frozenset({"blockquote", "ol", "p", "pre", "table", "ul"})
_BLOCKS = _PARAGRAPHS | {
    *("address", "article", "aside", "body", "center", "dd", "div", "dl", "dt", "fieldset", "figure", "footer"),
    *("form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "section", "tr"),
}
_CELLS = frozenset({"td", "th"})
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
_UNSEEN = frozenset({"select", "svg", "template", "textarea", "title"})
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all")

# Classes and ids that mail programs give to their parts: Apple Mail, Gmail, Outlook, Proton, Thunderbird, Yahoo, Zoho.
_SIGNATURES = frozenset({"applemailsignature", "gmail_signature", "moz-signature", "ms-outlook-mobile-signature"}) | {
    *("protonmail_signature_block", "signature"),
}
_QUOTES = frozenset({"gmail_attr", "moz-cite-prefix", "protonmail_quote", "yahoo_quoted", "zmail_extra"})
# What Outlook (desktop, web, phone, Mac), Hotmail, Zimbra and Windows Mail put in front of an earlier email.
_DIVIDERS = frozenset({"appendonsend", "divrplyfwdmsg", "mail-editor-reference-message-container"}) | {
    *("olk_src_body_section", "outlookmessageheader", "stopspelling", "zwchr"),
}
_DIVIDER_STYLE = re.compile(r"border-top: ?solid #(?:b5c4df|e1e1e1) 1|padding-top: 5px; border-top-color: rgb\(229")


def html_to_text(html: str, *, everything: bool = False) -> str:
    """Write HTML as plain text.

    Returns its text with `\\n` where blocks begin and end (blanks and empty lines are not tidied). Quotations are
    reduced to `>` lines, signatures and hidden parts left out, unless `everything` is asked for. Takes time linear in
    the length, whatever the HTML; reads at most 60,000 characters, styles and comments not counted.
    """
    reader = _Reader(everything)
    reader.feed(_tame(html))
    reader.close()
    return "".join(reader.pieces)


def _tame(html: str) -> str:
    """Take out of HTML what html.parser reads in quadratic time, or raises on, when there is enough of it.

    What stays are entities, text, and tags of the form `<…>`, each closed before the next one opens.
    """
    was_cut = len(html) >= _MAX_RAW
    html = clean_text(html[:_MAX_RAW])
    pieces, position = [], 0
    while found := _OPAQUE.search(html, position):
        pieces.append(html[position : found.start()])
        end = _OPAQUE_ENDS[(found[1] or "").lower()].search(html, found.end())
        position = end.end() if end else len(html)
    html = "".join([*pieces, html[position:]])
    html = _DECLARATION.sub("", _OVERLONG_TAG.sub("", _DATA.sub("", html)))
    if was_cut or len(html) > _MAX_HTML:
        html = _CUT_TAG.sub("", html[:_MAX_HTML])
    return _ABSURD_REFERENCE.sub("\ufffd", _NO_TAG.sub("&lt;", html))


class _Reader(HTMLParser):
    """Collects in `pieces` the text of the HTML it is fed."""

    def __init__(self, everything: bool) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._everything = everything
        self._breaks = 2  # how many line breaks the pieces end with; none are needed before the first text
        self._skipped = ""  # the element being left out
        self._depth = 0  # how many elements of that name are open, itself included
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin an element: break the line, or begin to leave it out."""
        if self._skipped == tag == "p":  # a paragraph holds no other, so the first one's end tag was left away
            self._skipped = ""
        if self._skipped:
            self._depth += tag == self._skipped
            return
        self._break_line(tag)
        instead = self._instead(tag, {name: (value or "").lower() for name, value in attrs})
        if instead is None:
            self._preformatted += tag == "pre"
            if tag == "li":
                self._write("- ", 2)  # a paragraph in it goes on in the same line
            return
        if instead:
            self._write(instead, 1)
        if tag not in _VOID:
            self._skipped, self._depth = tag, 1

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if self._skipped:
            self._depth -= tag == self._skipped
            self._skipped = self._skipped if self._depth else ""
        elif tag not in _VOID:
            self._preformatted = max(0, self._preformatted - (tag == "pre"))
            self._break_line(tag)

    def handle_data(self, data: str) -> None:
        """Take text, in which line breaks mean nothing outside `pre`."""
        if self._skipped:
            return
        if not self._preformatted:
            data = re.sub(r"\s+", " ", data)
        if data != " " or not self._breaks:
            self._write(data, 0)

    def _write(self, text: str, breaks: int) -> None:
        self.pieces.append(text)
        self._breaks = breaks

    def _break_line(self, tag: str) -> None:
        """Break the line as `tag` asks: neighbouring blocks share their breaks, each `br` is one more."""
        wanted = self._breaks + 1 if tag == "br" else 2 if tag in _PARAGRAPHS else 1 if tag in _BLOCKS else 0
        if wanted > self._breaks:
            self._write("\n" * (wanted - self._breaks), wanted)
        elif tag in _CELLS and not self._breaks:
            self._write(" ", 0)

    def _instead(self, tag: str, attrs: dict[str, str]) -> str | None:
        """Return what to write in place of an element and all it holds, or None to read it."""
        if tag in _UNSEEN:
            return ""
        if self._everything:
            return None
        names = {*attrs.get("class", "").split(), attrs.get("id", "")}
        style = attrs.get("style", "")
        if _DIVIDERS & names or _DIVIDER_STYLE.search(style):
            return "\n-----Original Message-----\n"
        if _SIGNATURES & names or "data-signatureblock" in attrs or "hidden" in attrs or _HIDDEN.search(style):
            return ""
        # Gmail's "indent more" is a blockquote too, one without a line at its left.
        indented = "border:none" in style.replace(" ", "") and "border-left" not in style
        if _QUOTES & names or (tag == "blockquote" and not indented):
            return "\n> \n"
        return None
