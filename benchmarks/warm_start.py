"""Whether a warm start helps: the best loss of searches with and without one, side by side, as tables in Markdown.

    python benchmarks/warm_start.py
    python benchmarks/warm_start.py --seeds 30

The loss is the sum of the squared distances to ``MINIMUM``. Each seed has an earlier search of 30 trials of its own,
then one search with it and the same without it. Ten seeds take a minute or two; no times are measured.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from _rounds import markdown

from sparktune import Trials, auto, fmin, gp, hp, rand, tpe
from sparktune.exchange import Source, from_trials

MINIMUM = {"a": 1.0, "b": -1.3, "c": 0.5, "d": 0.7}
N_EARLIER, BUDGETS = 30, (5, 20)
ALGOS: dict[str, Any] = {"auto": auto.suggest, "tpe": tpe.suggest}
#: By label, the bound of what is searched: from its negative to itself.
Bounds = Mapping[str, float]

NOTES = """\
Medians of the best loss after {budgets} trials over {seeds} seeds, without and with {n} earlier trials by the same
algorithm."""
IMPOSSIBLE = """\
Medians of the best loss of `gp.suggest` after 15 trials over {seeds} seeds: before a search over [-2, 2] there were {n}
random trials over [-10, 10] for the first of the four parameters."""


def bounds(bound: float, labels: str = "abcd") -> Bounds:
    """One bound for all of these parameters."""
    return dict.fromkeys(labels, bound)


@dataclass(frozen=True)
class Case:
    """An earlier search and the one that learns from it.

    Attributes:
        earlier, now: The bounds of both.
        constants: What parameters were that the earlier search did not have.
        is_told: Whether the later one is told so.
        shift: How far the earlier minimum was from the present one, in each coordinate.
    """

    earlier: Bounds
    now: Bounds
    constants: Mapping[str, float] = field(default_factory=dict)
    is_told: bool = False
    shift: float = 0.0


CASES = {
    "over [-1, 1], now [-3, 3]": Case(bounds(1.0), bounds(3.0)),
    "over [-4, 4], now [-2, 2]": Case(bounds(4.0), bounds(2.0)),
    "without the fourth parameter, which was 1.0": Case(bounds(2.0, "abc"), bounds(2.0), {"d": 1.0}),
    "the same, with `with_values(d=1.0)`": Case(bounds(2.0, "abc"), bounds(2.0), {"d": 1.0}, is_told=True),
    "of a minimum that was elsewhere by 0.3 in each coordinate": Case(bounds(3.0), bounds(3.0), shift=0.3),
}


def search(algo: Any, space: Bounds, n: int, seed: int, warm_start: Source | None = None, **of_loss: Any) -> Trials:
    """The trials of one search; ``of_loss`` goes to :func:`distance`."""
    trials = Trials()
    fmin(
        lambda point: distance(point, **of_loss),
        {label: hp.uniform(label, -bound, bound) for label, bound in space.items()},
        algo,
        n,
        trials=trials,
        rstate=seed,
        warm_start=warm_start,
        show_progressbar=False,
        verbose=False,
    )
    return trials


def distance(point: Mapping[str, float], constants: Mapping[str, float] | None = None, shift: float = 0.0) -> float:
    """The squared distance of a point, completed by ``constants``, to the minimum."""
    whole = {**(constants or {}), **point}
    return sum((whole[label] - x - shift) ** 2 for label, x in MINIMUM.items())


def best_losses(trials: Trials, budgets: Sequence[int]) -> list[float]:
    """The best loss after so many trials of the study's own."""
    losses = [trial["result"]["loss"] for trial in trials.trials if "warm_start" not in trial["misc"]]
    return [min(losses[:budget]) for budget in budgets]


def both(case: Case, algo: Any, seed: int) -> dict[str, list[float]]:
    """The best losses of one search without a warm start, and of the same one with it."""
    found = search(algo, case.earlier, N_EARLIER, seed, constants=case.constants, shift=case.shift)
    earlier = from_trials(found).with_values(**case.constants if case.is_told else {})
    return {
        name: best_losses(search(algo, case.now, max(BUDGETS), seed + 1000, source), BUDGETS)
        for name, source in (("cold", None), ("warm", earlier))
    }


def without_values_out_of(bound: float, source: Source) -> Source:
    """All trials, those with a first value that is now impossible without that value."""
    rows = [
        replace(row, values={label: x for label, x in row.values.items() if label != "a" or abs(x) <= bound})
        for row in source.rows
    ]
    return replace(source, rows=rows)


def ways_with_impossible_values(seed: int) -> dict[str, float]:
    """The best losses of one search, by what becomes of earlier trials with an impossible value."""
    source = from_trials(search(rand.suggest, {**bounds(2.0), "a": 10.0}, N_EARLIER, seed))
    ways = {
        "no warm start": None,
        "only that value left out": without_values_out_of(2.0, source),
        "the trial left out, as `warm_start=` does": source,
    }
    return {
        name: best_losses(search(gp.suggest, bounds(2.0), 15, seed + 1000, way), [15])[0] for name, way in ways.items()
    }


def medians(runs: Sequence[Sequence[float]]) -> str:
    """The medians over the runs, one for each budget."""
    found = map(statistics.median, zip(*runs, strict=True))
    return " / ".join(np.format_float_positional(x, precision=2, fractional=False, trim="-") for x in found)


def progress(text: str, seeds: int, measure: Callable[[int], Any]) -> list[Any]:
    """What was measured for each seed."""
    found = [measure(seed) for seed in range(seeds)]
    print(f"{text}: done", file=sys.stderr, flush=True)
    return found


def cases_section(seeds: int) -> str:
    """Measure all cases with all algorithms."""
    rows = []
    for title, case in CASES.items():
        row = [title]
        for name, algo in ALGOS.items():
            runs = progress(f"{name}, {title}", seeds, partial(both, case, algo))
            row += [medians([run[way] for run in runs]) for way in ("cold", "warm")]
        rows.append(row)
    head = ["earlier search", *(f"`{name}`, {way}" for name in ALGOS for way in ("cold", "warm"))]
    notes = NOTES.format(budgets=" and after ".join(map(str, BUDGETS)), seeds=seeds, n=N_EARLIER)
    return f"{notes}\n\n{markdown(head, rows)}"


def impossible_section(seeds: int) -> str:
    """Measure what becomes of trials with an impossible value."""
    runs = progress("impossible values", seeds, ways_with_impossible_values)
    rows = [[name, medians([[run[name]] for run in runs])] for name in runs[0]]
    return f"{IMPOSSIBLE.format(seeds=seeds, n=N_EARLIER)}\n\n{markdown(['earlier trials', 'best loss'], rows)}"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    logging.getLogger("sparktune").setLevel(logging.ERROR)  # which trials were left out is known here
    print(f"{cases_section(args.seeds)}\n\n{impossible_section(args.seeds)}")


if __name__ == "__main__":
    main()
