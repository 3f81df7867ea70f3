"""What it costs to have a trial evaluated on Spark, beside the least that Spark itself can do and beside hyperopt.

    python benchmarks/dispatch.py                            # all tables, three quarters of an hour on two cores
    python benchmarks/dispatch.py --only jobs workers
    python benchmarks/dispatch.py --quick                    # to see that it runs; its figures say little

Competitors take turns, several rounds, on one session; ratios are formed round by round. Each table has a process of
its own. Start-up of Spark and of its Python workers is not counted, that of a run (pickling, preflight, workers) is.
hyperopt and Spark Connect are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _peers import hyperopt_or_none, run_fmin
from _rounds import markdown, ratios, spread, take_turns
from _spark import bare_arrow_jobs, bare_jobs, classic_session, connect_session, has_connect, n_jobs, rate, run_executor

import sparktune


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds, peer_rounds: Turns of each competitor, and of hyperopt, which is much slower.
        trials, peer_trials: In a turn, costless ones.
        small_trials: The same, in long-lived workers.
        at_a_time: Trials at a time, on a master of two cores.
        sleeps: Trials of a second.
        in_flight: At a time, of those.
        megabytes: Captured by an objective.
        data_trials, peer_data_trials: In a turn, of such objectives.
    """

    rounds: int = 5
    peer_rounds: int = 2
    trials: int = 200
    peer_trials: int = 20
    small_trials: int = 5_000
    at_a_time: tuple[int, ...] = (2, 4, 8)
    sleeps: int = 96
    in_flight: int = 32
    megabytes: int = 100
    data_trials: int = 30
    peer_data_trials: int = 8


FULL = Size()
QUICK = Size(2, 1, 40, 4, 500, (2, 8), 16, 8, 20, 8, 3)

NO_HYPEROPT = "hyperopt is not installed here, and left out."
NO_CONNECT = "Not measured: Spark Connect's packages (`pip install 'sparktune[connect]'`) are not installed here."

BARE_JOB = """\
The objective costs nothing. A bare job is the least that Spark can do for a trial, from as many threads:
`sc.parallelize([0], 1).mapPartitions(f).collect()`. "executor" is the engine with nothing around it, "fmin" a whole
search with `tpe.suggest`, its start and end included."""

BARE_ARROW_JOB = """\
A bare job here: `session.range(0, 1, 1, 1).mapInArrow(f, schema).toArrow()`, with frame and schema made once."""

DATA_COLUMNS = """\
"sent" is what was pickled and sent for all trials of one `fmin`; hyperopt pickles the objective for each. "until the
first result" counts from the call of `fmin`, so that pickling, sending and the preflight are in it. The next two
columns are medians from the start of a trial to its result: of those that were the first in the process of the
objective, which has to load the data, and of the others. A second `fmin` finds broadcast data already sent."""


# -- objectives: only what is in the main program travels by value ----------------------------------------------------


def parabola(x: float) -> float:
    """A loss that costs nothing."""
    return (x - 1.0) ** 2


def sleep_a_second(x: float) -> float:
    """A loss that costs a second and no processor."""
    time.sleep(1.0)
    return (x - 1.0) ** 2


# -- jobs and connect: beside bare jobs -------------------------------------------------------------------------------


def jobs_table(size: Size, hyperopt: Any) -> str:
    """Trials per second as Spark jobs."""
    with classic_session("local[2]") as session:
        text = beside_bare_jobs(session, "jobs", bare_jobs, size, hyperopt)
    notes = [BARE_JOB, *([] if hyperopt else [NO_HYPEROPT])]
    return "\n\n".join(["### Trials per second as Spark jobs, `local[2]`", text, *notes]) + "\n"


def connect_table(size: Size, hyperopt: Any) -> str:
    """Trials per second on Spark Connect, where hyperopt has nothing."""
    title = "### Trials per second on Spark Connect, server on `local[2]`"
    if not has_connect():
        return f"{title}\n\n{NO_CONNECT}\n"
    with connect_session("local[2]") as session:
        return f"{title}\n\n{beside_bare_jobs(session, 'connect', bare_arrow_jobs, size, None)}\n\n{BARE_ARROW_JOB}\n"


def beside_bare_jobs(session: Any, engine: str, bare: Callable[[Any, int, int], None], size: Size, peer: Any) -> str:
    """The rates of an engine, alone and under ``fmin``, of bare jobs and of a peer; ratios below."""
    n = size.trials

    def warm_up(p: int) -> None:  # Python workers, and what they load; a peer leaves none behind
        bare(session, 4 * p, p)
        run_executor(session, engine, parabola, 4 * p, p)

    def measure_peer(p: int) -> float:
        reached = rate(size.peer_trials, run_fmin, peer, session, parabola, "tpe", size.peer_trials, p)
        warm_up(p)
        return reached

    def competitors(p: int) -> dict[str, Callable[[], float]]:
        ours = functools.partial(run_fmin, sparktune, session, parabola, "tpe", n, p, engine=engine)
        found: dict[str, Callable[[], float]] = {
            "bare jobs": lambda: rate(n, bare, session, n, p),
            "executor": lambda: rate(n, run_executor, session, engine, parabola, n, p),
            "fmin": lambda: rate(n, ours),
        }
        if peer is not None:
            found[f"hyperopt {peer.__version__}"] = lambda: measure_peer(p)
        return found

    rates: dict[int, dict[str, list[float]]] = {}
    for p in size.at_a_time:
        warm_up(p)
        found = competitors(p)
        rates[p] = take_turns(found, size.rounds, {name: size.peer_rounds for name in found if "hyperopt" in name})
    return columns(rates, [(a, b) for a in ("executor", "fmin") for b in rates[p] if b not in ("executor", "fmin")])


def columns(measured: Mapping[int, Mapping[str, list[float]]], pairs: Iterable[tuple[str, str]]) -> str:
    """A table with a column per number at a time, a row per competitor, and one per ratio."""
    names = list(next(iter(measured.values())))
    rows = [[name, *(spread(column[name]) for column in measured.values())] for name in names]
    rows += [[f"{a} / {b}", *(spread(ratios(c[a], c[b])) for c in measured.values())] for a, b in pairs]
    return markdown(["", *(f"{p} at a time" for p in measured)], rows)


# -- workers: beside jobs ---------------------------------------------------------------------------------------------


def workers_table(size: Size, hyperopt: Any) -> str:
    """Trials per second in long-lived workers."""
    p, n = 2, {"jobs": size.trials, "workers": size.small_trials}

    def by_executor(n_submitted: int) -> Callable[[Any, str], float]:
        return lambda session, engine: rate(
            n[engine], run_executor, session, engine, parabola, n[engine], p, n_submitted
        )

    def by_fmin(session: Any, engine: str) -> float:
        run = functools.partial(run_fmin, sparktune, session, parabola, "rand", n[engine], p, engine=engine)
        return rate(n[engine], run)

    ways = {
        f"executor, {p} submitted at a time": by_executor(p),
        f"executor, {16 * p} submitted at a time": by_executor(16 * p),
        "`fmin` with `rand.suggest`": by_fmin,
    }
    with classic_session("local[2]") as session:
        run_executor(session, "jobs", parabola, 8, p)
        n_before = n_jobs(session)
        run_executor(session, "workers", parabola, 200, p)
        n_spent = n_jobs(session) - n_before - 1
        competitors = {
            f"{way}, {engine}": functools.partial(measure, session, engine)
            for way, measure in ways.items()
            for engine in ("jobs", "workers")
        }
        rates = take_turns(competitors, size.rounds, {})
    rows = []
    for way in ways:
        jobs, workers = rates[f"{way}, jobs"], rates[f"{way}, workers"]
        rows.append([way, spread(jobs), spread(workers), spread(ratios(workers, jobs))])
    return (
        f"### Trials per second in long-lived workers, `local[2]`, {p} workers\n\n"
        + markdown(["", 'engine="jobs"', 'engine="workers"', "ratio"], rows)
        + "\n\nStart and end of the run included. In all, 200 trials in workers took "
        f"{n_spent} Spark jobs, the preflight's among them.\n"
    )


# -- many in flight ---------------------------------------------------------------------------------------------------


def in_flight_table(size: Size, hyperopt: Any) -> str:
    """How long trials of a second take, many at a time."""
    n, p = size.sleeps, size.in_flight
    ideal = float(-(-n // p))

    def measure(library: Any, **options: Any) -> float:
        start = time.perf_counter()
        run_fmin(library, session, sleep_a_second, "rand", n, p, **options)
        return time.perf_counter() - start

    def warm_up() -> None:  # a Python worker for each slot, with all it needs; a peer leaves none behind
        run_fmin(sparktune, session, sleep_a_second, "rand", 2 * p, p, engine="jobs")

    def measure_peer() -> float:
        seconds = measure(hyperopt)
        warm_up()
        return seconds

    with classic_session(f"local[{p}]") as session:
        competitors: dict[str, Callable[[], float]] = {
            'sparktune, engine="jobs"': lambda: measure(sparktune, engine="jobs"),
            'sparktune, engine="workers"': lambda: measure(sparktune, engine="workers"),
        }
        if hyperopt is not None:
            competitors[f"hyperopt {hyperopt.__version__}"] = measure_peer
        warm_up()
        peer_rounds = {name: size.peer_rounds for name in competitors if "hyperopt" in name}
        seconds = take_turns(competitors, size.rounds, peer_rounds)
    rows = [[name, spread(s), spread(ratios(s, [ideal] * len(s)))] for name, s in seconds.items()]
    return (
        f"### {n} trials of `time.sleep(1)`, {p} at a time, `local[{p}]`\n\n"
        + markdown(["", "whole `fmin`, s", f"/ ideal ({ideal:g} s)"], rows)
        + "\n"
        + ("" if hyperopt else f"\n{NO_HYPEROPT}\n")
    )


# -- captured data ----------------------------------------------------------------------------------------------------

DATA_HEAD = ["", "trials", "sent, MB", "processes", "until the first result, s", "first of a process, s", "later, s"]


@dataclass(frozen=True)
class Costs:
    """What the trials of one ``fmin`` took, in seconds; from booking to result, but for the first one.

    Attributes:
        first_result: From the call of ``fmin``: pickling, sending and the preflight are in it.
        first: Medians of the trials that were the first of the run in their process, and
        later: of the others; NaN if there were none.
        n_processes: In which objectives ran.
    """

    first_result: float
    first: float
    later: float
    n_processes: int


def make_objective(data: Any, name: str) -> Any:
    """An objective that uses the last byte of an array, or of the ``value`` of a handle on one.

    Args:
        data: An array or a handle.
        name: Of the run: the objective reports whether it is the first of it in its process.
    """

    def objective(x: float) -> dict[str, Any]:
        import os
        import sys
        import types

        seen = sys.modules.setdefault("_benchmark_seen", types.ModuleType("_benchmark_seen")).__dict__
        is_first = name not in seen
        seen[name] = True
        last = float(getattr(data, "value", data)[-1])
        return {"loss": (x - 1.0) ** 2 + 0.0 * last, "status": "ok", "is_first": is_first, "pid": os.getpid()}

    return objective


def costs(library: Any, session: Any, objective: Any, n: int, **options: Any) -> Costs:
    """What n trials cost, two at a time."""
    start = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    documents = run_fmin(library, session, objective, "rand", n, 2, **options)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for document in documents:
        took = document["refresh_time"] - document["book_time"]
        seconds[document["result"]["is_first"]].append(took.total_seconds())
    first, later = (statistics.median(s) if s else float("nan") for s in (seconds[True], seconds[False]))
    n_processes = len({document["result"]["pid"] for document in documents})
    return Costs(
        (min(document["refresh_time"] for document in documents) - start).total_seconds(), first, later, n_processes
    )


def data_table(size: Size, hyperopt: Any) -> str:
    """What it costs that an objective uses much data."""
    title = f"### An objective with {size.megabytes} MB of data, `local[2]`, 2 at a time"
    with classic_session("local[2]") as session:
        parts = data_rows(sparktune, session, "jobs", size)
        if hyperopt is not None:
            parts += data_rows(hyperopt, session, f"hyperopt {hyperopt.__version__}", size)
    notes = [DATA_COLUMNS, *([] if hyperopt else [NO_HYPEROPT])]
    if has_connect():
        with connect_session("local[2]") as session:
            parts += data_rows(sparktune, session, "connect", size)
    else:
        notes.append(f"Spark Connect: {NO_CONNECT}")
    return "\n\n".join([title, markdown(DATA_HEAD, parts), *notes]) + "\n"


def data_rows(library: Any, session: Any, name: str, size: Size) -> list[list[str]]:
    """A row per way in which an objective comes by data, of one engine."""
    is_ours = library is sparktune
    n = size.data_trials if is_ours else size.peer_data_trials
    options = {"engine": name} if is_ours else {}
    found: dict[str, list[Costs]] = {}

    def measure(way: str, data: Any, number: int) -> None:
        objective = make_objective(data, f"{name}, {way}, {number}")
        found.setdefault(way, []).append(costs(library, session, objective, n, **options))
        print(f"round {number + 1}: {name}, {way}: {found[way][-1]}", file=sys.stderr, flush=True)

    no_data = np.zeros(1, np.uint8)
    measure("warm-up", no_data, -1)
    del found["warm-up"]
    for number in range(size.rounds if is_ours else size.peer_rounds):
        # Others in each round: what was sent once is not sent again.
        data = np.random.default_rng(number).integers(0, 256, size.megabytes * 10**6, dtype=np.uint8)
        measure("no data", no_data, number)
        measure("captured", data, number)
        if is_ours:
            data[0] += 1
            handle = sparktune.SparkTrials.broadcast(data)
            measure("broadcast, first `fmin`", handle, number)
            measure("broadcast, second `fmin`", handle, number)
            handle.unpersist()
    times_sent = {"captured": 1 if is_ours else n, "broadcast, first `fmin`": 1}  # hyperopt pickles it for each trial
    return [
        [
            f"{name}: {way}",
            str(n),
            f"{times_sent.get(way, 0) * size.megabytes:,d}",
            f"{statistics.median(c.n_processes for c in of_way):g}",
            *(median_of(getattr(c, column) for c in of_way) for column in ("first_result", "first", "later")),
        ]
        for way, of_way in found.items()
    ]


def median_of(values: Iterable[float]) -> str:
    """As a cell of a table; NaN where there is nothing to take it of."""
    known = [value for value in values if not np.isnan(value)]
    return f"{statistics.median(known):.3f}" if known else "none"


# -- the program ------------------------------------------------------------------------------------------------------

TABLES: dict[str, Callable[[Size, Any], str]] = {
    "jobs": jobs_table,
    "connect": connect_table,
    "workers": workers_table,
    "in-flight": in_flight_table,
    "data": data_table,
}


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES), help="these tables; otherwise all")
    parser.add_argument("--quick", action="store_true", help="few trials and rounds, to see that it runs")
    parser.add_argument("--rounds", type=int, help="turns of each competitor")
    parser.add_argument("--no-hyperopt", action="store_true", help="leave hyperopt out, which takes most of the time")
    parser.add_argument("--out", type=Path, help="write the tables to this file as well")
    args = parser.parse_args()
    texts: list[str] = []
    for name in args.only:
        texts.append(measure_alone(name) if len(args.only) > 1 else measure_here(name, args))
        print(texts[-1], flush=True)
        if args.out:  # what is there now is not lost when a later table fails
            args.out.write_text("\n".join(texts), encoding="utf-8")


def measure_here(name: str, args: argparse.Namespace) -> str:
    """A table."""
    warnings.simplefilter("ignore")
    size = QUICK if args.quick else FULL
    if args.rounds is not None:
        size = replace(size, rounds=args.rounds, peer_rounds=min(args.rounds, size.peer_rounds))
    return TABLES[name](size, None if args.no_hyperopt else hyperopt_or_none())


def measure_alone(name: str) -> str:
    """A table measured by a process of its own: one can have one Spark, and what it has run leaves traces."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name]  # the last --only counts
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.rstrip("\n") + "\n"


if __name__ == "__main__":
    main()
