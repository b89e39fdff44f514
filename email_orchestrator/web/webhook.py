"""The webhook: what the owner texts is stored, then acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bottle import HTTPResponse

from ..errors import DatabaseUnavailable
from ..workflow import receiving
from .answers import answer, refused
from .doors import check_webhook
from .events import Malformed, parse_event
from .front import Front
from .gate import Gate

PATH = "/orchestrator/sms-response"
MAX_BODY = 64 * 1024


def take_event(front: Front, gate: Gate, environ: Mapping[str, Any]) -> HTTPResponse:
    """Take an event of the gateway: store a text, let others pass; the answer says which.

    Any answer but 2xx makes the phone app send the event again, for two days: what is authentic and well-formed gets
    one, wanted or not. Raises DatabaseUnavailable when the text could not be stored, and tells the front: the gateway
    does not repeat it.
    """
    try:
        with gate.place():
            return _take(front, environ)
    except DatabaseUnavailable as error:
        front.not_stored(error)
        raise


def _take(front: Front, environ: Mapping[str, Any]) -> HTTPResponse:
    body = read_body(environ)
    check_webhook(front, environ, body)
    _check_type(environ.get("CONTENT_TYPE", ""))
    try:
        text = parse_event(body)
    except Malformed as error:
        raise refused(400, str(error)) from None
    if text is None:
        return answer({"status": "unused"})
    return answer({"status": str(receiving.receive(front.desk, text))})


def read_body(environ: Mapping[str, Any]) -> bytes:
    """Read a request's body, which waitress has received whole; a larger one than 64 KiB is refused (413)."""
    body: bytes = environ["wsgi.input"].read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise refused(413, f"The body may have {MAX_BODY} bytes at most.")
    return body


def _check_type(content_type: str) -> None:
    """Refuse (415) what says that it is no JSON; what says nothing is read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in ("", "application/json", "text/json") and not media_type.endswith("+json"):
        raise refused(415, "The body must be JSON, and its Content-Type application/json.")
