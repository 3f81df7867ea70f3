"""Thousands of short trials while executors are killed: is each accounted for, and does the driver stay as it was.

    python benchmarks/soak.py                # 2,000 trials, 32 at a time, an executor killed every 20 s
    python benchmarks/soak.py --write        # and put the tables into docs/reliability.md

The objective writes a line into a file each time it is called, so nobody's word has to be taken for how often that was.
What the driver holds is looked at between three ``fmin`` calls on one session, after a garbage collection in both its
processes: after the first 200 trials, in the middle, and at the end.
"""

from __future__ import annotations

import argparse
import collections
import gc
import os
import re
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "spark"))
from _page import write_section
from clusters import open_place

from sparktune import SparkTrials, fmin, hp, rand
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.worker import processes

BEGIN, END = "<!-- begin: written by benchmarks/soak.py -->", "<!-- end: soak -->"

EXECUTOR = b"CoarseGrainedExecutorBackend"


@dataclass(frozen=True)
class Holdings:
    """What the driver, a Python process and a JVM, holds at a moment when no trial runs."""

    threads: int
    file_descriptors: int
    sockets: int
    python_mb: int
    jvm_threads: int
    jvm_heap_mb: int
    blocks_mb: float
    broadcast_files: int

    @classmethod
    def now(cls, context: Any) -> Holdings:
        """Those of this process and of the JVM of a context."""
        _wait_for_threads()
        runtime = context._jvm.java.lang.Runtime.getRuntime()
        gc.collect()
        for _ in range(3):  # Spark frees what the collector has found in a thread of its own
            context._jvm.java.lang.System.gc()
            time.sleep(1.0)
        links = []
        for name in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{name}"))
            except FileNotFoundError:  # the one that lists them
                continue
        return cls(
            threads=threading.active_count(),
            file_descriptors=len(links),
            sockets=sum(link.startswith("socket:") for link in links),
            python_mb=_resident_mb(),
            jvm_threads=context._jvm.java.lang.Thread.activeCount(),
            jvm_heap_mb=round((runtime.totalMemory() - runtime.freeMemory()) / 2**20),
            blocks_mb=_stored_mb(context),
            broadcast_files=len(os.listdir(context._temp_dir)),
        )


def _wait_for_threads(timeout: float = 60.0) -> None:
    """Until the threads of the last run have ended; they do so by themselves."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if not [thread for thread in threading.enumerate() if thread.name.startswith("sparktune")]:
            return
        time.sleep(0.1)


def _stored_mb(context: Any) -> float:
    """What the block managers of the driver and the executors hold, broadcasts for one.

    Not the figure of Spark's status store, which never takes off the blocks that have been removed.
    """
    text = context._jsc.sc().getExecutorMemoryStatus().toString()  # address -> (room, room that is left)
    return round(sum(int(room) - int(left) for room, left in re.findall(r"\((\d+),(\d+)\)", text)) / 2**20, 2)


def _resident_mb() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


class Killer(threading.Thread):
    """Kills an executor every ``interval`` seconds, the oldest first, if there is another that can work meanwhile.

    Attributes:
        n_killed: So far.
    """

    def __init__(self, interval: float, context: Any) -> None:
        super().__init__(name="killer", daemon=True)
        self._context = context
        self._interval = interval
        self._end = threading.Event()
        self.n_killed = 0

    def run(self) -> None:
        while not self._end.wait(self._interval):
            executors = [pid for pid in sorted(processes.descendants(os.getpid())) if _is_executor(pid)]
            n_ready = self._context._jsc.sc().getExecutorMemoryStatus().size() - 1  # the driver is in it, too
            if n_ready > 1:  # not while another is still starting: at some load there would never be one
                processes.kill(executors[0])
                self.n_killed += 1

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self.join()


def _is_executor(pid: int) -> bool:
    try:
        return EXECUTOR in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass(frozen=True)
class Account:
    """What became of the trials."""

    trials: int
    done: int
    failed: int
    other: int
    evaluations: int
    attempts: int
    attempts_that_never_called_the_objective: int
    trials_evaluated_more_often_than_attempted: int
    trials_attempted_more_than_twice: int
    trials_without_exactly_one_last_state: int

    @classmethod
    def of(cls, trials: Any, n_trials: int, path: Path) -> Account:
        """The account of ``trials``, of which there must be ``n_trials``, against the lines the objective wrote."""
        calls = collections.Counter(path.read_text().split())
        documents = trials._dynamic_trials
        attempts = {
            repr(d["misc"]["vals"]["x"][0]): len(d["misc"].get("run", {}).get("attempts", ())) for d in documents
        }
        states = collections.Counter(document["state"] for document in documents)
        n_final = states[JOB_STATE_DONE] + states[JOB_STATE_ERROR]
        return cls(
            trials=n_trials,
            done=states[JOB_STATE_DONE],
            failed=states[JOB_STATE_ERROR],
            other=len(documents) - n_final,
            evaluations=calls.total(),
            attempts=sum(attempts.values()),
            attempts_that_never_called_the_objective=sum(max(0, n - calls[x]) for x, n in attempts.items()),
            trials_evaluated_more_often_than_attempted=sum(calls[x] > n for x, n in attempts.items()),
            trials_attempted_more_than_twice=sum(n > 2 for n in attempts.values()),
            trials_without_exactly_one_last_state=abs(n_trials - n_final)
            + len(documents)
            - len({document["tid"] for document in documents})
            + len(set(calls) - set(attempts)),
        )

    @property
    def is_sound(self) -> bool:
        """Whether every trial is accounted for exactly once."""
        wrong = (
            self.other
            + self.trials_evaluated_more_often_than_attempted
            + self.trials_attempted_more_than_twice
            + self.trials_without_exactly_one_last_state
        )
        return wrong == 0 and self.evaluations + self.attempts_that_never_called_the_objective == self.attempts


def soak(place: Any, path: Path, args: argparse.Namespace) -> tuple[Account, dict[int, Holdings], int, float]:
    """Run the trials; the account, what the driver held by number of trials, executors killed, and seconds."""
    name = str(path)

    def objective(x: float) -> float:
        with open(name, "a") as file:
            file.write(f"{x!r}\n")
        time.sleep(0.02)
        return x

    trials = SparkTrials(args.parallelism, spark_session=place.session, engine=args.engine)
    killer = Killer(args.interval, place.session.sparkContext)
    killer.start()
    holdings: dict[int, Holdings] = {}
    start = time.perf_counter()
    for n in sorted({min(200, args.trials), args.trials // 2, args.trials}):
        fmin(
            objective,
            hp.uniform("x", 0, 1),
            algo=rand.suggest,
            max_evals=n,
            trials=trials,
            rstate=n,
            return_argmin=False,
            show_progressbar=False,
            verbose=False,
        )
        holdings[n] = Holdings.now(place.session.sparkContext)
        print(f"{n} trials after {time.perf_counter() - start:.0f} s: {holdings[n]}", flush=True)
    killer.stop()
    return Account.of(trials, args.trials, path), holdings, killer.n_killed, time.perf_counter() - start


def report(account: Account, holdings: dict[int, Holdings], n_killed: int, seconds: float, command: str) -> str:
    """The tables."""
    lines = [
        f"`{command}`: {account.trials:,} trials in {seconds:.0f} s, {n_killed} executors killed, "
        f"{'every trial accounted for exactly once' if account.is_sound else '**not every trial accounted for**'}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {item.name.replace('_', ' ')} | {getattr(account, item.name):,} |" for item in fields(account)),
        "",
        "| held by the driver | " + " | ".join(f"after {n:,} trials" for n in holdings) + " |",
        "|---|" + "---|" * len(holdings),
    ]
    for item in fields(Holdings):
        name = item.name.replace("_mb", ", MB").replace("jvm", "JVM").replace("_", " ")
        cells = [f"{getattr(held, item.name):,}" for held in holdings.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run, print the tables, and fail if a trial is not accounted for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--parallelism", type=int, default=32)
    parser.add_argument("--interval", type=float, default=20.0, help="seconds from one kill to the next")
    parser.add_argument("--master", default="local-cluster[2,2,1024]")
    parser.add_argument("--engine", default="jobs", help="of SparkTrials")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/reliability.md")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, open_place(args.master, Path(folder)) as place:
        results = soak(place, Path(folder, "calls.txt"), args)
    options = [item for item in sys.argv[1:] if item != "--write"]
    text = report(*results, command=" ".join(["python benchmarks/soak.py", *options]))
    print(f"\n{text}\n")
    if args.write:
        write_section(BEGIN, END, text)
    if not results[0].is_sound:
        sys.exit("not every trial is accounted for")


if __name__ == "__main__":
    main()
