"""Answers: every one is JSON, errors too, and none says more than its caller may know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from bottle import HTTPError, HTTPResponse

JSON = "application/json"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
CODES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "wrong_state",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    431: "headers_too_large",
    500: "internal_error",
    503: "unavailable",
}
# Headers of an error that its JSON answer keeps.
KEPT = ("Allow", "Retry-After", "WWW-Authenticate")


def encode(value: Mapping[str, Any]) -> bytes:
    """Write a value as JSON in UTF-8; moments become ISO 8601 in UTC, to the millisecond."""
    return json.dumps(value, ensure_ascii=False, default=_plain).encode("utf-8", "replace")


def answer(value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Make an answer of a JSON object."""
    return HTTPResponse(encode(value), status, {"Content-Type": JSON, **HEADERS, **(headers or {})})


def plain_answer(text: bytes, content_type: str) -> HTTPResponse:
    """Make an answer of text in UTF-8."""
    return HTTPResponse(text, 200, {"Content-Type": content_type, **HEADERS})


def error_body(status: int, message: str, **more: Any) -> dict[str, Any]:
    """Make what every error answers."""
    return {"error": {"code": CODES.get(status, "error"), "message": message, **more}}


def refused(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> HTTPError:
    """Make an error to raise: `message` is a sentence for the caller, `more` are further fields beside it."""
    return HTTPError(status, error_body(status, message, **more), **(headers or {}))


def too_many(wait: float) -> HTTPError:
    """Make the error (429) of a source that was refused too often and has to wait so many seconds."""
    again = {"Retry-After": str(int(wait) + 1)}
    return refused(429, "Too many requests of yours were refused: wait a minute.", again)


def as_json(error: HTTPError) -> HTTPResponse:
    """Make the JSON answer of an error, whether we raised it or bottle did."""
    kept = {name: error.headers[name] for name in KEPT if name in error.headers}
    return answer(_body_of(error), error.status_code, kept)


def reason_of(error: HTTPError) -> str:
    """Return an error's status and sentence, for the log."""
    return f"{error.status_code}, {_body_of(error)['error']['message']}"


def _body_of(error: HTTPError) -> dict[str, Any]:
    status: int = error.status_code
    return error.body if isinstance(error.body, dict) else error_body(status, _sentence(status))


def _sentence(status: int) -> str:
    match status:
        case 404:
            return "There is nothing here: see /openapi.json for what there is."
        case 405:
            return "This address does not take that method: see the Allow header."
        case 400:
            return "The request is malformed."
    return HTTPStatus(status).phrase


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
