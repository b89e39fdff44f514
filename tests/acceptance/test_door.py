"""The door of the real daemon: what it says of itself, and what it stands, seen from outside."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from hostile import WEBHOOK
from house import House, end, wait_until

from email_orchestrator.core.signature import sign
from email_orchestrator.demo.standins import Answer, refused
from email_orchestrator.embedded import EmbeddedPostgres

MakeHouse = Callable[..., House]

WITHOUT_ITS_WEB_SERVER = """
import threading
from email_orchestrator import daemon
from email_orchestrator.cli import main

class Dying(daemon.WebServer):
    def start(self):
        super().start()
        threading.Timer(1.0, lambda: self._server.close()).start()
        threading.Timer(1.0, lambda: self._map.clear()).start()

daemon.WebServer = Dying
main(["run"])
"""


def test_without_its_web_server_the_service_ends_to_be_started_anew(house: House) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ITS_WEB_SERVER],
        cwd=house.log.parent,
        env=house.environment | {"LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr == "Error: The thread web has stopped: start the service anew.\n"
    last = json.loads(house.log.read_text().splitlines()[-1])
    assert (last["log.level"], last["event.action"]) == ("critical", "ended")
    assert house.sql("SELECT count(*) FROM workflow_state WHERE claimed_by IS NOT NULL") == [(0,)]


# Who is heard ---------------------------------------------------------------------------------------------------------

NEW_KEY, OLD_KEY = "the-key-to-come-of-thirty-two-characters", "the-key-that-is-of-thirty-two-characters"


def deliver(house: House, message: str, key: str | None, source: str = "127.0.0.1", host: str = "127.0.0.1") -> int:
    """Deliver a text of the owner's from an address, signed as the phone app does where a key is given."""
    body = json.dumps(
        {
            "deviceId": "d",
            "event": "sms:received",
            "id": "e",
            "webhookId": "w",
            "payload": {
                "messageId": message,
                "message": message,
                "sender": "(555) 123-4567",
                "recipient": None,
                "simNumber": None,
                "receivedAt": "2024-06-07T11:41:31.000+07:00",
            },
        }
    ).encode()
    headers = {"Content-Type": "application/json", "Host": host}
    if key is not None:
        timestamp = str(int(time.time()))
        headers |= {"X-Timestamp": timestamp, "X-Signature": sign(body, timestamp, key)}
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=10, source_address=(source, 0))
    with closing(connection):
        connection.request("POST", WEBHOOK, body, headers)
        return connection.getresponse().status


def test_gateway_and_phone_app_are_heard_and_nobody_else_however_loud(new_house: MakeHouse) -> None:
    house = new_house(SMS_WEBHOOK_SIGNING_KEY=f"{NEW_KEY},{OLD_KEY}", SMS_WEBHOOK_ALLOW_FROM="127.0.0.1,::1")
    house.start_ready(plain=True, LOG_FORMAT="json")
    heard = {"by the gateway"}
    assert deliver(house, "by the gateway", None) == 200
    for number, key in enumerate((NEW_KEY, OLD_KEY)):
        assert deliver(house, f"by the app {number}", key, source="127.0.0.2") == 200
        # A proxy on this machine has the gateway's own address.
        assert deliver(house, f"by a proxy {number}", key, host="sms.example.com") == 200
        heard |= {f"by the app {number}", f"by a proxy {number}"}
    noise = [deliver(house, "noise", None, host="sms.example.com") for _ in range(70)]
    noise += [deliver(house, "noise", "a wrong key", source="127.0.0.2") for _ in range(70)]
    assert noise == ([401] * 60 + [429] * 10) * 2
    assert deliver(house, "still the gateway", None) == 200
    assert deliver(house, "still the app", OLD_KEY, source="127.0.0.2") == 200
    heard |= {"still the gateway", "still the app"}
    assert {message for (message,) in house.sql("SELECT message FROM sms_inbox")} == heard
    assert house.gateway.forward_event("sms:delivered", {"messageId": "x", "deliveredAt": "y"}) == 200
    refusals = [json.loads(line) for line in house.log_lines('"refused"')]
    assert {entry["orchestrator.source"] for entry in refusals} == {"127.0.0.1", "127.0.0.2"}


# The log --------------------------------------------------------------------------------------------------------------


def test_the_log_is_json_to_the_last_line_and_tells_nobody_what_is_none_of_their_business(
    new_house: MakeHouse,
) -> None:
    house = new_house(LOG_FORMAT="json", LOG_LEVEL="DEBUG", API_TOKEN="the-token-of-the-api")
    process = house.start_ready()
    # Everybody around us says more than they should.
    house.gateway.script(refused("no route to 555-123-4567, (555) 123 4567 or +1 555 123 4567"))
    house.generator.script(Answer(400, {"detail": "no reply to secret.person.1@example.com"}))
    house.mail.refuse("rcpt", "451 4.2.1 secret.person.1@example.com is over quota, call +15551234567")
    message_id = house.email("secret.person.1@example.com", subject="PRIVATE subject", body_text="PRIVATE body")
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'awaiting_user'"), 60)
    house.gateway.text_from_owner("2 PRIVATE instructions")
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE draft_revision = 2"), 20)
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'awaiting_user'"), 20)
    house.gateway.text_from_owner("1")
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'reply_sent'"), 60)
    house.gateway.text_from_owner("1", "+15557654321")
    house.get(f"/workflow/{quote(message_id, safe='')}?token=PRIVATE")
    assert end(process) == 0
    lines = house.log.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert all(entry["service.name"] == "email-auto-reply" and entry["@timestamp"] for entry in entries)
    actions = {entry.get("event.action") for entry in entries}
    assert {"ready", "taken", "transition", "answered", "refused", "stopped"} <= actions
    told = "\n".join(lines)
    assert "***@example.com" in told
    secrets = (house.mail.password, "the-token")
    for hidden in ("secret.person", "123-4567", "123 4567", "1234567", "7654321", "PRIVATE", *secrets):
        assert hidden not in told


# What it says of itself -----------------------------------------------------------------------------------------------


def test_health_sees_a_main_loop_that_hangs_and_what_each_service_last_did_and_asks_none_of_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start_ready(plain=True)
    house.email("wait.1@example.com")
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'awaiting_user'"))
    status, told = house.health()
    assert (status, told["status"], told["problems"]) == (200, "healthy", [])
    assert set(told["services"]) == {"Email Monitor", "AI Reply Generator", "SMS Gateway"}
    assert all(service["answers"] and service["last_success"] for service in told["services"].values())
    with monkeypatch.context() as patched:
        patched.setattr(house.monitor, "answer", lambda _: Answer(hang=60.0))
        assert wait_until(lambda: house.health()[0] == 503, 10)
        assert house.health()[1]["problems"][0].startswith("The main loop has not turned for")
        assert wait_until(lambda: house.health()[1]["services"]["Email Monitor"]["last_error"], 10)
    assert wait_until(lambda: house.health()[1]["status"] == "healthy", 10)
    monitor = house.health()[1]["services"]["Email Monitor"]
    assert (monitor["answers"], monitor["last_error_kind"]) == (True, "transient")
    for standin in (house.generator, house.gateway, house.monitor):
        assert not [call for call in standin.calls if "/health" in call]


# A database that is there and says nothing ---------------------------------------------------------------------------


@contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    """Stop every process of a database server where it stands: its kernel goes on taking what it is sent."""
    assert server._process is not None
    parent = server._process.pid
    family = [parent, *(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == parent)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


def _parent(stat: Path) -> int | None:
    with suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return None


def timed(call: Callable[[], int | None]) -> tuple[int | None, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def test_while_the_database_hangs_everybody_is_told_so_in_time_and_afterwards_all_goes_on(
    server: EmbeddedPostgres, house_of: House
) -> None:
    house = house_of
    process = house.start_ready(plain=True, SMS_RECONCILE_INTERVAL="3600")
    for number in range(20):
        # Every thread of the server has been to the database, and keeps a connection.
        assert house.gateway.text_from_owner(f"list {number}") == 200
    with ThreadPoolExecutor(24) as pool:
        with frozen(server):
            pages = [pool.submit(house.get, "/workflow/status") for _ in range(8)]
            texts = [pool.submit(timed, partial(house.gateway.text_from_owner, f"hm {n}")) for n in range(12)]
            looks = [timed(lambda: house.health()[0]) for _ in range(4)]
            answers = [text.result() for text in texts]
        assert {page.result().status_code for page in pages} <= {200, 503}
    assert {status for status, _ in (*answers, *looks)} == {503}
    # The gateway waits ten seconds. Few wait for the database at all, and a health check never.
    assert max(took for _, took in answers) < 5
    assert sorted(took for _, took in answers)[-3] < 2
    assert max(took for _, took in looks) < 2
    assert wait_until(lambda: house.health()[0] == 200, 5)
    # What nobody could store is fetched at once, not when the hour is over.
    refused_texts = {(f"hm {n}",) for n in range(12)}
    assert wait_until(lambda: refused_texts <= set(house.sql("SELECT message FROM sms_inbox")), 10)
    assert house.log_lines("Traceback") == []
    assert end(process) == 0


def approved_at_leisure(house: House) -> None:
    """Have an email come in, and its draft be approved where a reply goes out some seconds later."""
    house.email("approve.1@example.com")
    offered = (
        "SELECT 1 FROM workflow_state WHERE current_state = 'awaiting_user' AND offered_at < now() - interval '1 s'"
    )
    assert wait_until(lambda: house.sql(offered))
    assert house.gateway.text_from_owner("1") == 200
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'user_approved'"))


def test_an_undo_that_the_database_could_not_store_is_heard_before_the_reply_goes_out(
    server: EmbeddedPostgres, house_of: House
) -> None:
    house = house_of
    process = house.start_ready(plain=True, SEND_DELAY="4", SMS_RECONCILE_INTERVAL="3600", LEASE_SECONDS="120")
    approved_at_leisure(house)
    due_in = "SELECT extract(epoch FROM next_attempt_at - now())::float FROM workflow_state"
    [(left,)] = house.sql(due_in)
    with frozen(server):
        due = time.monotonic() + left
        assert house.gateway.text_from_owner("undo") == 503
        # The reply falls due while the database stands still.
        assert wait_until(lambda: time.monotonic() > due + 1, 10)
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'awaiting_user'"))
    assert house.replies() == []
    assert end(process) == 0


def test_an_approval_that_the_database_could_not_store_is_heard_before_its_time_is_over(
    server: EmbeddedPostgres, house_of: House
) -> None:
    house = house_of
    process = house.start_ready(plain=True, SMS_RECONCILE_INTERVAL="3600", LEASE_SECONDS="120")
    house.email("approve.1@example.com")
    offered = (
        "SELECT 1 FROM workflow_state WHERE current_state = 'awaiting_user' AND offered_at < now() - interval '1 s'"
    )
    assert wait_until(lambda: house.sql(offered))
    house.sql("UPDATE workflow_state SET remind_at = NULL, timeout_at = now() + interval '1 s'")
    with frozen(server):
        over = time.monotonic() + 2
        assert house.gateway.text_from_owner("1") == 503
        assert wait_until(lambda: time.monotonic() > over, 10)
    assert wait_until(lambda: house.sql("SELECT 1 FROM workflow_state WHERE current_state = 'reply_sent'"))
    assert end(process) == 0
