"""Who is answered and who never is: machines, ourselves, and addresses nobody could answer."""

from __future__ import annotations

import re

from .clean import clean_line
from .mail_address import LONGEST_ADDRESS, ascii_address

# RFC 5321 §4.5.3.1.1: before the @.
_LONGEST_LOCAL_PART = 64
# RFC 5322 §3.2.3 dot-atom, with the letters and digits of other scripts that RFC 6531 §3.3 adds. Quoted local parts,
# address literals and bare host names are legal, but no person writes to us from one; `=?` could be read as an
# encoded-word that hides another address.
_ATEXT = r"[\w!#$%&'*+/=?^`{|}~-]+"
_LABEL = r"[^\W_](?:(?:[^\W_]|-)*[^\W_])?"
_ADDRESS = re.compile(rf"(?!.*=\?){_ATEXT}(?:\.{_ATEXT})*@(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}")
_WITH_NAME = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|([^"<>@,;:\\]*))\s*<([^<>]*)>')

_NO_REPLY = re.compile(r"noreply|(?<![a-z])no[-_.]*reply|do[-_.]*not[-_.]*reply")
_DAEMON = re.compile(r"(?<![a-z])(?:mailer[-_.]*daemon|postmaster|bounces?)(?![a-z])")
_NO_REPLY_HOSTS = frozenset({"noreply", "no-reply", "donotreply", "do-not-reply"})


def parse_sender(raw: str) -> tuple[str, str] | None:
    """Read `joe@example.com` or `Joe <joe@example.com>`.

    Returns (display name or "", bare address), or None when the text is not exactly one address a person could have.
    Reads by rules of its own, since `email.utils` answers differently from one Python version to the next.
    """
    text = clean_line(raw[:1000])
    name = ""
    if text.endswith(">"):
        named = _WITH_NAME.fullmatch(text)
        if not named:
            return None
        quoted, plain, text = named.groups()
        name = clean_line(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    local_part = text.partition("@")[0]
    if len(text) > LONGEST_ADDRESS or len(local_part) > _LONGEST_LOCAL_PART or not _ADDRESS.fullmatch(text):
        return None
    return name, text


def why_skipped(
    sender: str, message_id: str, own_address: str, skip: frozenset[str], allow: frozenset[str]
) -> str | None:
    """Decide whether an email must not be answered.

    `skip` and `allow` hold addresses or `@domains` in any letter case; `allow` overrides `skip` and the list of
    machines, but never the rest: there is nobody to answer, or only ourselves. Returns the reason in words, or None for
    an email that may be answered.
    """
    parsed = parse_sender(sender)
    if parsed is None:
        return "the sender's address cannot be read"
    try:
        ascii_address(parsed[1])
    except ValueError as error:
        return f"no reply can go to the sender's address: {error}"
    address = parsed[1].lower()
    if _mailbox(address) == _mailbox(own_address.strip().lower()):
        return "sent from our own address"
    if not message_id.strip("<> \t\r\n"):
        return "the email has no Message-ID"
    if _listed(address, allow):
        return None
    if _listed(address, skip):
        return "the sender is in SKIP_SENDERS"
    if _is_machine(address):
        return "the sender looks like a machine"
    return None


def _mailbox(address: str) -> str:
    """Return the mailbox an address ends up in: `+tags` dropped, and Gmail's dots too.

    Gmail ignores dots and delivers googlemail.com to the same place (support.google.com/mail/answer/7436150).
    """
    local_part, _, domain = address.rpartition("@")
    local_part = local_part.partition("+")[0]
    if domain in ("gmail.com", "googlemail.com"):
        local_part, domain = local_part.replace(".", ""), "gmail.com"
    return f"{local_part}@{domain}"


def _listed(address: str, entries: frozenset[str]) -> bool:
    known = {entry.strip().lower() for entry in entries}
    return address in known or "@" + address.rpartition("@")[2] in known


def _is_machine(address: str) -> bool:
    local_part, _, domain = address.rpartition("@")
    return bool(
        _NO_REPLY.search(local_part) or _DAEMON.search(local_part) or _NO_REPLY_HOSTS.intersection(domain.split("."))
    )
