"""What the machine itself can do, measured in the same run: commits and mails."""

from __future__ import annotations

import smtplib
import socket
import threading
import time
from contextlib import closing

import psycopg2

from .house import House
from .outside import ADDRESS, PASSWORD

MAIL = (
    f"From: {ADDRESS}\r\nTo: john@example.com\r\nSubject: Re: Question\r\nMessage-ID: <%d@example.com>\r\n\r\n"
    "Hello, yes, that suits me. I will be there.\r\n"
)


def commit_rate(house: House, connections: int, seconds: float) -> float:
    """Count the commits a second of so many connections, each with one small row in it."""
    house.sql("CREATE TABLE IF NOT EXISTS bench_commit (id bigserial PRIMARY KEY, note text)")
    done = [0] * connections
    end = time.monotonic() + seconds

    def commit(place: int) -> None:
        with closing(psycopg2.connect(house.dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            while time.monotonic() < end:
                cursor.execute(
                    "INSERT INTO bench_commit (note) VALUES ('a row of about a hundred bytes with its head')"
                )
                done[place] += 1

    threads = [threading.Thread(target=commit, args=(place,)) for place in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    house.sql("DROP TABLE bench_commit")
    return sum(done) / seconds


def mail_rate(house: House, seconds: float, kept: bool) -> float:
    """Count the mails a second that are accepted one after the other, over one connection or each over a fresh one."""
    places = house.world("places")
    count = 0
    end = time.monotonic() + seconds
    connection: smtplib.SMTP | None = None
    while time.monotonic() < end:
        if connection is None:
            connection = smtplib.SMTP(places["GMAIL_SMTP_SERVER"], int(places["GMAIL_SMTP_PORT"]))
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # type: ignore[union-attr]
            connection.login(ADDRESS, PASSWORD)
        connection.sendmail(ADDRESS, ["john@example.com"], MAIL % count)
        count += 1
        if not kept:
            connection.quit()
            connection = None
    if connection is not None:
        connection.quit()
    return count / seconds
