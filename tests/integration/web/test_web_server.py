"""The server itself: starting, stopping, and what hostile clients can make of it, which is nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from house import wait_until
from waitress import wasyncore
from waitress.channel import ClientDisconnected

from email_orchestrator.errors import OrchestratorError
from email_orchestrator.store.connection import Database
from email_orchestrator.vitals import Vitals
from email_orchestrator.web import app, channel
from email_orchestrator.web.app import make_app
from email_orchestrator.web.front import Front
from email_orchestrator.web.refusals import Refusals
from email_orchestrator.web.server import LIMITS, WebServer

from .conftest import WEBHOOK, Serve, Site, event_body


def hello(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def fetch(port: int, host: str = "127.0.0.1") -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


@contextlib.contextmanager
def running(app: Any, host: str = "127.0.0.1", port: int = 0) -> Iterator[WebServer]:
    server = WebServer(app, host, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_whatever_the_database_does_a_thread_is_left_for_health() -> None:
    assert LIMITS["threads"] > app.PLACES_FOR_EVENTS + app.PLACES_FOR_THE_API


def test_the_server_says_which_port_it_got() -> None:
    with running(hello) as server:
        assert server.port > 0
        assert server.alive()
        assert fetch(server.port) == b"hello"
    assert not server.alive()


def test_localhost_is_served_on_every_address_it_has() -> None:
    with running(hello, "localhost") as server:
        for *_, address in socket.getaddrinfo("localhost", server.port, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError):
                assert fetch(server.port, str(address[0])) == b"hello"
        assert fetch(server.port) == b"hello"


def test_a_port_in_use_is_a_clear_error() -> None:
    with running(hello) as server, pytest.raises(OrchestratorError) as caught:
        WebServer(hello, "127.0.0.1", server.port)
    assert str(caught.value).startswith(f"Cannot listen on 127.0.0.1:{server.port} (Address already in use)")


@pytest.mark.parametrize("host", ["203.0.113.77", "no such host", "256.1.1.1"])
def test_an_address_that_is_not_ours_is_a_clear_error(host: str) -> None:
    with pytest.raises(OrchestratorError, match="choose another HOST or PORT"):
        WebServer(hello, host, 0)


def test_a_visitor_who_comes_alone_is_not_asked_after_others_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    accept = wasyncore.dispatcher.accept

    def look(listener: Any) -> Any:
        found = accept(listener)
        looks.append(found)
        return found

    monkeypatch.setattr(wasyncore.dispatcher, "accept", look)
    with running(hello) as server:
        assert fetch(server.port) == b"hello"
    assert len([found for found in looks if found]) == 1
    assert len(looks) <= 3


def test_the_port_can_be_used_again_at_once() -> None:
    with running(hello) as server:
        fetch(server.port)
    with running(hello, port=server.port) as again:
        assert fetch(again.port) == b"hello"


def test_a_server_that_never_started_can_be_stopped() -> None:
    server = WebServer(hello, "127.0.0.1", 0)
    server.stop()
    with running(hello, port=server.port):
        pass


@pytest.mark.usefixtures("no_tracebacks")
def test_a_stop_lets_the_request_in_hand_be_answered() -> None:
    entered, go_on = threading.Event(), threading.Event()
    answers: list[bytes] = []

    def slow(environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        go_on.wait(10)
        return hello(environ, start_response)

    server = WebServer(slow, "127.0.0.1", 0)
    server.start()
    client = threading.Thread(target=lambda: answers.append(fetch(server.port)))
    client.start()
    assert entered.wait(10)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    go_on.set()
    stopping.join(10)
    client.join(10)
    assert answers == [b"hello"]
    assert not server.alive()


def test_a_stop_does_not_stumble_over_a_loop_that_wakes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(hello) as server:
        trigger = server._listeners()[0].trigger
        pull = trigger._physical_pull

        def pull_late() -> None:
            # As if a request had just been answered: the loop wakes before we come to wake it.
            pull()
            time.sleep(0.2)
            pull()

        monkeypatch.setattr(trigger, "_physical_pull", pull_late)
        server.stop()
        assert not server.alive()


@pytest.mark.usefixtures("no_tracebacks")
def test_clients_that_just_stay_connected_do_not_delay_a_stop() -> None:
    with contextlib.ExitStack() as stack:
        server = WebServer(hello, "127.0.0.1", 0)
        server.start()
        for n in range(20):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(b"GET / HTTP/1.1\r\n\r\n" if n % 2 else b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf")
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 2
        assert not server.alive()


def test_what_was_not_foreseen_is_an_error_of_ours_and_the_log_holds_no_body(
    belt: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Database):
        def transaction(self) -> Any:
            raise RuntimeError("SECRET body of an email")

    front = Front(replace(belt.desk, database=Broken("")), Vitals())
    with running(make_app(front)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/workflow/status")
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
        connection.close()
    assert (answer.status, error["code"]) == (500, "internal_error")
    assert "SECRET" not in error["message"]
    assert "RuntimeError at" in caplog.text
    assert "SECRET" not in caplog.text
    assert "Traceback" not in caplog.text


def speak(site: Site, said: bytes, answers: int | None = None) -> list[int]:
    """Say some bytes to the server; returns the statuses of so many answers (None: of all until it hangs up)."""
    statuses: list[int] = []
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
        client.sendall(said)
        if answers is None:
            client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as heard:
            while (answers is None or len(statuses) < answers) and (head := heard.readline()):
                statuses.append(int(head.split()[1]))
                headers = http.client.parse_headers(heard)
                body = heard.read(int(headers.get("Content-Length", 0)))
                if body:
                    assert headers["Content-Type"] == "application/json"
                    json.loads(body)
    return statuses


def keep_sending(client: socket.socket, seconds: float) -> None:
    """Send and send, until the time is over or the server has had enough."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.sendall(b"x" * 1000)


POST = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.mark.usefixtures("no_tracebacks")
@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", [200]),
        (b"GET /health HTTP/1.1\r\n\r\nGET /workflow/7 HTTP/1.1\r\n\r\n", [200, 404]),
        (b"GET /health\r\n\r\n", [200]),
        (b"GET /health HTTP/9.9\r\n\r\n", [200]),
        (b"GET http://somewhere.example/health HTTP/1.1\r\n\r\n", [200]),
        (b"\r\n\r\n\r\nGET /health HTTP/1.1\r\n\r\n", [200]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [400]),
        (b"\x00\r\n\r\n", [400]),
        (b"\xff\xfe\xfd\r\n\r\n", [400]),
        (b"get /health HTTP/1.1\r\n\r\n", [400]),
        (b"GET http://[ HTTP/1.1\r\n\r\n", [400]),
        (b"GET http://[::1/health HTTP/1.1\r\n\r\n", [400]),
        (b"GET http://\xe2\x84\x80/ HTTP/1.1\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\r\n folded: first\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\nHost: x\r\n\r\n", [400]),
        (b"GET /health HTTP/1.1\r\nA: b\rC: d\r\n\r\n", [400]),
        (b"FROBNICATE /health HTTP/1.1\r\n\r\n", [405]),
        (b"PROXY /health HTTP/1.1\r\n\r\n", [405]),
        (b"ANY /health HTTP/1.1\r\n\r\n", [405]),
        (b"CONNECT somewhere.example:443 HTTP/1.1\r\nHost: somewhere.example:443\r\n\r\n", [403]),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", [404]),
        (POST + b"Content-Length: -1\r\n\r\n", [400]),
        (POST + b"Content-Length: +5\r\n\r\n{}   ", [400]),
        (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n{}   ", [400]),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", [400]),
        (POST + b"Content-Length: 999999999999\r\n\r\n{}", [413]),
        (POST + b"Content-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n", [413]),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n{}", [400]),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", [400]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", [400]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n", [400]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", [400]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", [400]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 600 + b"2\r\n{}\r\n0\r\n\r\n", [400]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 9000, [400]),
        (POST + b"Content-Length: 2\r\n\r\n{}", [400]),
        (POST + b"Content-Length: 20\r\n\r\nhalf", []),
        (b"GET /health HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", [431]),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", [431]),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", [431]),
        (b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 2000 + b"\r\n", [200]),
        (b"x" * 100_000, [431]),
        (b"GET /health", []),
        (b"", []),
    ],
)
def test_every_kind_of_bad_request_gets_its_answer(site: Site, said: bytes, statuses: list[int]) -> None:
    assert speak(site, said, len(statuses)) == statuses
    assert site.call("GET", "/health").status == 200


@pytest.mark.usefixtures("no_tracebacks")
@pytest.mark.parametrize(("chunk", "count", "status"), [(1, 600, 200), (1, 9000, 400), (16, 4000, 200)])
def test_a_body_in_thousands_of_tiny_chunks_is_not_read_to_its_end(
    site: Site, chunk: int, count: int, status: int
) -> None:
    body = event_body() + b" " * (chunk * count - len(event_body()))
    pieces = (body[n : n + chunk] for n in range(0, len(body), chunk))
    assert site.call("POST", WEBHOOK, pieces, {"Content-Type": "application/json"}).status == status


@pytest.mark.usefixtures("no_tracebacks")
@pytest.mark.parametrize("size", [200_000, 5_000_000])
def test_a_refusal_reaches_the_client_while_it_still_sends(site: Site, size: int) -> None:
    began = time.monotonic()
    reply = site.deliver(b"x" * size)
    assert (reply.status, reply.error["code"]) == (413, "too_large")
    assert reply.headers["Server"] is None
    assert time.monotonic() - began < 3


@pytest.mark.usefixtures("no_tracebacks")
def test_after_a_refusal_nobody_may_send_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "TIME_TO_LINGER", 0.2)
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=10) as client:
        client.sendall(POST + b"Content-Length: 999999999999\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            keep_sending(client, 10)


@pytest.mark.usefixtures("no_tracebacks")
def test_who_sends_too_slowly_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "TIME_TO_SEND", 0.3)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", site.server.port))) for _ in range(50)]
        for client in clients[:25]:
            client.sendall(b"GET /health HTTP/1.1\r\nX: ")
        for client in clients[25:]:
            client.sendall(POST + b"Content-Length: 60000\r\n\r\n{")
        open_ones = set(clients)
        while open_ones and time.monotonic() - began < 10:
            for client in list(open_ones):
                try:
                    # A trickle keeps a connection active: only a limit on the whole request ends it.
                    client.sendall(b"x")
                except OSError:
                    open_ones.discard(client)
            assert site.call("GET", "/health").status == 200
        assert not open_ones


@pytest.mark.usefixtures("no_tracebacks")
def test_two_hundred_silent_connections_keep_nobody_out(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.server.port)))
        began = time.monotonic()
        assert site.text().status == 200
        assert time.monotonic() - began < 3


def is_over(client: socket.socket) -> bool:
    """Say whether the server has hung up on a client."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.mark.usefixtures("no_tracebacks")
@pytest.mark.parametrize(
    "said", [b"", b"GET /hea", POST + b"Content-Length: 9\r\n\r\n{", b"GET /health HTTP/1.1\r\n\r\n"]
)
def test_whoever_takes_all_the_places_has_to_make_room(
    site: Site, caplog: pytest.LogCaptureFixture, said: bytes
) -> None:
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(400):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", site.server.port), timeout=5)))
            clients[-1].sendall(said)
        began = time.monotonic()
        assert site.call("GET", "/health").status == 200
        assert site.text().status == 200
        assert time.monotonic() - began < 3
        # Of the oldest some have to go; who came last stays.
        assert wait_until(lambda: sum(map(is_over, clients)) >= 400 - channel.CROWD)
        gone = [is_over(client) for client in clients]
        assert sum(gone) <= 400 - channel.CROWD + 2
        assert not any(gone[-100:])
    assert "connection limit" not in caplog.text


@pytest.mark.usefixtures("no_tracebacks")
def test_whoever_never_takes_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "channel_timeout", 1)
    monkeypatch.setitem(LIMITS, "cleanup_interval", 0)

    asked: list[str] = []

    def much(environ: Any, start_response: Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Length", "8000000")])
        return [b"x" * 8_000_000]

    with contextlib.ExitStack() as stack, running(much) as server:
        for _ in range(5):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert wait_until(lambda: len(asked) == 5)
        assert wait_until(lambda: len(server._map) == 2, 10)
        assert len(fetch(server.port)) == 8_000_000


def test_a_stop_closes_the_file_in_which_an_answer_waits() -> None:
    def much(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "8000000")])
        return [b"x" * 8_000_000]

    def files() -> list[Any]:
        buffers = [buffer for entry in server._map.values() for buffer in getattr(entry, "outbufs", ())]
        return [buffer.buf.file for buffer in buffers if hasattr(buffer.buf, "file")]

    with contextlib.ExitStack() as stack, running(much) as server:
        client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert wait_until(lambda: files() != [])
        waiting = files()
    assert all(file.closed for file in waiting)


@pytest.mark.usefixtures("no_tracebacks")
def test_whoever_asks_on_and_on_without_waiting_for_an_answer_is_cut_off(site: Site) -> None:
    question = b"GET /health HTTP/1.1\r\n\r\n"
    assert speak(site, question * 4) == [200] * 4
    with socket.create_connection(("127.0.0.1", site.server.port), timeout=5) as client:
        heard = b""
        with contextlib.suppress(ConnectionError):
            client.sendall(question * 300)
            while piece := client.recv(65536):
                heard += piece
    assert heard.count(b"200 OK") <= 4
    assert site.call("GET", "/health").status == 200


@pytest.mark.usefixtures("no_tracebacks")
def test_what_the_application_never_sees_counts_as_refused_too(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    site = serve(refusals=refusals)
    assert [speak(site, b"GET /health HTTP/1.1\r\nno colon\r\n\r\n") for _ in range(61)] == [[400]] * 60 + [[429]]
    reply = site.deliver(b"x" * 200_000)
    assert (reply.status, reply.error["code"]) == (429, "too_many_requests")
    assert 0 < int(reply.headers["Retry-After"]) <= 60
    assert site.text().status == 200
    assert "refused a request from 127.0.0.1: 400, Bad Request." in caplog.messages


@pytest.mark.usefixtures("no_tracebacks")
def test_a_client_that_hangs_up_as_it_is_refused_leaves_no_trace() -> None:
    with running(hello) as server, socket.create_connection(("127.0.0.1", server.port)):
        assert wait_until(lambda: len(server._map) == 3)
        [connection] = [one for one in server._map.values() if isinstance(one, channel.Channel)]
        malformed = connection.parser_class(connection.adj)
        malformed.received(b"\x00\r\n\r\n")
        assert malformed.error

        def gone(_: bytes) -> int:
            raise ClientDisconnected

        connection.write_soon = gone
        connection.requests = [malformed]
        connection.server.add_task(connection)
        assert wait_until(lambda: not connection.requests)


@pytest.mark.usefixtures("no_tracebacks")
def test_a_client_that_hangs_up_as_its_answer_is_ready_leaves_no_trace() -> None:
    with running(hello) as server, socket.create_connection(("127.0.0.1", server.port)):
        assert wait_until(lambda: len(server._map) == 3)
        [connection] = [one for one in server._map.values() if isinstance(one, channel.Channel)]
        # The loop was told of both at once, and looks to its clients first.
        connection.outbufs[-1].append(b"the answer")
        connection.handle_close()
        connection.handle_write_event()


@pytest.mark.usefixtures("no_tracebacks")
def test_clients_that_hang_up_before_the_answer_leave_no_trace(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(50):
        with socket.create_connection(("127.0.0.1", site.server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            body = event_body(message=f"text {n}")
            client.sendall(POST + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert site.text(message="the last one").status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
