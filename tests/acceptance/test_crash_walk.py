"""A daemon dies once at every point of its work, and nothing is lost and nothing goes out twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from house import House, end, wait_until
from owner import Owner

from email_orchestrator.demo.standins import Answer, SentMessage, refused

ENDS = {
    "approve": "reply_sent",
    "edit": "reply_sent",
    "late": "reply_sent",
    "ignore": "user_ignored",
    "wait": "timeout",
}
WAITED = "SELECT 1 FROM sms_inbox WHERE waits_for IS NOT NULL"
STORY_SECONDS = 90.0
AT_ONCE = 4
SAMPLE = 12
MakeHouse = Callable[..., House]


def set_the_scene(house: House) -> None:
    """Emails for every end there is, and one failure of every kind on the way there."""
    house.generator.script(Answer(500))
    house.gateway.script(refused("no service"))
    house.gateway.script_after(Answer(drop=True))
    house.mail.refuse("rcpt", "451 4.3.0 try later")
    house.mail.refuse("data", "550 5.7.1 no")
    house.mail.cut_after_dot(accepted=True)
    house.mail.cut_after_dot(accepted=False)
    for number, wish in enumerate(("approve", "edit", "ignore", "wait", "late", "approve", "approve"), 1):
        house.email(f"{wish}.{number}@example.com")
    house.email("approve.8@example.com", thread_id="<thread@example.com>")


def outrun_the_gateway(house: House) -> None:
    """Let an answer of the owner's be there before the gateway has said that it took the draft."""
    to_the_phone = house.gateway.sent.on_add

    def on_text(text: SentMessage) -> None:
        to_the_phone(text)
        if "1=Send" in text.message:
            wait_until(lambda: house.sql(WAITED), 1.0)

    house.gateway.sent.on_add = on_text


def wrong_ends(house: House) -> list[str]:
    """Name the emails that did not come to the end the owner wanted for them; one that was overtaken has another."""
    rows = house.sql("SELECT id, email_from, current_state, error_message FROM workflow_state")
    return [
        f"#{number} from {sender} ended as {state} ({reason})"
        for number, sender, state, reason in rows
        if state != ENDS[sender.partition(".")[0]] and not str(reason).startswith("superseded")
    ]


def play(house: House, point: str | None, seen: Path | None = None) -> list[str]:
    """Play the story with a tripwire at a point, start anew after the death there; list what is wrong at the end."""
    set_the_scene(house)
    owner = house.owner()
    outrun_the_gateway(house)
    tripwire = [*(("--at", point) if point else ()), *(("--seen", str(seen)) if seen else ())]
    process = house.start(*tripwire)
    begun = time.monotonic()
    overtaking, died = False, False
    while time.monotonic() - begun < STORY_SECONDS:
        if process.poll() is not None:
            if died or process.returncode != 137:
                return [f"the daemon ended with {process.returncode}"]
            died = True
            process = house.start()
        if not overtaking and house.sql("SELECT id FROM workflow_state WHERE message_id LIKE '<approve.8@%%'"):
            overtaking = True
            house.email("approve.8@example.com", message_id="<second.8@x>", thread_id="<thread@example.com>")
        house.let_time_pass()
        if overtaking and is_over(house, owner):
            break
        time.sleep(0.1)
    code = end(process)
    if not died and code == 137:
        died = True
        house.start_ready()
        end(house.processes[-1])
    elif code != 0:
        return [f"the daemon ended with {code}"]
    if point is not None and not died and not point.endswith("unheard"):
        return ["was never reached"]
    return house.problems() + wrong_ends(house) + owner.surprises


def is_over(house: House, owner: Owner) -> bool:
    return owner.idle and not house.problems() and owner.idle


def record(house: House, folder: Path) -> list[str]:
    """Play the story without a death, and list every point that was passed."""
    seen = folder / "seen"
    problems = play(house, None, seen)
    assert problems == [], "the story has to go well without a crash"
    return list(dict.fromkeys(seen.read_text(encoding="utf-8").splitlines()))


def walk(points: list[str], new_house: MakeHouse) -> dict[str, list[str]]:
    """Play the story once for each point; returns what went wrong, by the point."""

    def one(point: str) -> list[str]:
        with new_house() as house:
            return play(house, point)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = dict(zip(points, pool.map(one, points), strict=True))
    return {point: problems for point, problems in results.items() if problems}


def test_after_a_crash_anywhere_nothing_is_lost_and_nothing_sent_twice(new_house: MakeHouse, tmp_path: Path) -> None:
    points = record(new_house(), tmp_path)
    assert len(points) > 70
    # Where a mistake costs most is always walked; of the rest a different part each day would hide what broke.
    crucial = [point for point in points if "final dot" in point or "_record_sent" in point]
    rest = [point for point in points if point not in crucial]
    sample = crucial + random.Random(8).sample(rest, SAMPLE - len(crucial))  # noqa: S311
    assert walk(sample, new_house) == {}


@pytest.mark.full_walk
def test_after_a_crash_at_any_point_at_all(new_house: MakeHouse, tmp_path: Path) -> None:
    points = record(new_house(), tmp_path)
    print(f"{len(points)} points")
    assert walk(points, new_house) == {}
