"""Every way an SMTP server can fail, at every phase, and what each means for the mail."""

from __future__ import annotations

import base64
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from house import wait_until

from email_orchestrator import clock
from email_orchestrator.clients.smtp import Security, SmtpMailer, security_for
from email_orchestrator.clients.smtp_wire import Lost, Wire
from email_orchestrator.errors import AccountError, Kind, ServiceError, Trouble

CERTIFICATE = Path(__file__).parents[1] / "support" / "loopback.pem"
PASSWORD = "correct horse battery"
MESSAGE = b"Subject: hello\r\n\r\nYes, 2pm works!\r\n"
DEADLINE = 20.0
QUICK: dict[str, Any] = {"command_timeout": 0.2, "answer_timeout": 0.2}  # for servers that are not going to answer

# again: transient · never: permanent · unknown: it may have been sent · sent: a success
# busy, password, limit: the account is in trouble, not the message
OUTCOMES = """
phase      refused  closed   reset    silence  garbage  451      550
connect    again    again    again    again    -        -        -
TLS        -        again    again    again    again    again    again
greeting   -        again    again    again    again    again    again
EHLO       -        again    again    again    again    again    again
STARTTLS   -        again    again    again    again    again    again
AUTH       -        again    again    again    again    again    password
MAIL       -        again    again    again    again    again    never
RCPT       -        again    again    again    again    again    never
DATA       -        again    again    again    again    again    never
body       -        again    again    again    again    again    again
dot        -        unknown  unknown  unknown  unknown  again    never
QUIT       -        sent     sent     sent     sent     sent     sent
"""
CASES = [
    (row[0], fault, expected)
    for row in map(str.split, OUTCOMES.strip().splitlines()[1:])
    for fault, expected in zip(OUTCOMES.split()[1:8], row[1:], strict=True)
    if expected != "-"
]

ANSWERS = """
greeting 421 4.7.0 Try again later                     busy
greeting 554 5.7.1 No service for you                  again
EHLO     421 4.7.0 Try again later                     busy
EHLO     501 5.5.4 Bad name                            again
AUTH     334 VXNlcm5hbWU6                              again
AUTH     421 4.7.0 Try again later                     busy
AUTH     432 4.7.12 A password transition is needed    again
AUTH     454 4.7.0 Too many login attempts             busy
AUTH     534 5.7.9 Application-specific password       password
AUTH     535 5.7.8 Username and Password not accepted  password
AUTH     550 5.4.5 Daily user sending limit exceeded   limit
MAIL     250-2.1.0 OK|550 5.7.1 no                     again
MAIL     354 go ahead                                  again
MAIL     421 4.3.0 Temporary system problem            again
MAIL     452 4.2.2 Over quota                          again
MAIL     530 5.7.0 Authentication Required             password
MAIL     550 5.4.5 Daily user sending limit exceeded   limit
RCPT     250 2.1.5 OK|550 5.1.1 no                     again
RCPT     251 User not local; will forward              sent
RCPT     421 4.4.5 Too busy                            again
RCPT     450 4.2.1 Too much mail for this user         again
RCPT     550-5.1.1 No such|550 5.1.1 user              never
RCPT     550-5.4.5 Daily|550 5.4.5 limit               limit
RCPT     553 5.1.3 Not a valid address                 never
DATA     250 2.0.0 what?                               again
DATA     421 4.7.0 Closing                             again
DATA     503 5.5.1 Bad sequence                        never
DATA     550 5.4.5 Daily user sending limit exceeded   limit
dot      250-2.0.0 one|250 two                         sent
dot      250                                           sent
dot      250-2.0.0 OK|550 5.7.1 no                     unknown
dot      199 hm                                        unknown
dot      354 go on                                     unknown
dot      421 4.3.0 Closing                             again
dot      452 4.3.1 Full                                again
dot      552 5.7.0 Not such a message                  never
dot      550 5.4.5 Daily user sending limit exceeded   limit
"""
ANSWER_CASES = [
    (line.split()[0], " ".join(line.split()[1:-1]), line.split()[-1]) for line in ANSWERS.strip().splitlines()
]

NO_SMTP = {
    "an endless line": b"2" * 300_000,
    "binary": bytes(range(128, 256)) + b"\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no separator": b"250OK\r\n",
    "a short code": b"25 OK\r\n",
    "an empty line": b"\r\n",
    "digits of another script": "２５０ OK\r\n".encode(),
    "endless lines": b"250-more\r\n" * 20_000,
    "two codes": b"250-one\r\n251 two\r\n",
}

Fault = bytes | Callable[[socket.socket], None]


class Over(OSError):
    """The server stops talking."""


class ScriptedServer:
    """An SMTP server on loopback that behaves, except that at one phase, and so many times, it does something else.

    A fault of bytes is said instead of the usual answer; a fault that is a function gets the connection, and then the
    server falls silent. `heard` holds the commands it got, `mails` the messages whose final dot it got, as they came.
    """

    def __init__(
        self,
        phase: str = "",
        fault: Fault = b"",
        security: Security = Security.PLAIN,
        auth: str = "AUTH PLAIN LOGIN",
        times: int = 1_000,
    ) -> None:
        self.phase, self.fault, self.security, self.auth, self.times = phase, fault, security, auth, times
        self.heard: list[str] = []
        self.mails: list[bytes] = []
        self.connections = 0
        self._sockets: list[socket.socket] = [socket.create_server(("127.0.0.1", 0))]
        self.port: int = self._sockets[0].getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> ScriptedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up(listener_too=True)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()

    def hang_up(self, listener_too: bool = False) -> None:
        """Close every connection."""
        for sock in self._sockets[0 if listener_too else 1 :]:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._sockets[0].accept()
                self._sockets.append(connection)
                self.connections += 1
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            self._converse(connection)

    def _say(self, connection: socket.socket, phase: str, usual: bytes) -> None:
        if phase == self.phase and self.times:
            self.times -= 1
            if callable(self.fault):
                self.fault(connection)
                raise Over
            usual = self.fault
        connection.sendall(usual)

    def _converse(self, connection: socket.socket) -> None:
        self._say(connection, "connect", b"")
        if self.security is Security.TLS:
            connection.recv(1, socket.MSG_PEEK)  # the handshake has begun
            self._say(connection, "TLS", b"")
            connection = self._encrypt(connection)
        self._say(connection, "greeting", b"220 scripted ready\r\n")
        with connection.makefile("rb") as lines:
            self._answer_commands(connection, lines)

    def _answer_commands(self, connection: socket.socket, lines: BinaryIO) -> None:
        while line := lines.readline():
            self.heard.append(line.decode("ascii").rstrip("\r\n"))
            verb = line.split()[0].decode("ascii")
            if line == b"AUTH LOGIN\r\n":
                for phase, prompt in (("USER", b"334 VXNlcm5hbWU6\r\n"), ("PASS", b"334 UGFzc3dvcmQ6\r\n")):
                    self._say(connection, phase, prompt)
                    self.heard.append(lines.readline().decode("ascii").rstrip("\r\n"))
            self._say(connection, verb, self._usual_answer(verb, connection))
            if verb == "STARTTLS":
                encrypted = self._encrypt(connection)
                with encrypted.makefile("rb") as encrypted_lines:
                    self._answer_commands(encrypted, encrypted_lines)
            if verb == "DATA":
                self._say(connection, "body", b"")
                self._take_mail(lines)
                self._say(connection, "dot", b"250 2.0.0 OK scripted\r\n")

    def _usual_answer(self, verb: str, connection: socket.socket) -> bytes:
        if verb == "EHLO":
            clear = self.security is Security.STARTTLS and not isinstance(connection, ssl.SSLSocket)
            offers = ["scripted", *(["STARTTLS"] if clear else [self.auth])]
            return "".join(f"250-{offer}\r\n" for offer in offers if offer).encode() + b"250 HELP\r\n"
        usual = {"AUTH": b"235 2.7.0 Accepted", "DATA": b"354 go ahead", "QUIT": b"221 2.0.0 Bye"}
        return usual.get(verb, b"250 2.0.0 OK") + b"\r\n"

    def _take_mail(self, lines: BinaryIO) -> None:
        mail = []
        while (line := lines.readline()) != b".\r\n":
            if not line:
                raise Over
            mail.append(line)
        self.mails.append(b"".join(mail))

    def _encrypt(self, connection: socket.socket) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        encrypted = context.wrap_socket(connection, server_side=True)
        self._sockets.append(encrypted)
        return encrypted


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stay_silent(_connection: socket.socket) -> None:
    pass


def drip(text: bytes) -> Callable[[socket.socket], None]:
    """Send a text one byte at a time, so that no single read takes long."""

    def fault(connection: socket.socket) -> None:
        for position in range(len(text)):
            connection.sendall(text[position : position + 1])
            if select.select([connection], [], [], 0.05)[0]:
                break

    return fault


FAULTS: dict[str, Fault] = {
    "closed": close,
    "reset": reset,
    "silence": stay_silent,
    "garbage": b"What a lovely day\r\n",
    "451": b"451 4.3.0 Not now\r\n",
    "550": b"550 5.7.1 No\r\n",
}
SECURITY = {"TLS": Security.TLS, "STARTTLS": Security.STARTTLS}


def new_mailer(port: int, security: Security = Security.PLAIN, **options: Any) -> SmtpMailer:
    given: dict[str, Any] = {"command_timeout": 5.0, "answer_timeout": 5.0, "context": client_context()} | options
    return SmtpMailer("127.0.0.1", port, "ann@example.com", PASSWORD, security=security, **given)


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


def in_time() -> float:
    return clock.now() + DEADLINE


def outcome(mailer: SmtpMailer, message: bytes = MESSAGE, deadline: float = DEADLINE) -> str:
    """Send a mail, close, and say in a word of the tables what the caller learned."""
    try:
        answer = mailer.send("ann@example.com", "john@example.org", message, clock.now() + deadline)
        mailer.close()
    except AccountError as error:
        return {Trouble.BUSY: "busy", Trouble.CREDENTIALS: "password", Trouble.DAILY_LIMIT: "limit"}[error.trouble]
    except ServiceError as error:
        return {Kind.TRANSIENT: "again", Kind.PERMANENT: "never", Kind.UNKNOWN: "unknown"}[error.kind]
    assert answer.startswith("250")
    return "sent"


@contextmanager
def unreachable(fault: str) -> Iterator[int]:
    """A port that refuses connections, or one whose queue is full, so that a connection is never made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        if fault == "refused":
            listener.close()
        else:
            for _ in range(2):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize(("phase", "fault", "expected"), CASES)
def test_a_failure_at_any_phase_says_whether_the_mail_may_have_gone_out(phase: str, fault: str, expected: str) -> None:
    options, deadline = (QUICK, 0.8) if fault == "silence" else ({}, DEADLINE)
    if (phase, fault) in {("connect", "refused"), ("connect", "silence")}:
        with unreachable(fault) as port:
            assert outcome(new_mailer(port, **options), deadline=deadline) == expected
        return
    security = SECURITY.get(phase, Security.PLAIN)
    # A message larger than what the system buffers: a server that stops reading is noticed in the middle of it.
    message = MESSAGE + (b"x" * 900 + b"\r\n") * (12_000 if phase == "body" else 1)
    with ScriptedServer(phase, FAULTS[fault], security) as server:
        started = time.monotonic()
        assert outcome(new_mailer(server.port, security, **options), message, deadline) == expected
        assert time.monotonic() - started < 2.5
        assert len(server.mails) == (phase in {"dot", "QUIT"})
        assert sum(line.startswith("AUTH") for line in server.heard) <= 1


@pytest.mark.parametrize(("phase", "answer", "expected"), ANSWER_CASES)
def test_an_answer_means_what_its_code_says_at_that_phase(phase: str, answer: str, expected: str) -> None:
    with ScriptedServer(phase, answer.replace("|", "\r\n").encode() + b"\r\n") as server:
        assert outcome(new_mailer(server.port)) == expected


@pytest.mark.parametrize("text", NO_SMTP.values(), ids=NO_SMTP.keys())
@pytest.mark.parametrize(("phase", "expected"), [("greeting", "again"), ("RCPT", "again"), ("dot", "unknown")])
def test_what_is_no_smtp_answer_is_no_answer(phase: str, expected: str, text: bytes) -> None:
    with ScriptedServer(phase, text) as server:
        started = time.monotonic()
        assert outcome(new_mailer(server.port)) == expected
        assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("text", [b"250 " + b"x" * 1000, b"250-2.0.0 OK\r\n"], ids=["drip", "unfinished"])
@pytest.mark.parametrize(("phase", "expected"), [("RCPT", "again"), ("dot", "unknown"), ("QUIT", "sent")])
def test_an_answer_that_never_ends_is_not_waited_for_beyond_the_time(phase: str, expected: str, text: bytes) -> None:
    with ScriptedServer(phase, drip(text)) as server:
        started = time.monotonic()
        assert outcome(new_mailer(server.port, **QUICK), deadline=1.0) == expected
        assert time.monotonic() - started < 2.0


def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    with ScriptedServer("DATA", b"354 go ahead\r\n250 2.0.0 OK\r\n") as server:
        assert outcome(new_mailer(server.port)) == "again"
        assert server.mails == []


def test_a_server_that_hangs_up_during_the_message_is_noticed_before_the_final_dot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look = Wire.is_quiet

    def look_once_it_hung_up(wire: Wire) -> bool:
        select.select([wire._sock], [], [], 5.0)
        return look(wire)

    monkeypatch.setattr(Wire, "is_quiet", look_once_it_hung_up)
    with ScriptedServer("body", close) as server:
        assert outcome(new_mailer(server.port)) == "again"
        assert server.mails == []


# --- time ------------------------------------------------------------------------------------------------------------


def test_without_time_for_the_answer_nothing_is_handed_over() -> None:
    with ScriptedServer() as server:
        assert outcome(new_mailer(server.port, answer_timeout=5.0), deadline=5.0) == "again"
        assert server.connections == 0


def test_a_slow_server_is_left_before_the_final_dot_when_the_time_is_nearly_used_up() -> None:
    with ScriptedServer("DATA", drip(b"354 " + b"." * 9 + b"\r\n")) as server:
        mailer = new_mailer(server.port, command_timeout=5.0, answer_timeout=1.7)
        started = time.monotonic()
        assert outcome(mailer, deadline=2.0) == "again"
        assert time.monotonic() - started < 1.7
        assert server.mails == []


def test_a_process_that_was_stopped_for_long_does_not_hand_the_message_over_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standing = Wire.is_quiet

    def stopped_meanwhile(wire: Wire) -> bool:
        threading.Event().wait(0.3)
        return standing(wire)

    monkeypatch.setattr(Wire, "is_quiet", stopped_meanwhile)
    with ScriptedServer() as server:
        assert outcome(new_mailer(server.port), deadline=5.25) == "again"
        assert "DATA" in server.heard
        assert server.mails == []


def test_a_machine_that_slept_does_not_hand_the_message_over_late(monkeypatch: pytest.MonkeyPatch) -> None:
    standing, before = Wire.is_quiet, clock.now

    def asleep_meanwhile(wire: Wire) -> bool:
        monkeypatch.setattr(clock, "now", lambda: before() + 8 * 3600)
        return standing(wire)

    monkeypatch.setattr(Wire, "is_quiet", asleep_meanwhile)
    with ScriptedServer() as server:
        assert outcome(new_mailer(server.port)) == "again"
        assert "DATA" in server.heard
        assert server.mails == []


# --- what is transmitted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "arrived"),
    [
        (b"a\r\n\r\n.\r\n..\r\n.b\r\n", b"a\r\n\r\n..\r\n...\r\n..b\r\n"),
        (b"a\n.\nMAIL FROM:<x@y>\n", b"a\r\n..\r\nMAIL FROM:<x@y>\r\n"),
        (b"a\r.\rb\r\n.\nc\n.\r\n", b"a\r\n..\r\nb\r\n..\r\nc\r\n..\r\n"),
        (b"no newline at the end", b"no newline at the end\r\n"),
        (b"blank line at the end\r\n\r\n", b"blank line at the end\r\n\r\n"),
        (b"." + b"x" * 997, b".." + b"x" * 997 + b"\r\n"),
        (b"", b""),
    ],
)
def test_no_line_of_a_message_can_end_it(message: bytes, arrived: bytes) -> None:
    with ScriptedServer() as server:
        assert outcome(new_mailer(server.port), message) == "sent"
        assert server.mails == [arrived]


@pytest.mark.parametrize("message", [b"x" * 999, b"null\0\r\n", "é\r\n".encode()])
def test_a_message_plain_smtp_cannot_carry_is_refused_before_a_connection(message: bytes) -> None:
    with ScriptedServer() as server:
        assert outcome(new_mailer(server.port), message) == "never"
        assert server.connections == 0


@pytest.mark.parametrize("recipient", ["a@b.c>\r\nRCPT TO:<x@y.z", "a@b.c, x@y.z", "a b@c.d", "jösé@example.com", ""])
def test_only_one_plain_address_gets_into_the_envelope(recipient: str) -> None:
    with ScriptedServer() as server, pytest.raises(ServiceError, match="nothing was sent") as caught:
        new_mailer(server.port).send("ann@example.com", recipient, MESSAGE, in_time())
    assert caught.value.kind is Kind.PERMANENT
    assert server.connections == 0


def test_the_envelope_names_sender_and_recipient_with_its_domain_in_ascii() -> None:
    with ScriptedServer() as server, closing(new_mailer(server.port)) as mailer:
        mailer.send("ann@example.com", "joe@exämple.com", MESSAGE, in_time())
    assert server.heard[2:] == [
        "MAIL FROM:<ann@example.com>",
        "RCPT TO:<joe@xn--exmple-cua.com>",
        "DATA",
        "QUIT",
    ]


# --- the kept connection ---------------------------------------------------------------------------------------------


def test_a_burst_of_mails_uses_one_connection_and_one_login() -> None:
    with ScriptedServer() as server, closing(new_mailer(server.port)) as mailer:
        for _ in range(3):
            assert mailer.send("a@example.com", "b@example.com", MESSAGE, in_time()) == "250 2.0.0 OK scripted"
    assert (server.connections, len(server.mails)) == (1, 3)
    assert sum(line.startswith("AUTH") for line in server.heard) == 1
    assert server.heard[-1] == "QUIT"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_kept_connection_that_no_longer_serves_is_replaced(fault: str) -> None:
    patience = 0.5 if fault == "silence" else 5.0
    with ScriptedServer() as server, closing(new_mailer(server.port, command_timeout=patience)) as mailer:
        assert mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        server.phase, server.fault, server.times = "MAIL", FAULTS[fault], 1
        assert mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        assert (server.connections, len(server.mails)) == (2, 2)


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced() -> None:
    with ScriptedServer() as server, closing(new_mailer(server.port)) as mailer:
        assert mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        server.hang_up()
        assert mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        assert (server.connections, len(server.mails)) == (2, 2)


def test_a_connection_that_rested_too_long_is_not_used_again() -> None:
    with ScriptedServer() as server, closing(new_mailer(server.port, idle_seconds=0.0)) as mailer:
        for _ in range(2):
            mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        assert (server.connections, len(server.mails)) == (2, 2)
        mailer.close_idle()
        assert server.heard[-1] == "QUIT"


def test_a_connection_in_use_lately_is_not_closed_as_idle() -> None:
    with ScriptedServer() as server, closing(new_mailer(server.port, idle_seconds=60.0)) as mailer:
        mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        mailer.close_idle()
        mailer.send("a@example.com", "b@example.com", MESSAGE, in_time())
        assert server.connections == 1


def test_a_connection_on_which_something_failed_is_not_kept() -> None:
    with ScriptedServer("RCPT", b"550 5.1.1 No such user\r\n", times=1) as server:
        mailer = new_mailer(server.port)
        assert outcome(mailer) == "never"
        assert outcome(mailer) == "sent"
        assert server.connections == 2


def test_threads_take_turns_and_no_mail_gets_into_another() -> None:
    with ScriptedServer() as server, closing(new_mailer(server.port)) as mailer, ThreadPoolExecutor(8) as pool:
        mails = [f"Subject: {number}\r\n\r\nhello\r\n".encode() for number in range(40)]
        answers = list(pool.map(lambda mail: mailer.send("a@example.com", "b@example.com", mail, in_time()), mails))
        assert set(answers) == {"250 2.0.0 OK scripted"}
        assert sorted(server.mails) == sorted(mails)
        assert server.connections == 1


# --- login and encryption --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auth", ["AUTH PLAIN LOGIN", "AUTH LOGIN PLAIN XOAUTH2", "AUTH LOGIN", "AUTH=LOGIN"])
def test_a_wrong_password_is_tried_once_whatever_the_server_offers(auth: str) -> None:
    with ScriptedServer("AUTH", b"535 5.7.8 Username and Password not accepted\r\n", auth=auth) as server:
        with pytest.raises(AccountError) as caught:
            new_mailer(server.port).check()
        assert sum(line.startswith("AUTH") for line in server.heard) == 1
    assert caught.value.trouble is Trouble.CREDENTIALS
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "sent"),
    [("AUTH PLAIN", f"\0ann@example.com\0{PASSWORD}"), ("AUTH LOGIN", PASSWORD)],
    ids=["PLAIN", "LOGIN"],
)
def test_a_password_that_the_server_repeats_is_told_to_nobody(auth: str, sent: str) -> None:
    secret = base64.b64encode(sent.encode())
    with (
        ScriptedServer("AUTH", b"501 5.5.2 Cannot decode " + secret + b"\r\n", auth=auth) as server,
        pytest.raises(AccountError, match=r"Cannot decode \*\*\*") as caught,
    ):
        new_mailer(server.port).check()
    assert secret.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("AUTH PLAIN", [b"\0ann@example.com\0" + PASSWORD.encode()]),
        ("AUTH LOGIN", [b"ann@example.com", PASSWORD.encode()]),
    ],
)
def test_check_logs_in_and_quits_and_sends_nothing(auth: str, expected: list[bytes]) -> None:
    with ScriptedServer(auth=auth) as server:
        new_mailer(server.port).check()
        words = [line for line in server.heard if not line.startswith(("EHLO", "QUIT"))]
    assert server.heard[-1] == "QUIT"
    assert [base64.b64decode(line.removeprefix("AUTH PLAIN ")) for line in words if line != "AUTH LOGIN"] == expected


@pytest.mark.parametrize(("phase", "told"), [("USER", 0), ("PASS", 1)])
def test_a_login_that_is_refused_half_way_is_not_gone_on_with(phase: str, told: int) -> None:
    answer = b"534 5.7.9 Application-specific password required\r\n"
    with ScriptedServer(phase, answer, auth="AUTH LOGIN") as server:
        assert outcome(new_mailer(server.port)) == "password"
    assert [line for line in server.heard[2:] if line] == ["YW5uQGV4YW1wbGUuY29t"][:told]


def test_check_says_what_is_wrong() -> None:
    answer = b"454 4.7.0 Too many login attempts\r\n"
    with ScriptedServer("AUTH", answer) as server, pytest.raises(AccountError) as caught:
        new_mailer(server.port).check()
    assert "answered the AUTH with 454 4.7.0 Too many login attempts" in str(caught.value)
    assert (caught.value.trouble, caught.value.kind) == (Trouble.BUSY, Kind.TRANSIENT)


def test_a_relay_on_this_machine_that_asks_for_no_password_gets_none() -> None:
    with ScriptedServer(auth="") as server:
        assert outcome(new_mailer(server.port)) == "sent"
        assert not any(line.startswith("AUTH") for line in server.heard)


@pytest.mark.parametrize("auth", ["", "AUTH XOAUTH2 CRAM-MD5"])
def test_an_encrypted_server_that_offers_no_login_of_ours_is_a_matter_for_a_person(auth: str) -> None:
    with ScriptedServer(security=Security.TLS, auth=auth) as server:
        assert outcome(new_mailer(server.port, Security.TLS)) == "password"


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_mail_goes_out_over_tls(security: Security) -> None:
    with ScriptedServer(security=security) as server:
        assert outcome(new_mailer(server.port, security)) == "sent"
        assert len(server.mails) == 1


@pytest.mark.parametrize("security", [Security.TLS, Security.STARTTLS])
def test_a_certificate_nobody_vouches_for_stops_before_the_login(security: Security) -> None:
    with ScriptedServer(security=security) as server:
        with pytest.raises(AccountError, match="TLS certificate") as caught:
            new_mailer(server.port, security, context=None).check()
        assert not any(line.startswith("AUTH") for line in server.heard)
    assert caught.value.trouble is Trouble.CREDENTIALS


def test_a_connection_reset_before_the_encryption_is_closed_and_nothing_is_said_on_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = Wire.connect("127.0.0.1", listener.getsockname()[1], in_time())
        connection, _ = listener.accept()
        reset(connection)
        assert wait_until(lambda: not wire.is_quiet())
        with pytest.raises(Lost):
            wire.start_tls(client_context(), "127.0.0.1", in_time())
        with pytest.raises(Lost, match="Bad file descriptor"):
            wire.write(b"AUTH", in_time(), "AUTH")


def test_a_server_without_starttls_gets_no_password() -> None:
    with ScriptedServer() as server:
        assert outcome(new_mailer(server.port, Security.STARTTLS)) == "password"
        assert len(server.heard) == 1


def test_what_was_said_in_the_clear_does_not_count_inside_the_encryption() -> None:
    with ScriptedServer("STARTTLS", b"220 go ahead\r\n250 AUTH PLAIN\r\n", Security.STARTTLS) as server:
        assert outcome(new_mailer(server.port, Security.STARTTLS)) == "again"
        assert not any(line.startswith("AUTH") for line in server.heard)


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("smtp.gmail.com", 465, Security.TLS),
        ("smtp.gmail.com", 587, Security.STARTTLS),
        ("smtp.example.com", 25, Security.STARTTLS),
        ("localhost", 1025, Security.PLAIN),
        ("127.0.0.1", 25, Security.PLAIN),
        ("::1", 25, Security.PLAIN),
        ("127.0.0.1", 465, Security.TLS),
        ("127.0.0.1", 587, Security.STARTTLS),
        ("localhost.example.com", 25, Security.STARTTLS),
        ("0.0.0.0", 25, Security.STARTTLS),  # noqa: S104
    ],
)
def test_only_this_machine_is_spoken_to_in_the_clear(host: str, port: int, expected: Security) -> None:
    assert security_for(host, port) is expected


def test_a_password_is_never_meant_for_another_machine_in_the_clear() -> None:
    with pytest.raises(ValueError, match="without encryption"):
        SmtpMailer("smtp.example.com", 25, "ann", PASSWORD, security=Security.PLAIN)


# --- a real server ---------------------------------------------------------------------------------------------------


class Inbox:
    """What a real server accepted."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 OK accepted"


def is_ann(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> AuthResult:
    return AuthResult(success=(login.login, login.password) == (b"ann@example.com", PASSWORD.encode()), handled=False)


@contextmanager
def aiosmtpd_server(security: Security) -> Iterator[tuple[int, Inbox]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options: dict[Security, dict[str, Any]] = {
        Security.PLAIN: {"auth_require_tls": False},
        Security.TLS: {"auth_require_tls": False, "ssl_context": context},
        Security.STARTTLS: {"tls_context": context, "require_starttls": True, "auth_required": True},
    }
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=port, authenticator=is_ann, **options[security])
    controller.start()
    try:
        yield port, inbox
    finally:
        controller.stop()


@pytest.mark.parametrize("security", list(Security))
def test_a_real_server_gets_the_mails_as_they_were_sent(security: Security) -> None:
    message = b"Subject: dots\r\n\r\n.\r\n..two\r\nbye\r\n"
    with aiosmtpd_server(security) as (port, inbox), closing(new_mailer(port, security, command_timeout=5.0)) as mailer:
        mailer.check()
        for _ in range(2):
            assert mailer.send("ann@example.com", "john@example.org", message, in_time()) == "250 2.0.0 OK accepted"
    assert inbox.mails == [("ann@example.com", ["john@example.org"], message)] * 2


def test_a_real_server_refuses_a_wrong_password() -> None:
    with aiosmtpd_server(Security.PLAIN) as (port, inbox):
        mailer = SmtpMailer("127.0.0.1", port, "ann@example.com", "wrong", command_timeout=5.0, answer_timeout=5.0)
        assert outcome(mailer, deadline=15.0) == "password"
    assert inbox.mails == []
