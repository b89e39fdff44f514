"""A shell on the same database as a daemon at work: both may act, and no reply goes out twice."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from house import House, wait_until

MakeHouse = Callable[..., House]
WAITING = "SELECT count(*) FROM workflow_state WHERE current_state = 'awaiting_user'"
SENT = "SELECT count(*) FROM workflow_state WHERE current_state = 'reply_sent'"


def test_what_a_shell_and_the_phone_approve_at_once_goes_out_once(new_house: MakeHouse) -> None:
    house = new_house(LEASE_SECONDS="120")
    house.start_ready(plain=True)
    for number in range(1, 11):
        house.email(f"approve.{number}@example.com")
    assert wait_until(lambda: house.sql(WAITING) == [(10,)], 20)
    numbers = [str(number) for number in range(1, 11)]

    def answer() -> None:
        for number in reversed(numbers):
            house.gateway.text_from_owner(f"1 #{number}")

    phone = threading.Thread(target=answer)
    phone.start()
    done = house.command("approve", *numbers)
    phone.join()
    # Each is either sent here or was approved by the phone before, and is told so.
    told = {int(number) for number in re.findall(r"#(\d+)", done.stdout + done.stderr)}
    assert told == set(range(1, 11))
    assert done.returncode in (0, 4, 75)
    assert wait_until(lambda: house.sql(SENT) == [(10,)], 20)
    recipients = [reply.recipient for reply in house.replies()]
    assert sorted(recipients) == sorted(f"approve.{number}@example.com" for number in numbers)


def test_a_shell_sees_and_changes_what_the_daemon_has_in_hand(new_house: MakeHouse) -> None:
    house = new_house(SEND_DELAY="600", LEASE_SECONDS="120")
    house.start_ready(plain=True)
    house.email("approve.1@example.com")
    assert wait_until(lambda: house.sql(WAITING) == [(1,)], 20)
    house.gateway.text_from_owner("1")
    assert wait_until(lambda: "user_approved" in house.command("list").stdout, 20, every=0.2)
    assert house.command("undo", "1").stdout == "#1 was not sent and waits for the owner again.\n"
    assert house.command("edit", "1", "shorter").returncode == 0
    assert wait_until(lambda: "In short: yes." in house.command("show", "1").stdout, 20, every=0.2)
    assert wait_until(lambda: house.sql(WAITING) == [(1,)], 20)
    assert house.command("approve", "1").stdout == "Sent to approve.1@example.com (#1).\n"
    assert len(house.replies()) == 1
