"""The web application: which address leads where, who may pass, and what an error looks like."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from bottle import Bottle, HTTPError, HTTPResponse, request

from ..core.states import UNFINISHED, State
from ..errors import DatabaseUnavailable, NotFound
from ..store.trouble import DataRefused
from ..workflow import actions
from . import api, webhook
from .answers import JSON, as_json, plain_answer, reason_of, refused, too_many
from .doors import check_token
from .front import Front
from .gate import Gate
from .health import pulse_taker, tell_health
from .metrics import Metrics
from .refusals import Refusals

log = logging.getLogger(__name__)

# What the API asks for may take its time, and an event never waits for that. Waitress has one thread more than there
# are places: a health check always finds one, whatever the database does.
PLACES_FOR_EVENTS, PLACES_FOR_THE_API = 2, 2
# How long, in seconds, each waits for the database: the gateway gives us ten.
PATIENCE_FOR_EVENTS, PATIENCE_FOR_THE_API = 3.0, 10.0
# Refusals that count towards "too many": wrong state and unknown names do not, those are answers.
COUNTED = frozenset({400, 401, 403, 413, 415})
OPEN_PATHS = frozenset({"/health", webhook.PATH})
RETRY_AFTER = {"Retry-After": "5"}


def make_app(front: Front, refusals: Refusals | None = None) -> Bottle:
    """Make the WSGI application of a front; `refusals` counts those turned away."""
    app = Bottle()
    counted = Refusals() if refusals is None else refusals
    events = Gate(front.desk.database, PLACES_FOR_EVENTS, PATIENCE_FOR_EVENTS)
    others = Gate(front.desk.database, PLACES_FOR_THE_API, PATIENCE_FOR_THE_API)
    taker, metrics = pulse_taker(front), Metrics(front)

    def at_database(path: str, method: str, call: Callable[..., HTTPResponse]) -> None:
        def waiting(**named: str) -> HTTPResponse:
            with others.place():
                return call(**named)

        app.route(path, method, waiting)

    app.route("/health", "GET", lambda: tell_health(front, taker))
    app.route("/openapi.json", "GET", _describe)
    at_database("/metrics", "GET", metrics.answer)
    at_database("/workflow/status", "GET", lambda: api.tell_status(front, request.query))
    at_database("/workflow/pending", "GET", lambda: api.list_workflows(front, UNFINISHED, request.query))
    at_database("/workflow/failed", "GET", lambda: api.list_workflows(front, (State.FAILED,), request.query))
    app.route(webhook.PATH, "POST", lambda: webhook.take_event(front, events, request.environ))
    # A Message-ID may hold slashes, which the server has decoded: `name` is all there is between the fixed words.
    at_database(r"/workflow/timeout/<name:re:[\s\S]+>", "POST", lambda name: api.act(front, name, actions.time_out))
    at_database(r"/workflow/<name:re:[\s\S]+>/retry", "POST", lambda name: api.act(front, name, actions.retry))
    at_database(r"/workflow/<name:re:[\s\S]+>", "GET", lambda name: api.show_workflow(front, name))

    # Bottle's own plugins would rewrite what our errors carry.
    app.uninstall(True)
    app.add_hook("before_request", _translate(lambda: _admit(front)))
    app.install(_translate)
    app.default_error_handler = lambda error: _answer_error(error, counted)
    return app


def _describe() -> HTTPResponse:
    return plain_answer(Path(__file__).with_name("openapi.json").read_bytes(), JSON)


def _admit(front: Front) -> None:
    """Check a request before its address is looked at: who may not come in does not learn what there is."""
    try:
        request.environ["bottle.raw_path"].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise refused(400, "The address is not UTF-8.") from None
    if request.environ["PATH_INFO"] not in OPEN_PATHS:
        check_token(front, request.environ)


def _translate(call: Callable[..., Any]) -> Callable[..., Any]:
    """Make our errors into answers; what was not foreseen is logged by its kind and place, never by its words."""

    @wraps(call)
    def translated(*given: Any, **named: Any) -> Any:
        try:
            return call(*given, **named)
        except HTTPResponse:
            raise
        except NotFound as error:
            raise refused(404, str(error)) from None
        except DataRefused:
            raise refused(400, "The database cannot hold such a value.") from None
        except DatabaseUnavailable:
            raise refused(503, "The database is not available: try again.", RETRY_AFTER) from None
        except Exception as error:  # noqa: BLE001
            log.error("%s at %s", type(error).__name__, _place(error), extra={"fields": {"action": "web_error"}})  # noqa: TRY400
            raise refused(500, "Something unforeseen went wrong; the log says where.") from None

    return translated


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "an unknown place"


def _answer_error(error: HTTPError, refusals: Refusals) -> HTTPResponse:
    shown = as_json(error)
    if error.status_code in COUNTED:
        wait = refusals.count(request.environ.get("REMOTE_ADDR", ""), reason_of(error))
        if wait is not None:
            return as_json(too_many(wait))
    if "POST" in shown.headers.get("Allow", ""):
        # Every action's address could also be the Message-ID of something to show, but hardly ever is.
        shown.headers["Allow"] = "POST"
    return shown
