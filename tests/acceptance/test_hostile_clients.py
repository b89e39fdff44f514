"""Thousands of hostile requests to the real daemon, which answers each, remembers none and does nothing they want."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from hostile import WEBHOOK, Hostile, statuses
from house import House, wait_until

MakeHouse = Callable[..., House]

# More for a long night: HOSTILE_REQUESTS=200000 pytest -s tests/acceptance/test_hostile_clients.py
COUNT = int(os.environ.get("HOSTILE_REQUESTS", "3000"))
AT_ONCE = 4
KEY, TOKEN = "a signing key of more than thirty-two characters", "a-token-of-the-api"
# The database is there, so that there is no reason even for 503; 0 is a request that was never completed.
FORESEEN = {0, 100, 200, 400, 401, 403, 404, 405, 409, 413, 415, 429, 431}
ROOM = 8 << 20  # bytes that memory may grow by


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def attack(port: int, seed: int, count: int) -> Counter[int]:
    hostile = Hostile(seed, KEY, TOKEN)
    return sum((statuses(port, hostile.say(), hostile.source()) for _ in range(count)), Counter())


def test_thousands_of_hostile_requests_get_a_refusal_each_and_change_nothing(new_house: MakeHouse) -> None:
    house = new_house(SMS_WEBHOOK_SIGNING_KEY=KEY, API_TOKEN=TOKEN)
    process = house.start_ready(plain=True)
    house.email("wait.1@example.com")
    assert wait_until(lambda: house.sql("SELECT id FROM workflow_state WHERE current_state = 'awaiting_user'"))
    seen: Counter[int] = Counter()
    sizes = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for part in range(4):
            seeds = range(part * AT_ONCE, (part + 1) * AT_ONCE)
            shares = pool.map(lambda seed: attack(house.port, seed, COUNT // 4 // AT_ONCE), seeds)
            seen += sum(shares, Counter())
            sizes.append(memory(process.pid))
    print(f"{seen.total()} answers: {dict(sorted(seen.items()))}, memory {[size >> 10 for size in sizes]} KiB")
    assert set(seen) <= FORESEEN
    assert {200, 400, 401, 404, 405, 413, 415, 429, 431} <= set(seen)
    assert sizes[-1] - sizes[0] < ROOM
    assert process.poll() is None
    assert house.log_lines("Traceback") + house.log_lines(" ERROR ") + house.log_lines("stumbled") == []
    assert house.health()[1]["status"] == "healthy"
    assert requests.post(f"{house.url}{WEBHOOK}", json={}, timeout=5).status_code == 429
    # Whoever has the token may close a draft.
    assert house.sql("SELECT current_state FROM workflow_state") in ([("awaiting_user",)], [("timeout",)])
    assert house.replies() == []
