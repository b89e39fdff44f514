"""Is this webhook body authentic?

The scheme of SMS Gateway for Android: `X-Timestamp` holds Unix seconds, `X-Signature` the lower-case hex HMAC-SHA256
of the raw body followed by the timestamp, nothing between them (https://docs.sms-gate.app/features/webhooks/).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

TOLERANCE = 300  # seconds, both ways

# Exactly ten ASCII digits: `int` would take blanks, underscores and other scripts, and since body and timestamp are
# joined without a separator, a timestamp of another length could borrow digits from the body.
_TIMESTAMP = re.compile(r"[0-9]{10}")


def sign(body: bytes, timestamp: str, key: str) -> str:
    """Return the signature of a raw body sent at `timestamp` (Unix seconds), in lower-case hex."""
    return hmac.new(key.encode("utf-8", "surrogatepass"), body + timestamp.encode("ascii"), hashlib.sha256).hexdigest()


def is_signed(body: bytes, timestamp: str, signature: str, keys: Sequence[str]) -> bool:
    """Say whether the raw body was signed with one of the keys at the time that `timestamp` names, whenever that was.

    Nothing a header holds makes it raise.
    """
    if not _TIMESTAMP.fullmatch(timestamp):
        return False
    given = signature.encode("utf-8", "surrogatepass")
    # Every key is tried, so that the time taken does not tell which one matched; an empty key never counts.
    matches = [hmac.compare_digest(sign(body, timestamp, key).encode(), given) for key in keys if key]
    return any(matches)


def is_recent(timestamp: str, now: datetime) -> bool:
    """Say whether a timestamp that was signed is within five minutes of `now`."""
    return abs(now.timestamp() - int(timestamp)) <= TOLERANCE
