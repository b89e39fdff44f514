"""The machine's clock is set while the daemon works, and everything comes to its end all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from house import House, end, wait_until

# Lets a process believe another time of day, which a file tells (Debian: faketime); the steady clock stays as it is.
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian: faketime)")
@pytest.mark.parametrize("step", ["-3600", "+3600", "-86400", "+864000"])
def test_a_clock_that_is_set_loses_nothing_and_doubles_nothing(
    new_house: Callable[..., House], tmp_path: Path, step: str
) -> None:
    told = tmp_path / "time"
    told.write_text("+0\n")
    house = new_house(
        LD_PRELOAD=str(LIBRARY),
        FAKETIME_TIMESTAMP_FILE=str(told),
        FAKETIME_NO_CACHE="1",
        DONT_FAKE_MONOTONIC="1",
    )
    owner = house.owner()
    process = house.start_ready()
    house.email("approve.1@example.com")
    house.email("wait.2@example.com")
    assert wait_until(lambda: house.replies(), 15)
    told.write_text(f"{step}\n")
    for wish, number in (("approve", 3), ("edit", 4), ("ignore", 5)):
        house.email(f"{wish}.{number}@example.com")
    # By the database's clock nothing has waited for long, so nobody is reminded and nothing times out.
    ends = {1: "reply_sent", 2: "awaiting_user", 3: "reply_sent", 4: "reply_sent", 5: "user_ignored"}
    reached = wait_until(lambda: dict(house.sql("SELECT id, current_state FROM workflow_state")) == ends, 20)
    assert reached, house.sql("SELECT id, current_state, error_message FROM workflow_state ORDER BY id")

    def over() -> bool:
        house.let_time_pass()
        return not house.problems()

    assert wait_until(over, 15), house.problems()
    assert owner.surprises == []
    assert wait_until(lambda: house.health()[1]["status"] == "healthy", 5), house.health()
    assert end(process) == 0
