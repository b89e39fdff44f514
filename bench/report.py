"""Figures as tables."""

from __future__ import annotations

Results = dict[str, dict[str, float]]


def ratios(results: Results) -> dict[str, float]:
    """Set the daemon against the limits of its machine, so that machines can be compared."""

    def figure(scene: str, name: str) -> float | None:
        return results.get(scene, {}).get(name)

    pairs = {
        "batch to bare loop, AI 0 ms": (
            figure("batch, AI 0 ms", "workflows_per_s"),
            figure("bare loop, AI 0 ms", "workflows_per_s"),
        ),
        "batch to bare loop by requests, AI 0 ms": (
            figure("batch, AI 0 ms", "workflows_per_s"),
            figure("bare loop by requests, AI 0 ms", "workflows_per_s"),
        ),
        "batch to bare loop, AI 200 ms": (
            figure("batch, AI 200 ms", "workflows_per_s"),
            figure("bare loop, AI 200 ms", "workflows_per_s"),
        ),
        "one at a time to bare loop, own ms": (
            figure("one at a time", "own_ms_p50"),
            figure("bare loop, one at a time", "own_ms_p50"),
        ),
        "one at a time to bare loop by requests, own ms": (
            figure("one at a time", "own_ms_p50"),
            figure("bare loop by requests, one at a time", "own_ms_p50"),
        ),
        "batch to commits on 1 connection": (
            figure("batch, AI 0 ms", "workflows_per_s"),
            figure("limits", "commits_per_s_1_connection"),
        ),
        "batch to mails on a kept connection": (
            figure("batch, AI 0 ms", "workflows_per_s"),
            figure("limits", "mails_per_s_kept_connection"),
        ),
    }
    return {name: ours / limit for name, (ours, limit) in pairs.items() if ours and limit}


def show(results: Results) -> str:
    """Lay figures out, a block for each scene."""
    lines = []
    for scene, figures in results.items():
        lines += [scene, *(f"  {name.replace('_', ' '):<44}{_number(value):>12}" for name, value in figures.items())]
    return "\n".join(lines)


def compare(before: Results, after: Results) -> str:
    """Lay two measurements out beside each other, with what the second is of the first."""
    lines = [f"{'':<46}{'before':>12}{'after':>12}{'ratio':>10}"]
    for scene, figures in after.items():
        lines.append(scene)
        for name, value in figures.items():
            old = before.get(scene, {}).get(name)
            ratio = f"{value / old:.2f}" if old else ""
            shown = "" if old is None else _number(old)
            lines.append(f"  {name.replace('_', ' '):<44}{shown:>12}{_number(value):>12}{ratio:>10}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
