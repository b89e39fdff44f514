"""One email address, checked and written the way mail servers take it."""

from __future__ import annotations

import re
import unicodedata

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL_PART = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*" + r'|"(?:[ !#-\[\]-~]|\\[ -~])*"')
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOMAIN_LITERAL = re.compile(r"\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]")
LONGEST_ADDRESS = 254  # RFC 5321 §4.5.3.1.3: a path has 256 octets, two of them the angle brackets


def ascii_address(address: str) -> str:
    """Check that the text is exactly one bare address and write it in ASCII, as SMTP without SMTPUTF8 needs it.

    Returns the local part unchanged and the domain in its IDNA form (`joe@exämple.com` → `joe@xn--exmple-cua.com`).
    Raises ValueError with a sentence for a person when it is not one address, or when it cannot be written in ASCII
    without a doubt about whose address comes out (RFC 5321 §4.1.2, RFC 5891).
    """
    if len(address) > LONGEST_ADDRESS:
        raise ValueError(f"an address has at most {LONGEST_ADDRESS} characters, this one has {len(address)}")
    local_part, at, domain = address.rpartition("@")
    if at and not local_part.isascii():
        raise ValueError("the part before the @ has letters outside ASCII, which ordinary mail cannot carry")
    if not _LOCAL_PART.fullmatch(local_part):
        raise ValueError("this is not exactly one plain email address")
    if "=?" in local_part:
        raise ValueError("the part before the @ could be read as an encoded-word that hides another address")
    written = f"{local_part}@{_ascii_domain(domain)}"
    if len(written) > LONGEST_ADDRESS:
        raise ValueError(f"an address has at most {LONGEST_ADDRESS} characters, this one has {len(written)} in ASCII")
    return written


def _ascii_domain(domain: str) -> str:
    """Return the domain's ASCII form; raises ValueError when it is not a domain or its ASCII form names another one."""
    if _DOMAIN_LITERAL.fullmatch(domain):
        return domain
    written = domain
    if not domain.isascii():
        # Python's codec follows IDNA 2003, which turns "straße" into "strasse", another domain in IDNA 2008. Only a
        # name that comes back as it was is sure to be the same domain under both.
        try:
            written = domain.encode("idna").decode("ascii")
            same = written.encode("ascii").decode("idna").lower() == unicodedata.normalize("NFC", domain).lower()
        except UnicodeError:
            same = False
        if not same:
            raise ValueError("the domain cannot be written in ASCII (IDNA) without changing it")
    if not _DOMAIN_NAME.fullmatch(written):
        raise ValueError("the part after the @ is not a domain name")
    return written
