"""What a phone adds to a text, taken off again: invisible characters, odd digits, signatures, wrapping, reactions."""

from __future__ import annotations

import re

from .clean import INVISIBLE, members

UNSEEN = "\u200b"  # stands for every character that shows nothing, in a folded text

_BLANKS = "\t\x1f \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u2800\u3000"
_LINE_BREAKS = "\n\x0b\x0c\r\x1c\x1d\x1e\x85\u2028\u2029"
# These shape the character before them (a coloured heart, a flag), so they may end an instruction and stay in it.
_MODIFIERS = members("\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0000-\U000e0fff")
_ZERO_WIDTH = members(INVISIBLE + "\u200c\u200d") - _MODIFIERS
_KEYCAP = 0x20E3

_EDGES = _BLANKS + _LINE_BREAKS + "".join(map(chr, sorted(_ZERO_WIDTH)))


def _fold_table() -> dict[int, str]:
    """Return the table that `fold` translates by: one character for one character, so that positions stay."""
    table = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms of ASCII
    table |= {0x2460 + digit - 1: str(digit) for digit in range(1, 10)}  # ① … ⑨
    # Only A-Z: str.lower() would also turn the Kelvin sign into a "k".
    table |= {upper: chr(upper + 32) for upper in range(ord("A"), ord("Z") + 1)}
    table |= {0xFF21 + letter: chr(ord("a") + letter) for letter in range(26)}
    table |= {ord(blank): " " for blank in _BLANKS}
    table |= {ord(line_break): "\n" for line_break in _LINE_BREAKS}
    return table | dict.fromkeys([*_ZERO_WIDTH, *_MODIFIERS, _KEYCAP], UNSEEN)


_FOLD = _fold_table()


def fold(text: str) -> str:
    """Fold a text to the characters that commands are written in.

    Returns a string of the same length: ASCII letters in lower case, full-width, keycap and circled digits as plain
    ones, every blank a space, every line break a newline, every character that shows nothing `UNSEEN`. Other digits
    (superscript, Arabic-Indic, mathematical) are left alone, and so are never commands.
    """
    return text.translate(_FOLD)


def trim(text: str) -> str:
    """Take blanks, line breaks and zero-width characters off both ends; returns the rest as it was typed."""
    return text.strip(_EDGES)


_PRODUCTS = (
    r"iphone|ipad|ipod(?: touch)?|apple watch|samsung(?: mobile| galaxy)?|galaxy|android|huawei|xiaomi|redmi|oneplus"
    r"|(?:google )?pixel|motorola|moto|nokia|(?:sony )?xperia|sony|lg|htc|blackberry|fairphone"
)
_KINDS = r"phone|smartphone|smart phone|cell ?phone|mobile|mobile phone|mobile device|mobiltelefon|handy|tablet|device"
_APPS = r"outlook|yahoo mail|gmail|(?:apple )?mail|proton ?mail|k-9 mail|blue ?mail|spark|aqua mail|fairemail"
_DEVICE = (
    rf"(?:(?:{_PRODUCTS})(?:[ -](?:{_KINDS}|gerät|handy))?|(?:[\w-]{{1,12}} )?(?:[45]g )?(?:lte )?(?:{_KINDS})"
    rf"|(?:{_APPS}) (?:for|on) (?:ios|android|iphone|ipad|mobile|windows))"
)
_MODEL = r"(?: (?:[a-z]{0,3}\d[\w+]{0,7}|pro|max|plus|ultra|mini|note|air|fold|flip|edge|lite|xl|se))*"
_APP_TAIL = rf"(?: (?:using|with|via) (?:{_APPS}))?"
_EXCUSE = (
    r"(?:[.,;:]? (?:please )?(?:excuse|forgive|pardon|sorry for|apologies for) (?:any |my |the )?(?:typos|brevity))?"
)
_VERBS = (
    r"(?:sent|gesendet|envoyé|enviado|inviato|verstuurd|verzonden|skickat|sendt|wysłane|отправлено)"
    r" (?:from|via|with|using|von|mit|de|depuis|desde|do|a partir do|da|dal|vanaf|van|från|fra|z|с)"
    r" (?:my |an? |meinem |meiner |mon |ma |mi |meu |mio |mijn |min |mitt |mojego |моего )?"
)
# Every piece is bounded and nothing free may follow the device: "sent from my iphone by mistake" is no signature.
_SIGNATURE = re.compile(
    rf"(?:{_VERBS}{_DEVICE}{_MODEL}(?:['’]?a)?{_APP_TAIL}{_EXCUSE}|get outlook for (?:ios|android|mobile)"
    rf"|(?:von|mit) meine[mr] {_DEVICE}{_MODEL} gesendet|(?:iphone|ipad|android)\s?から送信|发自我的\s?{_DEVICE}"
    rf"|從我的\s?{_DEVICE}\s?傳送)[.!]?"
)
_DELIMITER = re.compile(r"[-–—_]{1,40}")
_LONGEST_SIGNATURE = 100


def without_signature(text: str) -> str:
    """Cut a phone's own signature ("Sent from my iPhone") off the end of a text.

    Returns the text without it and without the blanks, line breaks and zero-width characters at its ends. A signature
    is a line of its own; up to two are cut, each with the line of dashes above it.
    """
    kept = trim(text)
    for _ in range(2):
        line = _last_line(kept)
        if len(line) > _LONGEST_SIGNATURE or not _SIGNATURE.fullmatch(_plain(line).lower()):
            break
        kept = trim(kept[: len(kept) - len(line)])
        delimiter = _last_line(kept)
        if len(delimiter) < len(kept) and _DELIMITER.fullmatch(_plain(delimiter)):
            kept = trim(kept[: len(kept) - len(delimiter)])
    return kept


def _last_line(text: str) -> str:
    return text[fold(text).rfind("\n") + 1 :]


def _plain(line: str) -> str:
    return fold(line).replace(UNSEEN, "").strip()


_QUOTES = frozenset("\"'`´“”„‟‘’‚‛«»‹›「」『』")
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">", "【": "】"}
_TRAILING = frozenset(".,!;:)")


def unwrap(compact: str) -> str:
    """Take surrounding pairs of quotes or brackets and trailing `. , ! ; : )` off a folded text, layer by layer.

    Returns what is left; a quote or bracket on one side only stays, except the closing parenthesis of `1)`.
    """
    start, end = 0, len(compact)
    while start < end:
        first, last = compact[start], compact[end - 1]
        if first in " \n":
            start += 1
        elif last in " \n":
            end -= 1
        elif end - start > 1 and ((first in _QUOTES and last in _QUOTES) or _BRACKETS.get(first) == last):
            start, end = start + 1, end - 1
        elif last in _TRAILING:
            end -= 1
        else:
            break
    return compact[start:end]


# What phones write before the quoted message; reactions with an emoji of one's own are matched by `_EMOJI_LEAD`.
_KNOWN_LEAD = re.compile(
    # English: Apple's six, and taking them back; "reacted with a sticker to"
    r"(?:liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|reacted .{1,40} to"
    r"|removed (?:a like|a heart|a dislike|a laugh|an exclamation(?: mark)?|a question mark) from"
    # Spanish
    r"|(?:no )?le gust[óa]|le encant[óa]|le dio risa|se rió de|exclamó por|destacó|enfatizó|dudó sobre|cuestionó"
    # Portuguese, Italian
    r"|(?:não )?gostou de|curtiu|amou|adorou|riu de|enfatizou|questionou|ha messo mi piace a"
    # French
    r"|a aimé|a adoré|n[’']a pas aimé|a ri de|a attribué la mention|a mis en évidence"
    # German, Dutch
    r"|gefällt(?: mir)?(?: nicht)?|liebt|lacht über|hat gelacht über|betont|v[io]ndt? leuk"
    # Norwegian, Swedish, Bulgarian
    r"|likte|mislikte|elsket|lo av|satte (?:et hjerte|utropstegn|spørsmålstegn) ved|(?:mis)?liker ikke lenger"
    r"|fjernet (?:et hjerte|latter|et utropstegn|et spørsmålstegn) fra|gillade|älskade|skrattade åt|харесано):?"
)
_EMOJI = r"(?:[0-9#*]\ufe0f?\u20e3|(?=[^ ]{0,15}[\u203c-\U0001faff])[^\w ]{1,16})"
_EMOJI_LEAD = re.compile(
    r"(?:(?:reacted(?: with)?|removed|reaccionó con|reagiu com|a réagi avec|ha reagito con|reagierte mit|hat mit"
    r"|reageerde met|reagerte med|reagerade med|reagerede med|fjernet|реакция|премахнато) )?"
    rf"{_EMOJI}(?: (?:to|from|a|al|à|de|zu|auf|an|op|på|fra|til|till|em|към|от|на))?"
)
_OPENING = re.compile(r"([^“\"«„‟”‘「『‹]{0,120})[“\"«„‟”‘「『‹]")
_TYPED_EDIT = re.compile(r"#|edit\b|[2２②](?![\ufe0f\u20e3])", re.IGNORECASE)
_OWN_BEGINNING = re.compile(r"\s*(?:[📧⚠⌛⏰]|\[\d{1,2}/\d{1,2}\])")


def is_reaction(text: str) -> bool:
    """Say whether a text is a phone's reaction ("tapback") to a message of ours, which it quotes.

    True for Apple's forms (`Liked “…”`, `Reacted 👍 to “…”`) in several languages, for the invisible frame that Google
    Messages puts around its own (hair spaces, the emoji between zero-width marks), and in any language when the quoted
    words are plainly our text. A quotation in an instruction (`2 write “[1/3]”`) is not a reaction.
    """
    if _has_google_frame(text):
        return True
    text = trim(text)
    opening = _OPENING.match(text)
    if opening is None:
        return False
    lead = trim(opening[1]).lower()
    quoted = text[opening.end() :]
    known = _KNOWN_LEAD.fullmatch(lead) is not None or _EMOJI_LEAD.fullmatch(lead) is not None
    if known and _plain(quoted[-20:]).rstrip(".… ")[-1:] in _QUOTES:
        return True
    ours = _OWN_BEGINNING.match(quoted) is not None or "1=send" in quoted.lower()
    return ours and _TYPED_EDIT.match(lead) is None


def _has_google_frame(text: str) -> bool:
    """Say whether a text is `hair space … mark emoji mark … hair space quoted hair space … hair space`.

    The outermost two hair spaces may have been trimmed on the way.
    """
    pieces = text.strip(" \n\r\u200a\ufeff").split("\u200a", 3)
    if len(pieces) < 3:
        return False
    for mark in "\u200b\u200c":  # the reaction was added, or removed
        inner = pieces[0].split(mark)
        if len(inner) == 3 and _plain(inner[1]):
            return True
    return False
