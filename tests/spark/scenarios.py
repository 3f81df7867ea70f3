"""What can go wrong with a trial, each as a scenario: what is done, what must come of it, and a look at what does.

A scenario runs two trials at a time: trial 0 has the fault, trial 1 is its neighbour, which runs beside it and ends
after the fault. Afterwards as many trials as the place has slots must run at the same moment. What the objective does
it writes into a file, evaluation by evaluation, so that nobody's word has to be taken for how often it was called.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timezone
from pathlib import Path
from typing import Any

import objectives
from objectives import Journal, Stage, evaluate, identity
from pyspark import cloudpickle

import sparktune
from sparktune import SparkTrials, fmin, hp, rand
from sparktune.history.trial import JOB_STATE_CANCEL, JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.worker import processes

cloudpickle.register_pickle_by_value(objectives)  # executors cannot import it

N_SLOTS = 2
CLUSTERS = ("local-cluster[2,1,1024]", "workers", "standalone", "connect")
EVERYWHERE = ("local[2]", *CLUSTERS)

#: Errors of trials whose process was ended.
KILLED = ("WorkerLostError", "TrialTimeoutError", "TrialMemoryError")

#: Seconds that killed processes get to be gone.
GONE_DEADLINE = 20.0

STATES = {JOB_STATE_DONE: "done", JOB_STATE_ERROR: "failed", JOB_STATE_CANCEL: "cancelled"}


@dataclass(frozen=True)
class Result:
    """What became of a scenario, or must.

    Attributes:
        state: Of trial 0: "done", "failed" or "cancelled".
        error: The class of its error, or "".
        evaluations: How often the objective was called for it.
        attempts: How many attempts its document tells of; None: as many as evaluations.
        left: Processes of it that are still there.
        neighbour: State of trial 1.
        slots: Trials that ran at the same moment afterwards.
    """

    state: str
    error: str = ""
    evaluations: int = 1
    attempts: int | None = None
    left: int = 0
    neighbour: str = "done"
    slots: int = N_SLOTS

    def __post_init__(self) -> None:
        if self.attempts is None:
            object.__setattr__(self, "attempts", self.evaluations)

    def __str__(self) -> str:
        parts = [
            f"{self.state} ({self.error})" if self.error else self.state,
            f"{self.evaluations} evaluation{'s' * (self.evaluations != 1)}",
            f"{self.attempts} in its record" if self.attempts != self.evaluations else "",
            f"{self.left} processes left" if self.left else "",
            f"neighbour {self.neighbour}" if self.neighbour != "done" else "",
            f"{self.slots} slots" if self.slots != N_SLOTS else "",
        ]
        return ", ".join(filter(None, parts))


@dataclass(frozen=True)
class Scenario:
    """One thing that goes wrong.

    Attributes:
        name: In words, for the table.
        commit: What the objective does at trial 0; see :mod:`objectives`.
        expected: What must come of it.
        options: Of :class:`SparkTrials`.
        act: What is done from outside once trial 0 says that it is ready.
        is_afterwards: Whether that is done when the trial has ended, before the next ones.
        cancels: Whether the neighbour's result ends the run, so that trial 0 is cancelled.
        places: Where it can be played.
    """

    name: str
    commit: Callable[[Stage], Any]
    expected: Result
    options: Mapping[str, Any] = field(default_factory=dict)
    act: Callable[[Scene], None] | None = None
    is_afterwards: bool = False
    cancels: bool = False
    places: tuple[str, ...] = EVERYWHERE


@dataclass(frozen=True)
class Scene:
    """What the action from outside can see of a running scenario.

    Attributes:
        journal: What the objective has written.
        chain: Ids of the process of the evaluation, its guardian, the Python worker, pyspark's daemon and the JVM.
        place: Where it runs.
    """

    journal: Journal
    chain: list[int]
    place: Any


#: Places in a scene's chain of processes.
EVALUATION, GUARDIAN, WORKER, DAEMON, JVM = range(5)


# -- what is done from outside ----------------------------------------------------------------------------------------


def kills(rank: int) -> Callable[[Scene], None]:
    """An action: ``kill -9`` of one process in the chain."""
    return lambda scene: processes.kill(scene.chain[rank])


def kill_machine(scene: Scene) -> None:
    """All at once, as when the power fails; a new worker takes the place of the one that was lost."""
    jvm = scene.chain[JVM]
    for pid in [processes.parents()[jvm], jvm, *processes.descendants(jvm)]:
        processes.kill(pid)
    scene.place.cluster.add_worker()


def decommission(scene: Scene) -> None:
    """The worker is told to take no more work; a new one comes."""
    scene.place.cluster.decommission(processes.parents()[scene.chain[JVM]])
    scene.place.cluster.add_worker()


TIMEOUT = {"trial_timeout": 2.0}
MEMORY = {"trial_memory": "256m"}
timed_out = Result("failed", "TrialTimeoutError")
over_memory = Result("failed", "TrialMemoryError")
cancelled = Result("cancelled", attempts=0)
lost = Result("failed", "WorkerLostError", evaluations=2)
retried = Result("done", evaluations=2)

SCENARIOS = [
    Scenario("raises", objectives.raises, Result("failed", "ValueError")),
    Scenario("returns what cannot be pickled", objectives.returns_a_lock, Result("failed", "TypeError")),
    Scenario("`sys.exit(3)`", objectives.exits, Result("failed", "SystemExit")),
    Scenario("`os._exit(3)`", objectives.vanishes, lost),
    Scenario(
        "`os._exit(3)`, `max_retries=0`",
        objectives.vanishes,
        Result("failed", "WorkerLostError"),
        {"max_retries": 0},
    ),
    Scenario("`os._exit(3)` at the first attempt only", objectives.vanishes_once, retried),
    Scenario("segmentation fault", objectives.crashes, lost),
    Scenario("`kill -9` of itself, as by the system out of memory", objectives.is_killed, lost),
    Scenario("becomes another program (`exec`)", objectives.becomes_another_program, lost),
    Scenario("kills its parent process, the guardian", objectives.kills_its_parent, lost),
    Scenario("a child process that it forked returns, too", objectives.returns_twice, Result("done")),
    # -- limits
    Scenario("endless loop in C, `trial_timeout`", objectives.computes, timed_out, TIMEOUT),
    Scenario("ignores signals and exceptions, `trial_timeout`", objectives.resists, timed_out, TIMEOUT),
    Scenario("stops itself (SIGSTOP), `trial_timeout`", objectives.stops, timed_out, TIMEOUT),
    Scenario("started children of all kinds, `trial_timeout`", objectives.has_children, timed_out, TIMEOUT),
    Scenario("allocates without end, `trial_memory`", objectives.hoards, over_memory, MEMORY),
    Scenario("a child process allocates, `trial_memory`", objectives.has_a_hoarding_child, over_memory, MEMORY),
    # -- cancelled
    Scenario("endless loop in C, cancelled", objectives.computes, cancelled, cancels=True),
    Scenario("ignores signals and exceptions, cancelled", objectives.resists, cancelled, cancels=True),
    Scenario("started children of all kinds, cancelled", objectives.has_children, cancelled, cancels=True),
    # -- killed from outside
    Scenario("`kill -9` of the process of the evaluation", objectives.waits_once, retried, act=kills(EVALUATION)),
    Scenario("`kill -9` of the guardian", objectives.waits_once, retried, act=kills(GUARDIAN)),
    Scenario("`kill -9` of the Python worker", objectives.waits_once, retried, act=kills(WORKER)),
    Scenario(
        "`kill -9` of the Python worker, `max_retries=0`",
        objectives.waits_once,
        Result("failed", "WorkerLostError"),
        {"max_retries": 0},
        act=kills(WORKER),
    ),
    Scenario("`kill -9` of the evaluation with children", objectives.has_children_once, retried, act=kills(EVALUATION)),
    Scenario(
        "`kill -9` of the guardian with children",
        objectives.has_children_once,
        Result("done", evaluations=2, left=2),  # those in sessions of their own: only the guardian knew them
        act=kills(GUARDIAN),
    ),
    Scenario("`kill -9` of the Python worker with children", objectives.has_children_once, retried, act=kills(WORKER)),
    Scenario(
        "`kill -9` of the evaluation's process when it is idle",
        objectives.returns,
        Result("done"),
        act=kills(EVALUATION),
        is_afterwards=True,
    ),
    Scenario(
        "`kill -9` of the Python worker when it is idle",
        objectives.returns,
        Result("done"),
        act=kills(WORKER),
        is_afterwards=True,
    ),
    Scenario(
        "`kill -9` of the executor with children",
        objectives.has_children_once,
        retried,
        act=kills(JVM),
        places=CLUSTERS,
    ),
    Scenario("`kill -9` of a whole machine", objectives.waits_once, retried, act=kill_machine, places=("standalone",)),
    Scenario(
        "worker decommissioned (SIGPWR)",
        objectives.waits_for_the_act,
        Result("done"),
        act=decommission,
        places=("standalone",),
    ),
    # Last: Spark goes on to use workers whose daemon is dead, and the executor above them cannot be found then.
    Scenario("`kill -9` of pyspark's daemon", objectives.waits_for_the_act, Result("done"), act=kills(DAEMON)),
]


# -- playing one ------------------------------------------------------------------------------------------------------


def play(scenario: Scenario, place: Any, folder: Path) -> tuple[Result, float, Any]:
    """What comes of a scenario, the seconds from the fault to the trial's end, and the trials object.

    Args:
        scenario: What to play.
        place: Where, see :mod:`clusters`.
        folder: An empty one.
    """
    journal = Journal(str(folder / "journal.jsonl"))
    trials = SparkTrials(N_SLOTS, spark_session=place.session, engine=place.engine, **scenario.options)
    actor = ThreadPoolExecutor(1)
    act = actor.submit(_perform, scenario, journal, place) if not scenario.is_afterwards else None
    threshold = -0.5 if scenario.cancels else None
    _tune(trials, _objective(scenario, journal), [0, 1], loss_threshold=threshold)
    if act is not None:
        act.result(timeout=120)
    if scenario.is_afterwards:
        _perform(scenario, journal, place)
    document, neighbour = trials._dynamic_trials
    state, error = STATES[document["state"]], _error_of(document)
    [fault, *_] = journal.read("fault")
    seconds = document["refresh_time"].replace(tzinfo=timezone.utc).timestamp() - fault["time"]
    result = Result(
        state=state,
        error=error,
        evaluations=len(journal.read("evaluation")),
        attempts=len((document["misc"].get("run") or {}).get("attempts", ())),
        left=_n_left(journal, is_killed=error in KILLED or state == "cancelled"),
        neighbour=STATES[neighbour["state"]],
        slots=_n_usable(place, journal),
    )
    return result, seconds, trials


def _objective(scenario: Scenario, journal: Journal) -> Callable[[int], Any]:
    commit, neighbours_loss = scenario.commit, -1.0 if scenario.cancels else 1.0

    def objective(i: int) -> Any:
        if i == 0:
            return evaluate(commit, journal)
        journal.wait("fault")
        return neighbours_loss

    return objective


def _perform(scenario: Scenario, journal: Journal, place: Any) -> None:
    """Do what is to be done from outside, once trial 0 is ready for it."""
    if scenario.act is None:
        return
    [ready, *_] = journal.wait("ready", timeout=120)
    try:
        scene = Scene(journal, _chain_above(ready["pid"]), place)
        journal.note("fault")
        scenario.act(scene)
    except BaseException:
        processes.kill(ready["pid"])  # or it would wait for ever for what is not going to happen
        raise
    journal.note("acted")


def _chain_above(pid: int) -> list[int]:
    chain, parents = [pid], processes.parents()
    while len(chain) < 5:
        chain.append(parents[chain[-1]])
    # Nobody else's process must be killed in place of one that was expected here.
    for rank, sign in {WORKER: b"pyspark", DAEMON: b"pyspark", JVM: b"java"}.items():
        if sign not in Path(f"/proc/{chain[rank]}/cmdline").read_bytes():
            raise RuntimeError(
                f"process {chain[rank]}, {rank} above the evaluation, is not the one that was looked for"
            )
    return chain


def _tune(trials: SparkTrials, objective: Any, points: list[int], **options: Any) -> None:
    fmin(
        objective,
        hp.randint("i", 1000),
        algo=rand.suggest,
        max_evals=len(trials.trials),  # the points come on top
        trials=trials,
        points_to_evaluate=[{"i": i} for i in points],
        return_argmin=False,
        show_progressbar=False,
        verbose=False,
        **options,
    )


def _error_of(document: Mapping[str, Any]) -> str:
    error = document["misc"].get("error")
    return error[0].strip("<>'").split(" ")[-1].strip("'").rpartition(".")[2] if error else ""


def _n_left(journal: Journal, is_killed: bool) -> int:
    """How many processes of trial 0 do not go away: its children, and evaluations unless the last ended by itself."""
    evaluations = journal.read("evaluation")
    noted = journal.read("child") + (evaluations if is_killed else evaluations[:-1])
    deadline = time.monotonic() + GONE_DEADLINE
    while left := [entry for entry in noted if identity(entry["pid"]) == entry["identity"]]:
        if time.monotonic() > deadline:
            for entry in left:
                processes.kill(entry["pid"])
            break
        time.sleep(0.05)
    return len(left)


def _n_usable(place: Any, journal: Journal) -> int:
    """How many of ``N_SLOTS`` trials end well that wait for each other."""
    n = N_SLOTS

    def objective(i: int) -> float:
        journal.note("meeting")
        journal.wait("meeting", n, timeout=90)
        return 0.0

    trials = SparkTrials(n, spark_session=place.session, engine=place.engine)
    _tune(trials, objective, list(range(n)))
    return trials.count_successful_trials()


# -- the driver itself ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DriverFault:
    """A signal to the driver, a program of its own, while a trial with children runs.

    Attributes:
        name: In words, for the table.
        signal: What it is sent.
        expected: What must come of it, in words.
        places: Where it can be played.
    """

    name: str
    signal: signal.Signals
    expected: str
    places: tuple[str, ...] = ("local[2]", "local-cluster[2,1,1024]", "standalone", "connect")


DRIVER_FAULTS = [
    DriverFault(
        "Ctrl-C in the driver",
        signal.SIGINT,
        "KeyboardInterrupt; trials done, cancelled, cancelled; signal handler as before; other job went on; "
        "second fmin done; 0 processes left",
    ),
    # A Connect server goes on with the trials of a client that has died, for minutes; nothing on our side can end them.
    DriverFault(
        "`kill -9` of the driver",
        signal.SIGKILL,
        "0 processes left",
        places=("local[2]", "local-cluster[2,1,1024]", "standalone"),
    ),
]


def play_driver(fault: DriverFault, address: str, folder: Path) -> tuple[str, float]:
    """What comes of a signal to a driver, and the seconds from the signal until no process of the trial is left.

    Args:
        fault: What to do to it.
        address: Of its session.
        folder: An empty one.
    """
    journal = Journal(str(folder / "journal.jsonl"))
    root = str(Path(sparktune.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable, str(Path(__file__).with_name("driver_program.py")), address, journal.path]
    with open(folder / "driver.log", "wb") as log:
        process = subprocess.Popen(program, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        journal.wait("ready", timeout=180)
        start = time.monotonic()
        if fault.signal == signal.SIGINT:
            os.killpg(process.pid, fault.signal)  # a terminal sends it to all of the group
        else:
            os.kill(process.pid, fault.signal)
        left = _n_left(journal, is_killed=True)
        seconds = time.monotonic() - start
        process.wait(timeout=120)
    finally:
        process.kill()
        process.wait()
    parts = [*map(_in_words, journal.read("report")), f"{left} processes left"]
    return "; ".join(parts), seconds


def _in_words(report: Mapping[str, Any]) -> str:
    return (
        f"{report['ended']}; trials {', '.join(report['states'])}; "
        f"signal handler {'as before' if report['is_restored'] else 'changed'}; "
        f"other job {' '.join(report['other_job']) or 'failed'}; second fmin {report['second_fmin']}"
    )


def find(name: str) -> Scenario:
    """The scenario of that name."""
    [scenario] = [scenario for scenario in SCENARIOS if scenario.name == name]
    return scenario
