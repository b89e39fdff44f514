"""What Sent Mail's server may answer, and that only a clear answer counts."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from email_orchestrator.clients.network import is_loopback
from email_orchestrator.clients.sent_mail import SentMail
from email_orchestrator.errors import Kind, ServiceError

PASSWORD = 'pa"ss\\word'
MESSAGE_ID = "<eo.7.1@example.com>"


def literal(before: str, text: str, after: str = "") -> str:
    """A line in which a text stands as IMAP's literal: its length in braces, then itself."""
    return f"{before}{{{len(text)}}}\r\n{text}{after}"


def fetched(header: str) -> list[str]:
    return [literal("* 1 FETCH (UID 7 BODY[HEADER.FIELDS (MESSAGE-ID)] ", f"{header}\r\n\r\n", ")")]


USUAL = {
    "LIST": ['* LIST (\\HasNoChildren) "/" "INBOX"', '* LIST (\\HasNoChildren \\Sent) "/" "[Gmail]/Gesendet"'],
    "EXAMINE": ["* 3 EXISTS"],
    "SEARCH": ["* SEARCH 4 7"],
    "FETCH": fetched(f"Message-ID: {MESSAGE_ID}"),
}


class ScriptedImap:
    """An IMAP server on loopback that answers each command with the lines given for it, and then OK.

    Lines for a command replace the usual ones; a line that begins with `!` replaces the OK; `HANG` and `CLOSE` end the
    conversation. `heard` holds the commands without their tags.
    """

    def __init__(self, greeting: str = "* OK ready", **answers: list[str]) -> None:
        self.greeting = greeting
        self.answers = USUAL | answers
        self.heard: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> ScriptedImap:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                connection.sendall(self.greeting.encode() + b"\r\n")
                while line := lines.readline():
                    tag, _, command = line.decode("ascii").rstrip("\r\n").partition(" ")
                    self.heard.append(command)
                    if not self._answer(connection, tag, command.split()):
                        return

    def _answer(self, connection: socket.socket, tag: str, words: list[str]) -> bool:
        """Answer a command; False when the conversation is over."""
        verb = words[1] if words[0] == "UID" else words[0]
        lines = self.answers.get(verb, ["* CAPABILITY IMAP4rev1"] if verb == "CAPABILITY" else [])
        ending = "OK done"
        for line in lines:
            if line == "CLOSE":
                return False
            if line == "HANG":
                connection.recv(1000)  # until the client gives up
                return False
            if line.startswith("!"):
                ending = line[1:]
            else:
                connection.sendall(line.encode() + b"\r\n")
        connection.sendall(f"{tag} {ending}\r\n".encode())
        return True


def look(server: ScriptedImap, timeout: float = 5.0) -> SentMail:
    return SentMail("127.0.0.1", server.port, "ann@example.com", PASSWORD, timeout=timeout)


def test_a_message_is_found_by_its_id_in_a_mailbox_opened_for_reading_only() -> None:
    with ScriptedImap() as server:
        assert look(server).was_sent(MESSAGE_ID) is True
    assert server.heard[1:] == [
        'LOGIN "ann@example.com" "pa\\"ss\\\\word"',
        'LIST "" *',
        'EXAMINE "[Gmail]/Gesendet"',
        f'UID SEARCH HEADER Message-ID "{MESSAGE_ID}"',
        "UID FETCH 4,7 (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])",
        "LOGOUT",
    ]


@pytest.mark.parametrize(
    ("search", "fetch", "found"),
    [
        (["* SEARCH"], [], False),
        (["* SEARCH 7"], [], False),
        (["* SEARCH 7"], ["* 1 FETCH (UID 7)"], False),
        (["* SEARCH 7"], fetched("Message-ID: <other@example.com>"), False),
        (["* SEARCH 7"], fetched(f"Message-ID: {MESSAGE_ID[:-1]}.au>"), False),
        (["* SEARCH 7"], fetched(f"Message-Id:\r\n {MESSAGE_ID}"), True),
    ],
)
def test_only_exactly_the_same_id_counts(search: list[str], fetch: list[str], found: bool) -> None:
    with ScriptedImap(SEARCH=search, FETCH=fetch) as server:
        assert look(server).was_sent(MESSAGE_ID) is found


@pytest.mark.parametrize(
    "answers",
    [
        {"greeting": "* BYE too many connections"},
        {"greeting": "What a lovely day"},
        {"CAPABILITY": ["* CAPABILITY POP3"]},
        {"LOGIN": ["!NO [AUTHENTICATIONFAILED] Invalid credentials"]},
        {"LOGIN": ["CLOSE"]},
        {"LOGIN": ["HANG"]},
        {"LIST": ["!NO not now"]},
        {"LIST": []},
        {"LIST": ["* LIST (\\Noselect \\Sent) NIL Sent"]},
        {"LIST": ['* LIST (\\HasNoChildren) "/" "Sent\\"']},
        {"LIST": [literal('* LIST (\\Sent) "/" ', "a\r\nb")]},
        {"LIST": ["nonsense"]},
        {"EXAMINE": ["!NO [NONEXISTENT] no such mailbox"]},
        {"EXAMINE": ["!BAD what?"]},
        {"EXAMINE": ["CLOSE"]},
        {"SEARCH": []},
        {"SEARCH": ["* SEARCH seven"]},
        {"SEARCH": ["!NO [UNAVAILABLE] index is being rebuilt"]},
        {"SEARCH": ["!BAD what?"]},
        {"SEARCH": ["HANG"]},
        {"SEARCH": ["CLOSE"]},
        {"SEARCH": ["* SEARCH 7", "CLOSE"]},
        {"FETCH": ["!NO gone"]},
        {"FETCH": ["* 1 FETCH (BODY[X] {34}", "CLOSE"]},
        {"FETCH": ["HANG"]},
    ],
)
def test_whatever_is_no_clear_answer_is_no_answer(answers: dict[str, list[str]]) -> None:
    with ScriptedImap(**answers) as server:  # type: ignore[arg-type]
        started = time.monotonic()
        with pytest.raises(ServiceError) as caught:
            look(server, timeout=0.3).was_sent(MESSAGE_ID)
    assert caught.value.kind is Kind.TRANSIENT
    assert "ss\\word" not in str(caught.value)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (['* LIST (\\Sent) "/" "[Gmail]/Messages envoy&AOk-s"'], "[Gmail]/Messages envoyés"),
        (['* LIST () "/" Sent', '* LIST (\\sent \\HasNoChildren) "." "Sent &- gone"'], "Sent & gone"),
        (["* LIST (\\Sent) NIL Gesendet"], "Gesendet"),
        (['* LIST (\\Sent) "\\\\" "a \\"b\\" \\\\ c"'], 'a "b" \\ c'),
        ([literal('* LIST (\\Sent) "/" ', "Sent \\one")], "Sent \\one"),
        (['* LIST () "/" "Sent"', '* LIST () "/" "[Gmail]/Sent Mail"'], "[Gmail]/Sent Mail"),
        (['* LIST () "/" "INBOX"', '* LIST () "/" Sent'], "Sent"),
        (['* LIST (\\Sentinel) "/" "Guards"', '* LIST () "/" "Sent"'], "Sent"),
    ],
)
def test_the_sent_mailbox_is_known_by_its_mark_or_else_by_a_usual_name(lines: list[str], name: str) -> None:
    with ScriptedImap(LIST=lines) as server:
        assert look(server).check() == name


@pytest.mark.parametrize(
    "message_id", ["", "<>", "eo.7@example.com", "<a b@x>", '<a@x>" OR ALL "', "<a@x>\r\nA1 DELETE x", "<a@x> <b@x>"]
)
def test_a_search_for_anything_but_one_id_is_not_made(message_id: str) -> None:
    with ScriptedImap() as server:
        with pytest.raises(ServiceError, match="no proper Message-ID"):
            look(server).was_sent(message_id)
        assert server.heard == []


def test_an_id_with_quotes_stays_inside_its_quotes() -> None:
    with ScriptedImap(SEARCH=["* SEARCH"]) as server:
        assert look(server).was_sent('<a"b\\c@x>') is False
    assert 'UID SEARCH HEADER Message-ID "<a\\"b\\\\c@x>"' in server.heard


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServiceError, match="could not be asked") as caught:
        SentMail("127.0.0.1", port, "ann@example.com", PASSWORD).was_sent(MESSAGE_ID)
    assert caught.value.kind is Kind.TRANSIENT


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104
        ("192.0.2.1", False),
        ("imap.gmail.com", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
