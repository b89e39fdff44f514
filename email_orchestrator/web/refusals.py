"""Refusals are counted by source, so that one that keeps knocking is told to wait; who is let in never is."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address, ip_network

log = logging.getLogger(__name__)

LIMIT = 60
WINDOW = 60.0  # seconds
# So many sources are remembered; the one that was refused longest ago is forgotten first.
SOURCES = 1024
# So many reasons are logged within a minute, whoever they come from.
NEWS = 30


@dataclass(slots=True)
class Tally:
    """Refusals of one source since `began`, by the monotonic clock, and for which reasons."""

    began: float
    count: int = 0
    reasons: set[str] = field(default_factory=set)


class Refusals:
    """Counts refusals in windows of a minute; safe to share between threads."""

    def __init__(self, limit: int = LIMIT, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._tallies: OrderedDict[str, Tally] = OrderedDict()
        self._news = Tally(clock())

    def count(self, address: str, reason: str) -> float | None:
        """Count a refusal of an address for a reason (a sentence of ours, for the log); each is logged once a window.

        Returns the seconds the source has to wait when it was refused too often, else None.
        """
        now, source = self._clock(), _source(address)
        with self._lock:
            tally = self._tallies.pop(source, None)
            if tally is None or now - tally.began >= WINDOW:
                tally = Tally(now)
            tally.count += 1
            self._tallies[source] = tally
            if len(self._tallies) > SOURCES:
                self._tallies.popitem(last=False)
            seen, wait = tally.count, WINDOW - (now - tally.began)
            news = seen <= self._limit and reason not in tally.reasons and self._is_worth_a_line(now)
            tally.reasons.add(reason)
        if news:
            log.warning("refused a request from %s: %s", source, reason, extra=_fields(source))
        if seen == self._limit + 1:
            log.warning(
                "more than %d requests from %s were refused within a minute", self._limit, source, extra=_fields(source)
            )
        return wait if seen > self._limit else None

    def _is_worth_a_line(self, now: float) -> bool:
        if now - self._news.began >= WINDOW:
            self._news = Tally(now)
        self._news.count += 1
        return self._news.count <= NEWS

    def __len__(self) -> int:
        return len(self._tallies)


def _source(address: str) -> str:
    """Return what an address counts as: whoever has an IPv6 address has 2**64 of them (RFC 6177)."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, IPv4Address):
        return address
    return str(ip.ipv4_mapped or ip_network((int(ip), 64), strict=False))


def _fields(source: str) -> dict[str, object]:
    return {"fields": {"action": "refused", "source": source}}
