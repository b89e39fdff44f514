"""The description of the API is true: every address is in it, and what it says is what the server does."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from email_orchestrator.core.states import Actor, State
from email_orchestrator.errors import Kind, ServiceError
from email_orchestrator.web.answers import CODES
from email_orchestrator.web.refusals import Refusals

from .conftest import TOKEN, Serve, Site, path_of

pytestmark = pytest.mark.usefixtures("no_tracebacks")


def description() -> Any:
    return json.loads(files("email_orchestrator.web").joinpath("openapi.json").read_bytes())


def populate(belt: Any) -> None:
    """Have workflows 1 to 4: failed, sent, waiting, pending."""
    belt.generator.failures.append(ServiceError("AI Reply Generator", "it answered 422", Kind.PERMANENT))
    belt.email()
    belt.poll()
    belt.work()
    for _ in range(2):
        belt.offered()
    belt.answer("1 #2")
    belt.email(message_id="<a/b@example.com>")
    belt.poll()


def test_the_description_is_served_as_it_is_kept(site: Site) -> None:
    reply = site.get("/openapi.json")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.json == description()


def test_the_description_names_every_state_actor_and_error() -> None:
    schemas = description()["components"]["schemas"]
    assert schemas["State"]["enum"] == [str(state) for state in State]
    assert set(schemas["Status"]["properties"]["counts"]["properties"]) == {str(state) for state in State}
    actors = schemas["Page"]["allOf"][1]["properties"]["events"]["items"]["properties"]["actor"]["enum"]
    assert actors == [str(actor) for actor in Actor]
    assert schemas["Error"]["properties"]["error"]["properties"]["code"]["enum"] == list(CODES.values())


def test_every_address_is_described_and_every_description_leads_somewhere(site: Site, belt: Any) -> None:
    populate(belt)
    for path, methods in description()["paths"].items():
        for method in ("get", "post", "put", "patch", "delete"):
            reply = site.call(method.upper(), path.replace("{message_id}", "1"))
            assert (reply.status == 405) == (method not in methods), (method, path)
            if reply.status == 405:
                assert {reply.headers["Allow"].lower()} == set(methods)
            else:
                assert str(reply.status) in methods[method]["responses"]


def test_the_example_of_an_event_is_one(site: Site) -> None:
    (example,) = description()["components"]["schemas"]["Event"]["examples"]
    assert site.deliver(json.dumps(example).encode()).json == {"status": "kept"}


def run_schemathesis(site: Site, folder: Path, *options: str) -> str:
    """Let schemathesis try every operation with good and bad data; returns its report, and fails with it."""
    described = folder / "openapi.json"
    described.write_bytes(files("email_orchestrator.web").joinpath("openapi.json").read_bytes())
    config = folder / "schemathesis.toml"
    config.write_text("")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("--config-file", str(config), "run", str(described), "--url", f"http://127.0.0.1:{site.server.port}"),
            *("--seed", "1", "--max-examples", "25", "--phases", "examples,coverage,fuzzing", "--no-shrink"),
            *("--generation-database", "none", "--request-timeout", "5", "--continue-on-failure", *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_schemathesis_finds_nothing_that_the_description_does_not_say(serve: Serve, belt: Any, tmp_path: Path) -> None:
    populate(belt)
    site = serve(api_token=TOKEN, refusals=Refusals(limit=10**9))
    report = run_schemathesis(site, tmp_path, "--header", f"Authorization: Bearer {TOKEN}")
    assert "Tested: 10" in report
    assert site.call("GET", "/health").status == 200
    assert site.get(f"/workflow/{path_of('<a/b@example.com>')}").json["id"] == 4
