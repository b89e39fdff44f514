"""The command `python -m bench`: measure, print, save, compare."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from . import bare, limits, scenes, standing
from .house import House, open_house
from .report import compare, ratios, show

Results = dict[str, dict[str, float]]


def main() -> int:
    """Run the bench; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, metavar="N", help="workflows in the batch (default 10000)")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: for a first look")
    parser.add_argument("--only", metavar="SCENE", action="append", help="only these scenes, by the names in the table")
    parser.add_argument("--workers", type=int, default=16, help="WORKERS of the daemon (default 16)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print beside the figures kept in FILE")
    parser.add_argument("--place", type=Path, metavar="DIR", help="a folder on the disk to measure on")
    chosen = parser.parse_args()
    with open_house(chosen.place) as house:
        results = _measure(house, 1000 if chosen.quick else chosen.n, chosen.quick, chosen.workers, chosen.only)
    results["ratios"] = ratios(results)
    if chosen.save:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "n": chosen.n}
        chosen.save.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    if chosen.json:
        print(json.dumps(results, indent=2))
    elif chosen.compare:
        print(compare(json.loads(chosen.compare.read_text())["results"], results))
    else:
        print(show(results))
    return 0


def _measure(house: House, count: int, quick: bool, workers: int, only: list[str] | None) -> Results:
    seconds = 1.0 if quick else 3.0
    some = 15 if quick else 60
    fewer = max(200, count // 5)
    results: Results = {}
    plan: dict[str, Callable[[], dict[str, float]]] = {
        "limits": lambda: {
            "commits_per_s_1_connection": limits.commit_rate(house, 1, seconds),
            "commits_per_s_8_connections": limits.commit_rate(house, 8, seconds),
            "mails_per_s_fresh_connection": limits.mail_rate(house, seconds, kept=False),
            "mails_per_s_kept_connection": limits.mail_rate(house, seconds, kept=True),
        },
        "bare loop, AI 0 ms": lambda: bare.batch(house, fewer, 0, workers),
        "bare loop by requests, AI 0 ms": lambda: bare.batch(house, fewer, 0, workers, by_requests=True),
        "batch, AI 0 ms": lambda: scenes.batch(house, count, 0, workers),
        "bare loop, AI 200 ms": lambda: bare.batch(house, fewer // 2, 0.2, workers),
        "batch, AI 200 ms": lambda: scenes.batch(house, fewer // 2, 0.2, workers),
        "bare loop, one at a time": lambda: bare.alone(house, some),
        "bare loop by requests, one at a time": lambda: bare.alone(house, some, by_requests=True),
        "one at a time": lambda: scenes.alone(house, some),
        "answers under load": lambda: scenes.answers_under_load(house, some, workers),
        "1, 2 and 4 daemons": lambda: scenes.several(house, fewer, workers),
        "2,000 waiting": lambda: standing.waiting(house, 2000),
        "100,000 finished": lambda: standing.history(house, 100_000, some),
        "commands": lambda: standing.commands(house, 5 if quick else 11),
    }
    if unknown := set(only or ()) - set(plan):
        raise SystemExit(f"There is no scene {', '.join(sorted(unknown))}. There are: {'; '.join(plan)}.")
    for name, scene in plan.items():
        if only is None or name in only:
            print(f"{name} ...", end="", file=sys.stderr, flush=True)
            results[name] = scene()
            print(" done", file=sys.stderr)
    return results


if __name__ == "__main__":
    sys.exit(main())
