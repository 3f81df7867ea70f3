"""Drivers killed at random moments and started again until the study is done: is anything lost, or counted twice?

    python benchmarks/crashes.py                             # 200 kills and more, some ten minutes
    python benchmarks/crashes.py --kinds serial --kills 20
    python benchmarks/crashes.py --write                     # and put the table into docs/reliability.md

After each kill, and at the end, the study in the storage is compared with what the objective itself has written down,
in a file of its own for each life of the driver. In the end, a study's journal is cut at every byte of its last
kilobyte, and read.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from _crash_driver import SLOTS  # noqa: E402
from _page import write_section  # noqa: E402

from sparktune import Trials, fmin, hp, rand  # noqa: E402
from sparktune.exceptions import InvalidStorage  # noqa: E402
from sparktune.history.documents import Document, raw_values  # noqa: E402
from sparktune.history.events import has_ended, n_renewed  # noqa: E402
from sparktune.history.trial import JOB_STATE_DONE  # noqa: E402

BEGIN, END = "<!-- begin: written by benchmarks/crashes.py -->", "<!-- end: crashes -->"


@dataclass(frozen=True)
class Kind:
    """A way to run a study that is to be killed.

    Attributes:
        driver: What ``_crash_driver.py`` is told.
        storage: The storage's name in its folder.
        max_evals: Trials of a study.
        latest: Seconds until which it is killed, after it has begun to open the study or to evaluate.
        kills: How many.
        text: What it is called in the table.
    """

    driver: str
    storage: str
    max_evals: int
    latest: float
    kills: int
    text: str


KINDS = {
    "serial": Kind("serial", "study.journal", 600, 0.8, 70, "serial, TPE, journal"),
    "threads": Kind("threads", "study.journal", 600, 0.8, 80, "4 threads, journal"),
    "segments": Kind("threads", "study/", 600, 0.8, 40, "4 threads, folder of segments"),
    "spark": Kind("spark", "study.journal", 200, 3.0, 30, "`SparkTrials`, jobs, 2 at a time, journal"),
}


@dataclass
class Tally:
    """What came of the kills.

    Attributes:
        kills: Of a driver that worked.
        studies: Brought to their end.
        stored: Trials that had ended in the storage when a driver was killed.
        again: Trials evaluated again since they were running.
        given_up: Trials that were running at two kills.
        faults: What must not be, with how often it was.
        examples: The first of each.
    """

    kills: int = 0
    studies: int = 0
    stored: int = 0
    again: int = 0
    given_up: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def fault(self, what: str, example: str) -> None:
        """Note one."""
        self.faults[what] += 1
        self.examples.setdefault(what, example)


LOST, TWICE, UNREADABLE, WRONG = "finished trials lost", "counted twice", "unreadable", "not as documented"


@dataclass
class Study:
    """A study that is killed until it is done."""

    kind: Kind
    folder: Path
    tally: Tally
    lives: int = 0
    ended: dict[Any, Any] = field(default_factory=dict)  # results by trial id, as they were when first seen

    @property
    def storage(self) -> str:
        """Where it is kept."""
        return f"{self.folder}/{self.kind.storage}"

    def evidence(self, life: int) -> Path:
        """What the objective has noted in a life of the driver."""
        return self.folder / f"evidence.{life}"

    def live(self, delay: float | None, is_late: bool = False) -> bool:
        """Start the driver, kill it after a while; whether it was killed, and had not ended.

        Args:
            delay: Seconds; None: let it end.
            is_late: Whether they count from its first evaluation, and not from before it opens the study.
        """
        self.lives += 1
        command = [sys.executable, str(HERE / "_crash_driver.py"), self.kind.driver, self.storage]
        command += [str(self.evidence(self.lives)), str(self.kind.max_evals)]
        path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": path}
        with (
            open(self.folder / "log", "ab") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as driver,
        ):
            assert driver.stdout is not None
            if driver.stdout.readline() and delay is not None:
                while is_late and driver.poll() is None and not self.evidence(self.lives).exists():
                    time.sleep(0.002)
                try:
                    driver.wait(delay)
                except subprocess.TimeoutExpired:
                    driver.kill()
            code = driver.wait(600)
        if code not in (0, -signal.SIGKILL):
            self.tally.fault(WRONG, f"the driver ended with {code}: {(self.folder / 'log').read_text()[-2000:]}")
        self.tally.kills += code == -signal.SIGKILL
        return code == -signal.SIGKILL

    def check(self) -> list[Document]:
        """Compare the storage with what was there before, and with what the objective has noted."""
        try:
            found = Trials.load(self.storage)._dynamic_trials
        except InvalidStorage as error:
            if self.ended or "has no study" not in str(error):  # it may be killed before there is one
                self.tally.fault(UNREADABLE, str(error))
            return []
        tids = Counter(document["tid"] for document in found)
        points = Counter(point_of(document) for document in found)
        for thing, n in [*tids.items(), *points.items()]:
            if n > 1:
                self.tally.fault(TWICE, f"{thing} is there {n} times")
        ended = {document["tid"]: summary(document) for document in found if has_ended(document)}
        for tid, before in self.ended.items():
            if ended.get(tid) != before:
                self.tally.fault(LOST, f"trial {tid} was {before}, and is {ended.get(tid)}")
        self.ended = ended
        self._check_evidence({point_of(document): document for document in found})
        return found

    def _check_evidence(self, documents: dict[str, Document]) -> None:
        lines = notes(self.evidence(self.lives))
        begins = [place for place, (what, _) in enumerate(lines) if what == "begin"]
        for place, (what, point) in enumerate(lines):
            # So many begun after its end, and its slot must have been given to another, after it was written.
            is_written = what == "end" and sum(begin > place for begin in begins) >= SLOTS[self.kind.driver]
            if is_written and (point not in documents or documents[point]["state"] != JOB_STATE_DONE):
                self.tally.fault(LOST, f"{point} had ended, others began after it, and it is not in the storage")
            if what == "begin" and point not in documents:
                self.tally.fault(LOST, f"{point} was evaluated, and no trial of the study has it")

    def check_end(self) -> None:
        """What must hold of a study that is done."""
        found = self.check()
        if len(found) != self.kind.max_evals:
            self.tally.fault(WRONG, f"{len(found)} trials, not {self.kind.max_evals}")
        evaluations: Counter[str] = Counter()
        for life in range(1, self.lives + 1):
            evaluations.update(point for what, point in notes(self.evidence(life)) if what == "begin")
        for document in found:
            n, renewed = evaluations[point_of(document)], n_renewed(document)
            n_attempts = len(document["misc"].get("run", {}).get("attempts", ()))
            given_up = document["state"] != JOB_STATE_DONE
            if n > 2 or n > 1 + renewed or (not n and not given_up) or renewed > 1 or n_attempts < renewed:
                text = f"trial {document['tid']} was evaluated {n} times, and is marked as renewed {renewed} times"
                self.tally.fault(WRONG, text)
            if given_up and not (renewed and "driver died twice" in document["misc"]["error"][1]):
                self.tally.fault(WRONG, f"trial {document['tid']} is {document['state']}: {document['misc']}")
            self.tally.again += n > 1
            self.tally.given_up += given_up
        self.tally.studies += 1


def point_of(document: Document) -> str:
    """The trial's point as the objective has noted it."""
    return repr(float(raw_values(document)["x"]))


def summary(document: Document) -> Any:
    """What must not change any more."""
    return document["state"], document["result"].get("loss"), point_of(document)


def notes(path: Path) -> list[tuple[str, str]]:
    """What and where, in the order in which it was noted; a line that the kill has torn is none."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [(what, repr(float(point))) for what, _, point in (line.partition(" ") for line in lines) if point]


def play(kind: Kind, kills: int, folder: Path, rng: random.Random) -> Tally:
    """Kill drivers so many times, and bring each of their studies to its end."""
    tally = Tally()
    while tally.kills < kills and not tally.faults:
        study = Study(kind, Path(tempfile.mkdtemp(dir=folder)), tally)
        while study.live(rng.uniform(0, kind.latest) if tally.kills < kills else None, is_late=rng.random() < 0.7):
            found = study.check()
            tally.stored += sum(map(has_ended, found))
        study.check_end()
    return tally


def cut(journal: Path, folder: Path, n_bytes: int, every: int = 1, resume_every: int = 64) -> Tally:
    """Cut a journal at each of its last bytes, and read it; at some of them, go on with the study.

    Args:
        journal: Of a study that is done.
        folder: Where to put the pieces.
        n_bytes: How many.
        every: How many bytes from one cut to the next.
        resume_every: How many cuts until one is gone on with.
    """
    tally, data = Tally(), journal.read_bytes()
    n_trials = len(Trials.load(journal))
    for number, n in enumerate(range(max(0, len(data) - n_bytes), len(data) + 1, every)):
        piece = folder / "piece.journal"
        piece.write_bytes(data[:n])
        tally.kills += 1
        expected = ended_in(data[:n])
        try:
            found = Trials.load(piece)._dynamic_trials
        except InvalidStorage as error:
            tally.fault(UNREADABLE, f"cut at {n}: {error}")
            continue
        compare(tally, found, expected, f"cut at {n}")
        if number % resume_every == 0:
            trials = Trials(storage=piece)
            fmin(lambda x: x, hp.uniform("x", -5, 5), rand.suggest, n_trials + 1, trials=trials, verbose=False)
            compare(tally, trials._dynamic_trials, expected, f"cut at {n}, and gone on with")
            if len(trials._dynamic_trials) != n_trials + 1:
                tally.fault(WRONG, f"cut at {n}: {len(trials._dynamic_trials)} trials, not {n_trials + 1}")
        tally.stored += len(expected)
    return tally


def compare(tally: Tally, found: list[Document], expected: dict[Any, Any], where: str) -> None:
    """Note what is not as it must be."""
    if len({document["tid"] for document in found}) < len(found):
        tally.fault(TWICE, where)
    ended = {document["tid"]: document["result"].get("loss") for document in found if has_ended(document)}
    if any(tid not in ended or ended[tid] != loss for tid, loss in expected.items()):
        tally.fault(LOST, where)


def ended_in(data: bytes) -> dict[Any, Any]:
    """Losses of the trials whose end is on a line that has one, read without sparktune."""
    ended = {}
    for line in data.split(b"\n")[:-1]:
        event = json.loads(line)
        document = event.get("trial", event)
        if event["event"] in ("new", "end") and document["state"] not in (0, 1):
            ended[document["tid"]] = document["result"].get("loss")
    return ended


def table(tallies: dict[str, Tally]) -> str:
    """One row for each kind."""
    titles = ["kills", "studies", "ended at a kill", "evaluated again", "running at two kills"]
    titles += [LOST, TWICE, UNREADABLE, WRONG]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name, tally in tallies.items():
        figures = [tally.kills, tally.studies, tally.stored, tally.again, tally.given_up]
        figures += [tally.faults[what] for what in (LOST, TWICE, UNREADABLE, WRONG)]
        lines.append(f"| {name} | " + " | ".join(f"{figure:,}" for figure in figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Kill, print the table, and fail if anything was not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--kills", type=int, help="of each kind; otherwise as in the published table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where the studies are")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    args = parser.parse_args()
    logging.getLogger("sparktune").setLevel(logging.ERROR)
    tallies, start = {}, time.perf_counter()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        for kind in args.kinds:
            folder, rng = Path(tempfile.mkdtemp(dir=name)), random.Random(args.seed)
            tallies[KINDS[kind].text] = play(KINDS[kind], args.kills or KINDS[kind].kills, folder, rng)
            print(f"{kind}: {time.perf_counter() - start:.0f} s, {tallies[KINDS[kind].text]}", flush=True)
        journals = sorted(Path(name).glob("*/*/study.journal"), key=lambda path: path.stat().st_size)
        for journal in journals[-1:]:
            text = "cut at each of the last 1,024 bytes (not kills)"
            tallies[text] = cut(journal, Path(name), 1024)
    text = table(tallies)
    print(f"\n{text}\n")
    n_kills = sum(tallies[KINDS[kind].text].kills for kind in args.kinds)
    if args.write:
        seconds = time.perf_counter() - start
        write_section(BEGIN, END, f"`python benchmarks/crashes.py`: {n_kills} kills in {seconds:.0f} s.\n\n{text}")
    if any(tally.faults for tally in tallies.values()):
        sys.exit(f"not everything was as it must be: {[tally.examples for tally in tallies.values()]}")


if __name__ == "__main__":
    main()
