"""Lets somebody watch how the calls to the outside systems go, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from ..errors import ServiceError

# Told of each call: the service, its outcome (ok, or the kind of the error), the seconds it took, the error's words.
Observer = Callable[[str, str, float, str], None]

P = ParamSpec("P")
R = TypeVar("R")


def nobody(_service: str, _outcome: str, _seconds: float, _message: str) -> None:
    """Watch nothing."""


class Watchable(Protocol):
    """A client that tells its observer of every call."""

    service: str
    observe: Observer


W = TypeVar("W", bound=Watchable)


def watched(method: Callable[Concatenate[W, P], R]) -> Callable[Concatenate[W, P], R]:
    """Make a client's method tell the client's observer of each of its calls."""

    @wraps(method)
    def call(self: W, /, *args: P.args, **kwargs: P.kwargs) -> R:
        start = time.monotonic()
        try:
            answer = method(self, *args, **kwargs)
        except ServiceError as error:
            self.observe(self.service, error.kind, time.monotonic() - start, error.message)
            raise
        self.observe(self.service, "ok", time.monotonic() - start, "")
        return answer

    return call
