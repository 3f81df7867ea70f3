"""Milliseconds to record a trial, its proposal and its end, beside hyperopt and Optuna, as the study grows.

    python benchmarks/storage.py                                   # in the folder for temporary files
    python benchmarks/storage.py --folder /var/tmp /dev/shm        # a table for each
    python benchmarks/storage.py --write                           # puts the tables into docs/benchmarks.md

Each study gets n finished trials, all of five floats, then some more are asked for at random and told a loss: by
``fmin`` in sparktune and hyperopt, by ``study.ask`` and ``tell`` in Optuna. The time is that of the whole; beside
it stands that of the same without a storage. The competitors take turns; quote ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import queue
import shutil
import sqlite3
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _rounds import markdown, ratios, short, spread, take_turns

import sparktune

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- begin: written by benchmarks/storage.py -->", "<!-- end: benchmarks/storage.py -->"
LABELS = [f"x{i}" for i in range(5)]
SIZES = (100, 10_000, 100_000)
#: hyperopt pickles all trials after each one, and looks at all of them besides: above this ten times as long again.
HYPEROPT_UP_TO = 10_000
#: A folder in memory, None where there is none.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
#: Rows of the table; those without a storage stand for what the rest of the work costs.
NAMES = {
    "journal": "sparktune, journal",
    "sqlite": "sparktune, SQLite",
    "none": "sparktune, no storage",
    "optuna journal": "Optuna, JournalStorage",
    "optuna rdb": "Optuna, RDBStorage on SQLite",
    "optuna none": "Optuna, no storage",
    "hyperopt": "hyperopt, trials_save_file",
    "hyperopt none": "hyperopt, no storage",
}
RATIOS = (("optuna journal", "journal"), ("optuna rdb", "sqlite"), ("hyperopt", "journal"), ("hyperopt", "sqlite"))

NOTES = """\
Milliseconds of wall clock for one trial, proposed at random and told a loss, medians of {rounds} rounds in which the
competitors take turns, {timed} trials a round ({few} of hyperopt), and in brackets the lowest and highest. Each library
writes as it does by default: both journals and both SQLite files are on the disk when a trial has been told; hyperopt
does not wait for the disk. Ratios are formed round by round. hyperopt is left out at 100,000: it pickles the whole
study for each trial, so that the cost grows in step with their number. Studies were filled by `trials.save`, by
`study.add_trials`, in Optuna's SQLite by copying rows of such trials in SQL, and in hyperopt by inserting documents."""


def loss_of(params: Any) -> float:
    """A loss that costs nothing."""
    return float(params["x0"]) ** 2


def drawn(n: int) -> list[dict[str, float]]:
    """n points."""
    rows = np.random.default_rng(0).uniform(-1, 1, (n, len(LABELS)))
    return [dict(zip(LABELS, map(float, row), strict=True)) for row in rows]


def space_of(library: Any) -> dict[str, Any]:
    """The space in the words of hyperopt or sparktune."""
    return {label: library.hp.uniform(label, -1, 1) for label in LABELS}


def filled(trials: Any, points: Sequence[Mapping[str, float]]) -> Any:
    """``trials``, of hyperopt or sparktune, with finished trials at the points."""
    ids = trials.new_trial_ids(len(points))
    miscs = [
        {
            "tid": tid,
            "cmd": ("domain_attachment", "FMinIter_Domain"),
            "workdir": None,
            "idxs": {label: [tid] for label in LABELS},
            "vals": {label: [value] for label, value in point.items()},
        }
        for tid, point in zip(ids, points, strict=True)
    ]
    results = [{"loss": loss_of(point), "status": "ok"} for point in points]
    documents = trials.new_trial_docs(ids, [None] * len(ids), results, miscs)
    now = sparktune.history.documents.utcnow()
    for document in documents:
        document.update(state=2, book_time=now, refresh_time=now)
    trials.insert_trial_docs(documents)
    trials.refresh()
    return trials


Measure = Callable[[int], None]


class Sparktune:
    """``fmin`` of sparktune in a thread, which goes on with the next trial when it is told to.

    Args:
        where: The storage; None for none.
        points: Of the trials that there are.
    """

    def __init__(self, where: Any, points: Sequence[Mapping[str, float]]) -> None:
        trials = filled(sparktune.Trials(), points)
        if where is not None:
            trials.save(where)
            trials = sparktune.Trials(storage=where)
        self._turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(trials,), daemon=True)
        self._thread.start()
        self._begun.get(timeout=600)

    def _run(self, trials: Any) -> None:
        algo, space = sparktune.rand.suggest, space_of(sparktune)
        with contextlib.suppress(EOFError):
            sparktune.fmin(self._objective, space, algo=algo, max_evals=None, trials=trials, rstate=0, verbose=False)

    def _objective(self, params: Any) -> float:
        self._begun.put(None)
        if not self._turns.get():
            raise EOFError
        return loss_of(params)

    def __call__(self, n: int) -> None:
        """Have n trials ended, and as many begun."""
        for _ in range(n):
            self._turns.put(True)
            self._begun.get(timeout=600)

    def close(self) -> None:
        """End the run."""
        self._turns.put(False)
        self._thread.join()


def optuna_study(storage: Any, points: Sequence[Mapping[str, float]], add: Callable[[Any, Any], None]) -> Measure:
    """What asks and tells a study of Optuna; ``add`` gives it the finished trials."""
    import optuna

    kinds = {label: optuna.distributions.FloatDistribution(-1, 1) for label in LABELS}
    sampler = optuna.samplers.RandomSampler(0)
    study = optuna.create_study(storage=storage, sampler=sampler, study_name="study", load_if_exists=True)
    made = (optuna.trial.create_trial(params=p, distributions=kinds, value=loss_of(p)) for p in map(dict, points))
    add(study, made)

    def record(n: int) -> None:
        for _ in range(n):
            trial = study.ask(kinds)
            study.tell(trial, loss_of(trial.params))

    return record


def add_all(study: Any, made: Any) -> None:
    """By Optuna's own means."""
    study.add_trials(made)


def copied_rows(file: Path, n: int) -> Callable[[Any, Any], None]:
    """A hundred trials by Optuna's own means, and the rest as copies of their rows, for which they take minutes."""
    copies = n // 100 - 1

    def add(study: Any, made: Any) -> None:
        study.add_trials(itertools.islice(made, 100))
        with sqlite3.connect(file) as db:
            for table in ("trials", "trial_params", "trial_values"):
                columns = db.execute(f"pragma table_info({table})").fetchall()
                names = [
                    name for _, name, *_, key in columns if not key or table == "trials"
                ]  # others come by themselves
                moved = [f"{name} + 100 * k" if name in ("trial_id", "number") else name for name in names]
                db.execute(
                    f"with recursive copies(k) as (select 1 union all select k + 1 from copies where k < {copies}) "
                    f"insert into {table} ({', '.join(names)}) select {', '.join(moved)} from copies, {table} "
                    f"where {copies} > 0 and {table}.trial_id <= 100 order by k, {table}.trial_id"
                )
        db.close()
        if len(study.get_trials(deepcopy=False)) != n:
            raise RuntimeError(f"Optuna's study has not the {n} trials that it should")

    return add


def hyperopt_study(file: Path | None, points: Sequence[Mapping[str, float]]) -> Measure:
    """What runs hyperopt's ``fmin`` for some more trials."""
    import hyperopt

    trials, space, rng = filled(hyperopt.Trials(), points), space_of(hyperopt), np.random.default_rng(0)

    def record(n: int) -> None:
        hyperopt.fmin(
            loss_of,
            space,
            algo=hyperopt.rand.suggest,
            max_evals=len(trials) + n,
            trials=trials,
            rstate=rng,
            verbose=False,
            trials_save_file="" if file is None else str(file),
        )

    return record


def makers(folder: Path, n: int) -> dict[str, Callable[[Sequence[Mapping[str, float]]], Measure]]:
    """The competitors of a size, those whose packages are there."""
    found: dict[str, Callable[[Any], Measure]] = {
        "journal": lambda points: Sparktune(folder / "study.journal", points),
        "sqlite": lambda points: Sparktune(f"sqlite:///{folder}/study.db", points),
        "none": lambda points: Sparktune(None, points),
    }
    if has("optuna"):
        import optuna
        from optuna.storages.journal import JournalFileBackend

        def journal(path: Path) -> Any:
            return optuna.storages.JournalStorage(JournalFileBackend(str(path)))

        def filled_journal(points: Sequence[Mapping[str, float]]) -> Measure:
            with tempfile.TemporaryDirectory(dir=MEMORY) as quick:  # it writes each trial to the disk by itself
                optuna_study(journal(Path(quick, "optuna.journal")), points, add_all)
                shutil.move(Path(quick, "optuna.journal"), folder)
            return optuna_study(journal(folder / "optuna.journal"), [], add_all)

        file = folder / "optuna.db"
        found["optuna journal"] = filled_journal
        found["optuna rdb"] = lambda points: optuna_study(f"sqlite:///{file}", points, copied_rows(file, n))
        found["optuna none"] = lambda points: optuna_study(None, points, add_all)
    if has("hyperopt") and n <= HYPEROPT_UP_TO:
        found["hyperopt"] = lambda points: hyperopt_study(folder / "hyperopt.pickle", points)
        found["hyperopt none"] = lambda points: hyperopt_study(None, points)
    return found


def has(package: str) -> bool:
    """Whether a package can be imported."""
    try:
        __import__(package)
    except ImportError:
        return False
    return True


def measured(folder: Path, n: int, rounds: int, timed: int, few: int) -> dict[str, list[float]]:
    """Milliseconds per trial at a size, by competitor and round."""
    points = drawn(n)
    competitors: dict[str, Callable[[], float]] = {}
    open_runs: list[Sparktune] = []
    for name, make in makers(folder, n).items():
        start = time.perf_counter()
        record = make(points)
        print(f"{name}: {n} trials in {time.perf_counter() - start:.1f} s", flush=True)
        open_runs += [record] if isinstance(record, Sparktune) else []
        record(few)  # fills caches

        def once(record: Measure = record, count: int = few if "hyperopt" in name else timed) -> float:
            start = time.perf_counter()
            record(count)
            return 1e3 * (time.perf_counter() - start) / count

        competitors[name] = once
    try:
        return take_turns(competitors, rounds, {})
    finally:
        for run in open_runs:
            run.close()


def table(by_size: Mapping[int, Mapping[str, Sequence[float]]]) -> str:
    """A row per competitor and ratio, a column per size."""
    names = [name for name in NAMES if any(name in column for column in by_size.values())]
    rows = [[NAMES[name], *(spread(column.get(name, [])) for column in by_size.values())] for name in names]
    for peer, ours in RATIOS:
        if peer in names:
            cells = [spread(ratios(column.get(peer, []), column[ours])) for column in by_size.values()]
            rows.append([f"{NAMES[peer]} / {NAMES[ours]}", *cells])
    largest = max(by_size)
    for ours in ("journal", "sqlite"):
        growth = statistics.median(by_size[largest][ours]) / statistics.median(by_size[min(by_size)][ours])
        rows.append(
            [f"{NAMES[ours]}: {largest:,} / {min(by_size):,} trials", *[""] * (len(by_size) - 1), short(growth)]
        )
    return markdown(["", *(f"{n:,} trials" for n in by_size)], rows)


def write(text: str) -> None:
    """Put ``text`` between the markers of docs/benchmarks.md, or at its end if they are not there."""
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if found else "\n"
    before = before if found else before.rstrip("\n") + "\n\n"
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def versions() -> str:
    """Of the peers."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("optuna", "hyperopt", "sqlalchemy") if has(name))


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="finished trials; hundreds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timed", type=int, default=20, help="trials per round")
    parser.add_argument("--few", type=int, default=3, help="trials per round of hyperopt")
    parser.add_argument("--folder", nargs="+", default=[tempfile.gettempdir()], help="where the studies are written")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    logging.getLogger("hyperopt").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # of Optuna, about what is experimental
    if has("optuna"):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
    parts = ["## Recording a trial", f"`python benchmarks/storage.py`, {versions()}."]
    for name in arguments.folder:
        by_size = {}
        for n in arguments.sizes:
            folder = Path(tempfile.mkdtemp(prefix="sparktune-storage-", dir=name))
            try:
                by_size[n] = measured(folder, n, arguments.rounds, arguments.timed, arguments.few)
            finally:
                shutil.rmtree(folder)
        part = f"### {'In memory, on a tmpfs' if name.startswith('/dev/shm') else 'On the disk'}\n\n{table(by_size)}"
        print(part, flush=True)
        parts.append(part)
    parts.append(NOTES.format(rounds=arguments.rounds, timed=arguments.timed, few=arguments.few))
    text = "\n\n".join(parts)
    if arguments.write:
        write(text)


if __name__ == "__main__":
    main()
