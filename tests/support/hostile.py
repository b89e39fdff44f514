"""What hostile clients say to a web server, by the thousand: malformed, malicious, or just too much of it.

Everything comes from a seed, so that what broke can be said again.
"""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from email_orchestrator.core.signature import sign

WEBHOOK = "/orchestrator/sms-response"
PIECES = (
    *(b"GET ", b"POST ", b"/health", WEBHOOK.encode(), b"/workflow/", b"%", b"%00", b"%FF", b"/retry", b"?limit="),
    *(b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"Host: x", b"Content-Length: 7"),
    *(b"Transfer-Encoding: chunked", b"Content-Type: application/json", b"X-Signature: \xff", b"{}", b"5\r\n", b"//"),
    *(b"X-Timestamp: 1700000000", b"Authorization: Bearer ", b"..", b"#", b"[", b"]", b"@", b"http://", b"0\r\n\r\n"),
    *(b"\xe2\x98\x83", b"Expect: 100-continue", b"Content-Length: 99999999999", b"Connection: close", b"\x16\x03\x01"),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "FROB", "get", "G\xcbT", "*")
NAMES = (
    *("1", "0", "-1", "9" * 400, "status", "pending", "failed", "timeout", "retry", "a/b", "<x@y>", "%", "%zz", "\x00"),
    *("' OR 1=1 --", "{{7*7}}", "<script>", "../../etc/passwd", "\U0001f600", "\u202e", "#1", "?", "x" * 5000),
    "\r\nX: y",
)
PATHS: tuple[Callable[[str], str], ...] = (
    lambda name: f"/workflow/{name}",
    lambda name: f"/workflow/{name}/retry",
    lambda name: f"/workflow/timeout/{name}",
    lambda name: f"/workflow/pending?limit={name}",
    lambda name: f"/workflow/status?hours={name}&hours={name}",
    lambda name: f"/metrics/{name}",
    lambda name: f"//{name}",
    lambda name: f"/{name}",
    lambda name: f"http://{name}/health",
    lambda name: WEBHOOK,
)
HEADERS = (
    *(b"Host: localhost", b"Host: [::1", b"Host: a.example", b"Host:", b"Origin: null", b"Connection: keep-alive"),
    *(b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: 1_0", b"Transfer-Encoding: gzip, chunked"),
    *(b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1", b"Authorization: Basic eDp4", b"Upgrade: h2c"),
    *(b"Cookie: " + b"c" * 4000, b"Expect: 100-continue", b"X: " + b"y" * 17_000, b" folded", b"No-Colon"),
    *(b"\xff: \xff", b"X: \x00", b"Content-Type: text/plain", b"Content-Type: application/json; charset=utf-7"),
    b"Content-Encoding: gzip",
)
# Nothing in here is a command that the owner may give.
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 10**30, 1e308, [], {}, [[[]]], "", " ", "\x00", "\ud800", "\U0001f600", "x" * 9000, "0" * 5000),
    *("2024-06-07T11:41:31+07:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "yesterday"),
    "+15551234567",
)
BODIES = (
    *(b"", b"null", b"NaN", b"[" * 50_000, b'{"a":' * 9000, b"\xff\xfe{}", b'{"event":1e999}', b"{} {}"),
    *(b"\xef\xbb\xbf{}", b'{"event":"sms:received","event":"x"}', b'"' + b"x" * 70_000, b'{"event":"\\ud800"}'),
    *(b"{" + b'"a":1,' * 5000 + b'"a":1}', b'{"event":"sms:sent","payload":{"reason":"\\u0000"}}'),
    b'{"event":"sms:received","payload":' + b"9" * 5000 + b"}",
)


class Hostile:
    """Makes hostile requests; with the right key and token, so that some get past the door and do their worst."""

    def __init__(self, seed: int, key: str, token: str) -> None:
        self._chance = random.Random(seed)  # noqa: S311
        self._key = key
        self._token = token

    def say(self) -> bytes:
        """Return what the next client says."""
        chance = self._chance
        kind = chance.choice((self._event, self._event, self._call, self._call, self._jumble, self._framing))
        said = kind()
        if chance.random() < 0.15:
            said = said[: chance.randrange(len(said) + 1)]
        if chance.random() < 0.15:
            said = bytes(byte if chance.random() > 0.01 else chance.randrange(256) for byte in said[:5000])
        return said

    def source(self) -> str:
        """Return the address that the next client comes from: an old acquaintance's, or a new one's."""
        return "127.0.0.1" if self._chance.random() < 0.5 else f"127.{self._chance.randrange(1, 2**23)}"

    def _event(self) -> bytes:
        """An event, its signature right more often than not."""
        body = self._chance.choice(BODIES) if self._chance.random() < 0.4 else self._payload()
        timestamp = str(int(datetime.now(UTC).timestamp()) + self._chance.choice((0, 0, 0, 299, -299, 400, 10**9)))
        signature = sign(body, timestamp, self._key if self._chance.random() < 0.8 else "wrong")
        kind = self._chance.choice(("application/json", "application/json", "text/plain", ""))
        headers = {"Content-Type": kind, "X-Timestamp": timestamp, "X-Signature": signature}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        return head.encode() + body

    def _payload(self) -> bytes:
        payload: dict[str, Any] = {
            "messageId": str(self._chance.random()),
            "message": "hello?",
            "phoneNumber": "+15551234567",
            "simNumber": None,
            "receivedAt": "2024-06-07T11:41:31.000+07:00",
        }
        whole: dict[str, Any] = {"event": "sms:received", "id": "e", "payload": payload}
        for _ in range(self._chance.randrange(3)):
            place = self._chance.choice((payload, payload, whole))
            place[self._chance.choice(list(place) or ["event"])] = self._chance.choice(VALUES)
        return json.dumps(whole).encode()

    def _call(self) -> bytes:
        """A request to the API, with the token more often than not."""
        name = self._chance.choice(NAMES)
        name = quote(name, safe="") if self._chance.random() < 0.7 else name.replace("\r\n", "")
        path = self._chance.choice(PATHS)(name)
        lines = [f"{self._chance.choice(METHODS)} {path} HTTP/1.1".encode()]
        if self._chance.random() < 0.7:
            lines.append(f"Authorization: Bearer {self._token}".encode())
        lines += self._chance.choices(HEADERS, k=self._chance.randrange(4))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _jumble(self) -> bytes:
        return b"".join(self._chance.choices(PIECES, k=self._chance.randrange(1, 25)))

    def _framing(self) -> bytes:
        """A body whose length is told wrongly, or that comes in chunks, or several requests at once."""
        body = self._payload()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[n : n + 7]), body[n : n + 7]) for n in range(0, len(body), 7))
        head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: x\r\n".encode()
        return self._chance.choice(
            (
                head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
                head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks[::-1],
                head + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + chunks + b"0\r\n\r\n",
                head + b"Content-Length: %d\r\n\r\n" % (len(body) + 50) + body,
                head + b"Content-Length: %d\r\n\r\n" % (len(body) // 2) + body,
                b"GET /health HTTP/1.1\r\n\r\n" * self._chance.choice((2, 16, 60)),
                b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
            )
        )


def statuses(port: int, said: bytes, source: str = "127.0.0.1") -> Counter[int]:
    """Say something to the server on a connection of its own, from an address; returns the statuses of its answers.

    0 stands for none.
    """
    heard = b""
    # Whoever goes on talking after a refusal may be cut off.
    here = ("127.0.0.1", port)
    with suppress(ConnectionError), socket.create_connection(here, timeout=15, source_address=(source, 0)) as client:
        client.sendall(said)
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(65536):
            heard += piece
    found = Counter(int(line[9:12]) for line in heard.splitlines() if line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")))
    return found or Counter([0])
