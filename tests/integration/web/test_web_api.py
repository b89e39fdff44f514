"""The REST API: every workflow can be reached by what its email is called, and nobody without the token gets in."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from email_orchestrator.core.states import State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.store.connection import Database

from .conftest import TOKEN, WEBHOOK, Serve, Site, path_of

pytestmark = pytest.mark.usefixtures("no_tracebacks")

MESSAGE_IDS = [
    "<plain@example.com>",
    "<with/a/slash@example.com>",
    "<100%25%@example.com>",
    "<already%2Fencoded@example.com>",
    "<with blanks and\ttab@example.com>",
    "<plus+and?question#and=&;@example.com>",
    "<äöü-日本語-🙂@example.com>",
    "<ends-in/retry",
    "timeout/retry",
    "/leading/and/trailing/",
    "../../etc/passwd",
    "<" + "x" * 253 + ">",
    "#not-a-number",
    "'; DROP TABLE workflow_state; --",
]


def fail(belt: Any, **email: Any) -> Any:
    """Bring a workflow to `failed` in the drafting step."""
    message_id = belt.email(**email)
    belt.poll()
    belt.generator.failures.append(ServiceError("AI Reply Generator", "it answered 422", Kind.PERMANENT))
    belt.work()
    workflow = belt.workflow(message_id)
    assert workflow.state is State.FAILED
    return workflow


@pytest.mark.parametrize("message_id", MESSAGE_IDS)
def test_a_workflow_is_found_by_any_message_id(site: Site, belt: Any, message_id: str) -> None:
    workflow = belt.offered(message_id=message_id)
    reply = site.get(f"/workflow/{path_of(message_id)}")
    assert (reply.status, reply.json["id"], reply.json["message_id"]) == (200, workflow.id, message_id)


@pytest.mark.parametrize("message_id", MESSAGE_IDS)
def test_actions_find_any_message_id(site: Site, belt: Any, message_id: str) -> None:
    workflow = belt.offered(message_id=message_id)
    assert site.post(f"/workflow/timeout/{path_of(message_id)}").json["state"] == "timeout"
    assert belt.state(workflow.id) is State.TIMEOUT


def test_a_message_id_that_ends_like_an_action_can_be_retried(site: Site, belt: Any) -> None:
    failed = fail(belt, message_id="<a/retry")
    assert site.post(f"/workflow/{path_of('<a/retry')}/retry").json["id"] == failed.id


@pytest.mark.parametrize("name", ["1", "%231", "01"])
def test_a_workflow_is_found_by_its_number(site: Site, belt: Any, name: str) -> None:
    workflow = belt.offered()
    assert workflow.id == 1
    assert site.get(f"/workflow/{name}").json["id"] == 1


@pytest.mark.parametrize("name", ["status", "pending", "failed"])
def test_fixed_addresses_are_never_shadowed(site: Site, belt: Any, name: str) -> None:
    belt.offered(message_id=name)
    assert "message_id" not in site.get(f"/workflow/{name}").json
    assert site.get("/workflow/1").json["message_id"] == name
    assert site.post(f"/workflow/timeout/{name}").json["message_id"] == name


@pytest.mark.parametrize(
    "name",
    [
        "7",
        "0",
        "-1",
        "%2300",
        "9" * 30,
        "9" * 5000,
        "2147483648",
        "٧",
        "nobody",
        "%00",
        "a%00b",
        "x" * 12_000,
        "a/b",
        "%0A",
    ],
)
def test_an_unknown_name_is_not_found(site: Site, belt: Any, name: str) -> None:
    belt.offered()
    path = name.encode("utf-8").decode("latin-1") if name.isascii() else path_of(name)
    for reply in (
        site.get(f"/workflow/{path}"),
        site.post(f"/workflow/{path}/retry"),
        site.post(f"/workflow/timeout/{path}"),
    ):
        assert (reply.status, reply.error["code"]) == (404, "not_found")


def test_a_workflow_shows_its_drafts_and_its_history(site: Site, belt: Any) -> None:
    workflow = belt.offered(subject="Meeting", body="At two?")
    belt.answer("2 say yes\nand thanks")
    page = site.get(f"/workflow/{workflow.id}").json
    assert page["from"] == "john@example.com"
    assert (page["subject"], page["preview"], page["state"]) == ("Meeting", "At two?", "awaiting_user")
    assert [(draft["revision"], draft["instructions"]) for draft in page["drafts"]] == [
        (1, None),
        (2, "say yes\nand thanks"),
    ]
    assert [event["to_state"] for event in page["events"]] == belt.events(workflow.id)
    assert page["events"][-1]["at"].endswith("Z")


def test_what_is_under_way_and_what_failed_are_listed_apart(site: Site, belt: Any) -> None:
    failed = fail(belt)
    done, waiting = belt.offered(), belt.offered()
    belt.answer(f"1 #{done.id}")
    belt.email()
    belt.poll()
    pending = site.get("/workflow/pending").json
    assert [(w["id"], w["state"]) for w in pending["workflows"]] == [(4, "pending"), (waiting.id, "awaiting_user")]
    assert pending["total"] == 2
    failures = site.get("/workflow/failed").json
    assert [(w["id"], w["error"]) for w in failures["workflows"]] == [(failed.id, belt.workflow(failed.id).error)]
    short = site.get("/workflow/pending?limit=1").json
    assert (len(short["workflows"]), short["total"]) == (1, 2)


@pytest.mark.parametrize("value", ["0", "-1", "1001", "", "x", "1.5", "٧", "9" * 5000, "%00", "1%0A", "nan"])
def test_a_bad_number_in_the_query_is_malformed(site: Site, value: str) -> None:
    path = value if value.isascii() else path_of(value)
    for page in ("/workflow/pending?limit=", "/workflow/failed?limit="):
        reply = site.get(page + path)
        assert (reply.status, reply.error["code"]) == (400, "malformed")


def test_retry_goes_on_at_the_step_that_failed(site: Site, belt: Any) -> None:
    failed = fail(belt)
    reply = site.post(f"/workflow/{failed.id}/retry")
    assert (reply.status, reply.json["state"], reply.json["error"]) == (200, "ai_generating", None)
    assert reply.json["events"][-1]["actor"] == "api"
    belt.work()
    assert belt.state(failed.id) is State.AWAITING_USER


def test_timeout_closes_a_waiting_draft(site: Site, belt: Any) -> None:
    workflow = belt.offered()
    reply = site.post(f"/workflow/timeout/{workflow.id}")
    assert (reply.status, reply.json["state"]) == (200, "timeout")
    assert belt.email_status(workflow.message_id) == "timeout"
    assert reply.json["events"][-1]["actor"] == "api"


def test_a_wrong_state_is_an_honest_conflict(site: Site, belt: Any) -> None:
    workflow = belt.offered()
    reply = site.post(f"/workflow/{workflow.id}/retry")
    assert (reply.status, reply.error["code"], reply.error["state"]) == (409, "wrong_state", "awaiting_user")
    assert "awaiting_user" in reply.error["message"]
    belt.answer("1")
    reply = site.post(f"/workflow/timeout/{workflow.id}")
    assert (reply.status, reply.error["state"]) == (409, "reply_sent")
    assert "already sent" in reply.error["message"]
    assert belt.state(workflow.id) is State.REPLY_SENT


def test_of_many_at_once_one_acts_and_the_others_are_told(site: Site, belt: Any) -> None:
    workflow = belt.offered()
    statuses: list[int] = []
    together = threading.Barrier(8)

    def act() -> None:
        together.wait()
        statuses.append(site.post(f"/workflow/timeout/{workflow.id}").status)

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7
    assert belt.events(workflow.id).count("timeout") == 1


GUARDED = [
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/workflow/status"),
    ("GET", "/workflow/pending"),
    ("GET", "/workflow/failed"),
    ("GET", "/workflow/1"),
    ("POST", "/workflow/1/retry"),
    ("POST", "/workflow/timeout/1"),
    ("GET", "/"),
    ("GET", "/no/such/page"),
    ("DELETE", "/workflow/1"),
    ("GET", "/health/"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_everything_but_health_and_webhook_needs_the_token(serve: Serve, belt: Any, method: str, path: str) -> None:
    belt.offered()
    site = serve(api_token=TOKEN)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-Forwarded-For": "127.0.0.1"}):
        reply = site.call(method, path, headers=headers)
        assert (reply.status, reply.error["code"]) == (401, "unauthorized")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert belt.state(1) is State.AWAITING_USER
    assert site.call(method, path, headers=site.credentials).status != 401


def test_the_token_does_not_open_the_webhook(serve: Serve) -> None:
    site = serve(api_token=TOKEN, signing_keys=("k" * 32,))
    assert site.call("POST", WEBHOOK, b"{}", site.credentials).status == 401


def test_guesses_at_the_token_are_limited_and_the_token_still_works(serve: Serve) -> None:
    site = serve(api_token=TOKEN)
    guesses = [site.call("GET", "/workflow/status", headers={"Authorization": f"Bearer {n}"}).status for n in range(65)]
    assert guesses == [401] * 60 + [429] * 5
    assert site.get("/workflow/status").status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET"),
        ("DELETE", "/workflow/1", "GET"),
        ("POST", "/workflow/status", "GET"),
        ("PUT", "/workflow/1/retry", "POST"),
        ("GET", "/workflow/1/retry", "POST"),
        ("GET", "/workflow/timeout/1", "POST"),
        ("POST", "/workflow/1", "GET"),
    ],
)
def test_the_wrong_method_is_told_the_right_one(site: Site, belt: Any, method: str, path: str, allow: str) -> None:
    belt.offered()
    reply = site.call(method, path)
    assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
    assert reply.headers["Allow"] == allow


@pytest.mark.parametrize("path", ["/", "/workflow", "/workflow/", "/favicon.ico", "/orchestrator", "/HEALTH"])
def test_an_address_that_leads_nowhere_is_not_found_in_json(site: Site, path: str) -> None:
    reply = site.get(path)
    assert (reply.status, reply.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "path", ["/workflow/%FF", "/workflow/%C3%28", "/%ED%A0%80", "/health%FF", "/workflow/%80/retry"]
)
def test_an_address_that_is_not_utf8_is_malformed(site: Site, path: str) -> None:
    reply = site.get(path)
    assert (reply.status, reply.error["code"]) == (400, "malformed")


def test_answers_are_not_kept_by_caches_and_do_not_name_the_server(site: Site) -> None:
    for path in ("/health", "/workflow/status", "/nowhere", "/metrics"):
        headers = site.get(path).headers
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert headers["Server"] is None
        assert headers["Via"] is None


def test_head_is_answered_like_get_without_the_body(site: Site, belt: Any) -> None:
    belt.offered()
    reply = site.call("HEAD", "/workflow/1")
    assert (reply.status, reply.body) == (200, b"")


def test_the_status_tells_rates_and_times(site: Site, belt: Any) -> None:
    fail(belt)
    sent, edited, ignored = (belt.offered() for _ in range(3))
    belt.answer(f"1 #{sent.id}")
    belt.answer(f"2 #{edited.id} shorter")
    belt.answer(f"3 #{ignored.id}")
    site.post(f"/workflow/timeout/{edited.id}")
    belt.email(sender="noreply@example.com")
    belt.poll()
    status = site.get("/workflow/status").json
    assert status["counts"] | {"failed": 1, "reply_sent": 1, "user_ignored": 2, "timeout": 1} == status["counts"]
    assert sum(status["counts"].values()) == 5
    assert (status["window_hours"], status["emails_per_hour"]) == (24, round(5 / 24, 3))
    assert status["answers"] == {"approve": 1, "edit": 1, "ignore": 1, "timeout": 1}
    assert status["rates"] == dict.fromkeys(("approve", "edit", "ignore", "timeout"), 0.25)
    assert status["failures_by_stage"] == {"intake": 0, "drafting": 1, "texting": 0, "replying": 0}
    assert status["email_to_text"]["count"] == 3
    assert status["text_to_answer"]["count"] == 3
    assert 0 < status["text_to_answer"]["median_seconds"] < 30


def test_times_are_measured_from_the_events(site: Site, belt: Any) -> None:
    for minutes in (1, 2, 9):
        workflow = belt.offered()
        belt.answer("1")
        minute = f"CASE to_state WHEN 'pending' THEN 0 WHEN 'awaiting_user' THEN {minutes} ELSE {3 * minutes} END"
        moment = f"timestamptz 'today' + make_interval(mins => {minute})"
        belt.sql(f"UPDATE workflow_event SET at = {moment} WHERE workflow_id = %s", workflow.id)
    status = site.get("/workflow/status?hours=48").json
    assert status["email_to_text"] == {"count": 3, "mean_seconds": 240, "median_seconds": 120}
    assert status["text_to_answer"] == {"count": 3, "mean_seconds": 480, "median_seconds": 240}


def test_the_status_looks_back_as_far_as_asked(site: Site, belt: Any) -> None:
    belt.offered()
    belt.answer("1")
    belt.sql("UPDATE workflow_event SET at = at - interval '3 hours'")
    assert site.get("/workflow/status?hours=1").json["answers"]["approve"] == 0
    assert site.get("/workflow/status?hours=4").json["answers"]["approve"] == 1
    assert site.get("/workflow/status?hours=0").status == 400


def test_a_draft_that_a_newer_email_replaced_counts_as_no_answer(site: Site, belt: Any) -> None:
    belt.offered(thread_id="<t@x>")
    belt.offered(thread_id="<t@x>")
    status = site.get("/workflow/status").json
    assert status["counts"]["user_ignored"] == 1
    assert status["answers"]["ignore"] == 0


def test_while_the_database_is_away_everything_says_try_again(serve: Serve, belt: Any) -> None:
    site = serve(desk=replace(belt.desk, database=Database("host=/nonexistent dbname=secret")))
    for method, path in [("GET", "/workflow/status"), ("GET", "/workflow/1"), ("POST", "/workflow/1/retry")]:
        reply = site.call(method, path)
        assert (reply.status, reply.error["code"]) == (503, "unavailable")
        assert int(reply.headers["Retry-After"]) > 0
        assert b"nonexistent" not in reply.body
        assert b"secret" not in reply.body
