"""One way to call a JSON service: one deadline, one size limit, one place that turns its answers into our errors."""

from __future__ import annotations

import http.client
import json
import math
import re
import threading
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from urllib3 import Timeout
from urllib3.exceptions import HTTPError, NewConnectionError

from ..core.clean import clean_line, strip_invisible
from ..errors import Kind, ServiceError
from .deadline import DeadlineAdapter

CONNECT_TIMEOUT = 5.0
MAX_BODY = 10 * 1024 * 1024
MAX_RETRY_AFTER = 3600.0
# A server may close an idle connection at the very moment we write on it, which looks like a lost answer. Web servers
# keep idle connections for two seconds or more, so one that rested longer than this is not used again.
IDLE_LIMIT = 1.0
HEADERS = {"User-Agent": "email-orchestrator", "Accept": "application/json", "Accept-Encoding": "identity"}

_MAX_DETAIL = 160
_LONG_NUMBER = re.compile(r"\d{3,}(?=\d{2})")


class JsonService:
    """A service that speaks JSON over HTTP, called `name` in errors, at `url`, given `timeout` seconds a call in all.

    Safe to share between threads: each has a connection of its own.
    """

    def __init__(self, name: str, url: str, timeout: float) -> None:
        self.name = name
        self._url = url
        self._timeout = timeout
        self._mine = threading.local()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        timeout: float | None = None,
        repeatable: bool = True,
    ) -> dict[str, Any]:
        """Make one request, without retries or redirects, and return the JSON object of a 2xx answer ({} when empty).

        `timeout` (seconds) bounds the whole call when it is given. Raises ServiceError: permanent for 422, else
        transient; but when the call is not `repeatable`, unknown wherever the service may have done it already.
        """
        limit = timeout or self._timeout
        lost = Kind.TRANSIENT if repeatable else Kind.UNKNOWN
        adapter = self._adapter()
        try:
            # Without a session: what it would add (cookies, proxies, what is in .netrc) is not for services of our own.
            request = requests.PreparedRequest()
            request.prepare(method, self._url + path, headers=HEADERS, params=params, json=body)
            response = adapter.send(
                request,
                timeout=cast(float, Timeout(total=limit, connect=min(limit, CONNECT_TIMEOUT))),
                stream=True,
            )
            with response:
                content = _read(response)
        except (requests.RequestException, HTTPError, ValueError) as error:
            # ValueError: a chunk of negative length.
            kind = lost if _was_sent(error) else Kind.TRANSIENT
            raise ServiceError(self.name, self._describe(error, limit), kind) from error
        finally:
            self._mine.used = time.monotonic()
        if not 200 <= response.status_code < 300:
            raise self._refusal(response, content, repeatable)
        if content is None:
            raise ServiceError(self.name, f"the answer was larger than {MAX_BODY >> 20} MiB", lost)
        answer = _parse(content) if content else {}
        if not isinstance(answer, dict):
            raise ServiceError(self.name, "the answer was not a JSON object", lost)
        return answer

    def _adapter(self) -> DeadlineAdapter:
        if not hasattr(self._mine, "adapter"):
            self._mine.adapter = DeadlineAdapter()
        elif time.monotonic() - self._mine.used > IDLE_LIMIT:
            self._mine.adapter.close()
        return cast(DeadlineAdapter, self._mine.adapter)

    def _refusal(self, response: requests.Response, content: bytes | None, repeatable: bool) -> ServiceError:
        status = response.status_code
        kind = Kind.TRANSIENT
        if status == 422:
            kind = Kind.PERMANENT
        elif status >= 500 and status != 503 and not repeatable:
            kind = Kind.UNKNOWN
        # What a broken server says of itself may hold anything, keys and bodies included; a refusal explains itself.
        detail = _detail(content or b"") if 400 <= status < 500 else ""
        message = f"it answered {status} {http.client.responses.get(status, '')}".rstrip()
        return ServiceError(
            self.name,
            f"{message}: {detail}" if detail else message,
            kind,
            parse_retry_after(response.headers.get("Retry-After")),
        )

    def _describe(self, error: Exception, limit: float) -> str:
        parts = urlsplit(self._url)
        host = parts.netloc.rpartition("@")[2]
        if not _was_sent(error):
            return f"no connection to {host}; is it running there?"
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            return f"no answer from {host} within {limit:g} s"
        if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
            return f"the connection to {host} was lost before the answer was complete"
        return f"the answer of {host} could not be read"


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Read a `Retry-After` header; returns seconds between 0 and 3600, or None when there is none to read.

    `now` is Unix time, today's when not given. The header holds seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    if not value:
        return None
    if re.fullmatch(r"[0-9]{1,15}", value.strip()):
        seconds = float(value)
    else:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def presentable(text: str) -> str:
    """Make a text of a service fit for a log; returns one short line in which long numbers show two digits only."""
    line = strip_invisible(clean_line(text))
    return _LONG_NUMBER.sub("***", line)[:_MAX_DETAIL]


def _detail(content: bytes) -> str:
    """Return what a refusal says of itself; from a list of validation errors place and message, never the input."""
    answer = _parse(content)
    detail = answer.get("detail") if isinstance(answer, dict) else None
    if isinstance(detail, str):
        return presentable(detail)
    if isinstance(detail, list):
        items = [item for item in detail if isinstance(item, dict)]
        return presentable("; ".join(f"{item.get('loc', '')}: {item.get('msg', '')}" for item in items))
    return ""


def _parse(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _read(response: requests.Response) -> bytes | None:
    """Return the body, or None when it is larger than we are willing to hold."""
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)


def _was_sent(error: Exception) -> bool:
    """Say whether the service may have seen the request: surely not when there never was a connection."""
    if isinstance(error, requests.ConnectTimeout):
        return False
    cause = error.args[0] if error.args else None
    return not isinstance(getattr(cause, "reason", None), NewConnectionError)
