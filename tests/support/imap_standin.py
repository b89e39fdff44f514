"""A stand-in for Gmail's IMAP server: its Sent Mail holds what the SMTP stand-in accepted."""

from __future__ import annotations

import io
import re
import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from email_orchestrator.demo.standins import MailStandIn

MESSAGE_ID = re.compile(rb"^Message-ID:\s*(<[^>]+>)", re.IGNORECASE | re.MULTILINE)


class SentMailStandIn:
    """Speaks as much IMAP (RFC 3501) as it takes to look for a Message-ID; `searches` lists those looked for."""

    def __init__(self, mail: MailStandIn) -> None:
        self._mail = mail
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.searches: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rwb") as stream:
            self._say(stream, b"* OK stand-in")
            while line := stream.readline():
                tag, _, command = line.rstrip(b"\r\n").partition(b" ")
                words = command.split(b" ", 2)
                verb = (words[1] if words[0].upper() == b"UID" else words[0]).upper()
                for answer in self._answers(verb, command):
                    self._say(stream, answer)
                self._say(stream, tag + b" OK done")
                if verb == b"LOGOUT":
                    return

    def _answers(self, verb: bytes, command: bytes) -> list[bytes]:
        match verb:
            case b"CAPABILITY":
                return [b"* CAPABILITY IMAP4rev1"]
            case b"LIST":
                return [b'* LIST (\\HasNoChildren) "/" INBOX', b'* LIST (\\Sent) "/" "[Gmail]/Sent Mail"']
            case b"EXAMINE":
                return [f"* {len(self._mail.mails)} EXISTS".encode()]
            case b"SEARCH":
                wanted = command.rpartition(b' "')[2].rstrip(b'"')
                self.searches.append(wanted.decode())
                found = [number for number, message_id in enumerate(self._ids(), 1) if message_id == wanted]
                return [b"* SEARCH" + b"".join(f" {number}".encode() for number in found)]
            case b"FETCH":
                ids = self._ids()
                numbers = [int(number) for number in command.split(b" ")[2].split(b",")]
                return [_fetched(number, ids[number - 1]) for number in numbers]
        return [b"* BYE"] if verb == b"LOGOUT" else []

    def _ids(self) -> list[bytes]:
        found = (MESSAGE_ID.search(mail.content) for mail in list(self._mail.mails))
        return [match[1] if match else b"" for match in found]

    def _say(self, stream: io.BufferedRWPair, line: bytes) -> None:
        stream.write(line + b"\r\n")
        stream.flush()


def _fetched(number: int, message_id: bytes) -> bytes:
    header = b"Message-ID: " + message_id + b"\r\n\r\n"
    head = f"* {number} FETCH (UID {number} BODY[HEADER.FIELDS (MESSAGE-ID)] {{{len(header)}}}\r\n"
    return head.encode() + header + b")"
