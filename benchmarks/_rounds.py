"""What programs do that measure several competitors beside one another: take turns, and say how it came out."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

Measure = Callable[[], float]


def take_turns(competitors: Mapping[str, Measure], rounds: int, fewer: Mapping[str, int]) -> dict[str, list[float]]:
    """What each competitor measured, by round.

    In every other round the order is turned round, so that a machine which gets slower, or faster, favours nobody.

    Args:
        competitors: By name.
        rounds: How many.
        fewer: By name, rounds of those that take part in the first ones only.
    """
    measured: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(rounds):
        names = [name for name in competitors if number < fewer.get(name, rounds)]
        for name in names if number % 2 == 0 else reversed(names):
            measured[name].append(competitors[name]())
            print(f"round {number + 1}: {name}: {measured[name][-1]:.4g}", file=sys.stderr, flush=True)
    return measured


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """By round, of those that both have been in: each has an idle, or a busy, machine of its own."""
    return [value / other for value, other in zip(values, others, strict=False)]


def spread(values: Sequence[float]) -> str:
    """The median, and in brackets the lowest and the highest."""
    if not values:
        return "–"
    median = short(statistics.median(values))
    return f"{median} ({short(min(values))} to {short(max(values))})" if len(values) > 1 else median


def short(value: float) -> str:
    """Three digits, or all those before the point."""
    n_decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{n_decimals}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column has the names of the rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
