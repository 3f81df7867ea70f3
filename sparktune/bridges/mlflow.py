"""Runs of MLflow as earlier trials for a search, and a study's trials as runs of MLflow.

Needs ``mlflow-skinny`` or ``mlflow``.
"""

from __future__ import annotations

import math
import posixpath
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sparktune.exceptions import InvalidArgumentError, InvalidTypeError, MissingPackageError
from sparktune.exchange.export import table_of, text_params
from sparktune.exchange.source import Row, Source, losses_from
from sparktune.history.documents import Document
from sparktune.run.goal import Goal
from sparktune.space.numbers import is_number

try:
    from mlflow.entities import Metric, Param, Run, RunTag, ViewType
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
except ImportError as error:
    raise MissingPackageError(
        "sparktune.bridges.mlflow needs MLflow, which is not installed: pip install 'sparktune[mlflow]'"
    ) from error

__all__ = ["log", "runs"]

PARENT = "mlflow.parentRunId"
#: Runs asked for at a time.
PAGE = 1000
#: Characters that names of parameters and metrics may not have.
ODD = re.compile(r"[^\w\-. :/]")
#: The longest that names may be.
MAX_NAME = 250
#: Before a name in a tag with the label of the parameter, where the name is another one.
LABEL = "sparktune.label."
ENDINGS = {"done": "FINISHED", "error": "FAILED", "cancelled": "KILLED"}


# -- from MLflow ------------------------------------------------------------------------------------------------------


def runs(
    experiment: str | None = None,
    *,
    run_id: str | None = None,
    metric: str | Sequence[str] = "loss",
    direction: str | Sequence[str] = "minimize",
    params: Mapping[str, str] | None = None,
    tracking_uri: str | None = None,
) -> Source:
    """The runs of an experiment, or of a parent run, as earlier trials for ``warm_start=``.

    A run that has nested runs is a parent, and no trial itself. Runs that failed, and those without the metric, are
    failed trials; those that still run, or were killed, are left out. Parameters, which are text in MLflow, are read as
    the search space has them.

    Args:
        experiment: Its name or id.
        run_id: Of the parent run, in place of an experiment: its nested runs, or itself if it has none.
        metric: Of the loss; a list for several.
        direction: "minimize" or "maximize", or one of these for each metric.
        params: Names in MLflow by label, where they differ.
        tracking_uri: Of the server or store; None: MLflow's own setting.

    Raises:
        InvalidArgumentError: If there is no such experiment or run, or no run has the metric.
    """
    client = MlflowClient(tracking_uri)
    name, found = _runs(client, experiment, run_id)
    names = [metric] if isinstance(metric, str) else list(metric)
    goal = Goal.of(direction, names)
    parents = {run.data.tags.get(PARENT) for run in found}
    leaves = [run for run in found if run.info.run_id not in parents]
    ended = [run for run in leaves if run.info.status in ("FINISHED", "FAILED")]
    if ended and not any(set(names) <= run.data.metrics.keys() for run in ended):
        known = sorted({key for run in ended for key in run.data.metrics})
        raise InvalidArgumentError(f"metric names the loss in the runs, got {metric!r} for {name}, which has {known}")
    rows = [_row(run, names, goal.signs, params or {}) for run in reversed(ended)]  # the newest come first
    n_open = len(leaves) - len(ended)
    # What we log as "loss" is to be low whatever it was made of.
    is_ours = names == ["loss"] and goal.signs == (1.0,)
    return Source(name, rows, choices="either", is_text=True, n_open=n_open, goal=None if is_ours else goal)


def _number(key: str) -> int:
    return int(key.rsplit("_", 1)[1])


def _row(run: Run, names: Sequence[str], signs: Sequence[float], params: Mapping[str, str]) -> Row:
    metrics = {name: _infinite(number) for name, number in run.data.metrics.items()}
    values = {label: run.data.params[key] for label, key in params.items() if key in run.data.params}
    taken = set(params.values())
    tags = run.data.tags
    values = {tags.get(LABEL + key, key): value for key, value in run.data.params.items() if key not in taken} | values
    constraints = sorted((key for key in metrics if re.fullmatch(r"constraint_\d+", key)), key=_number)
    is_ok = run.info.status == "FINISHED"
    return Row(
        run.info.run_id,
        values,
        losses_from([metrics.get(name) for name in names], signs) if is_ok else (),
        tuple(metrics[key] for key in constraints) if is_ok else (),
    )


def _infinite(number: float) -> float:
    """A metric as it was logged: databases of MLflow keep an infinite one as the largest float."""
    return math.copysign(math.inf, number) if abs(number) == sys.float_info.max else number


def _runs(client: MlflowClient, experiment: str | None, run_id: str | None) -> tuple[str, list[Run]]:
    """What to call the runs, and the runs."""
    if (experiment is None) == (run_id is None):
        raise InvalidArgumentError(
            f"runs takes an experiment or a parent run, one of them, got experiment={experiment!r}, run_id={run_id!r}"
        )
    if experiment is not None:
        return f"MLflow experiment {experiment}", _search(client, _experiment_id(client, str(experiment)), "")
    assert run_id is not None
    try:
        parent = client.get_run(run_id)
    except MlflowException as error:
        raise InvalidArgumentError(f"run_id is the id of an MLflow run, got {run_id!r}: {error}") from error
    return f"MLflow run {run_id}", _below(client, parent)


def _below(client: MlflowClient, run: Run) -> list[Run]:
    """The runs nested in a run, at any depth, and the run."""
    quoted = f"tags.`{PARENT}` = '{run.info.run_id}'"
    children = _search(client, run.info.experiment_id, quoted)
    return [*(below for child in children for below in _below(client, child)), run]


def _search(client: MlflowClient, experiment_id: str, condition: str) -> list[Run]:
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, ViewType.ACTIVE_ONLY, PAGE, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _experiment_id(client: MlflowClient, experiment: str) -> str:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        try:
            found = client.get_experiment(experiment)
        except MlflowException as error:
            raise InvalidArgumentError(
                f"experiment is the name or the id of an MLflow experiment, got {experiment!r}, which is neither: "
                "look at tracking_uri"
            ) from error
    return str(found.experiment_id)


# -- to MLflow --------------------------------------------------------------------------------------------------------


def log(
    trials: Any,
    space: Any = None,
    *,
    experiment: str | None = None,
    run_name: str | None = None,
    tracking_uri: str | None = None,
) -> str:
    """Log trials as runs nested in a new parent run; returns the id of that.

    Each has its active parameters, ``loss`` (``loss_0``, ... for several), ``constraint_0``, ... and the numbers of its
    result as metrics, and the tags ``sparktune.tid``, ``sparktune.state`` and, if it failed, ``sparktune.error``.
    Characters that MLflow does not allow in names become ``_``, and so does the ``/`` of ``a/b`` beside ``a``;
    :func:`runs` reads the labels as they were, unless they cannot be written as UTF-8: then say so with its ``params``.

    Args:
        trials: A ``Trials`` object.
        space: Its search space, by which choices are logged as options; None: that of its last ``fmin``.
        experiment: Name of the experiment, which is made if there is none; None: "Default".
        run_name: Of the parent run.
        tracking_uri: Of the server or store; None: MLflow's own setting.

    Raises:
        InvalidTypeError: If ``trials`` is no such object.
    """
    if not hasattr(trials, "own_documents"):
        raise InvalidTypeError(f"log takes a Trials object, got {trials!r}: of a Study pass study.trials")
    client = MlflowClient(tracking_uri)
    name = experiment or "Default"
    known = client.get_experiment_by_name(name)
    experiment_id = client.create_experiment(name) if known is None else known.experiment_id
    spaces = trials._spaces(space)
    found: list[Document] = trials.own_documents()
    parent = client.create_run(experiment_id, run_name=run_name)
    parent_id = str(parent.info.run_id)
    for row, params in zip(table_of(found, spaces).rows, text_params(found, spaces), strict=True):
        _log_trial(client, experiment_id, parent_id, row, params)
    client.set_terminated(parent_id)
    return parent_id


def _log_trial(
    client: MlflowClient, experiment_id: str, parent_id: str, row: Mapping[str, Any], params: Mapping[str, str]
) -> None:
    start, end = _milliseconds(row.get("start")), _milliseconds(row.get("end"))
    run = client.create_run(experiment_id, start, {PARENT: parent_id}, run_name=f"trial {row['tid']}")
    run_id = run.info.run_id
    numbers = {
        key: float(value)
        for key, value in row.items()
        if is_number(value) and not key.startswith("params_") and key != "tid"
    }
    metric_names, param_names = _names(numbers), _names(params)
    tags = {"tid": row["tid"], "state": row["state"], "status": row["status"]}
    tags |= {key: row[key] for key in ("error", "source") if row.get(key) is not None}
    client.log_batch(
        run_id,
        metrics=[Metric(metric_names[key], value, end or start or 0, 0) for key, value in numbers.items()],
        params=[Param(param_names[label], text) for label, text in params.items()],
        tags=[
            *(RunTag(f"sparktune.{key}", str(value)) for key, value in tags.items()),
            *(RunTag(LABEL + name, label) for label, name in param_names.items() if name != label and _is_utf8(label)),
        ],
    )
    is_failed = row["state"] == "done" and row["status"] != "ok"
    ending = "FAILED" if is_failed else ENDINGS.get(row["state"])
    if ending is not None:
        client.set_terminated(run_id, ending, end)


def _names(keys: Collection[str]) -> dict[str, str]:
    """A name for each key that MLflow allows, the key itself where that is one.

    All are different, and none is the path of a folder that another is in: some stores make files of them.
    """
    names: dict[str, str] = {}
    for key in sorted(filter(_is_name, keys), key=len):  # "a" before "a/b"
        if not _is_below(key, names):
            names[key] = key
    taken = set(names.values())
    folders = {folder for name in taken for folder in _folders(name)}
    for key in keys:
        if key in names:
            continue
        stem = ODD.sub("_", key)
        if not _is_path(stem):
            stem = re.sub(r"[./]", "_", stem) or "_"
        stem = stem[: MAX_NAME - len(LABEL) - 10].rstrip("./")  # room for a number, and to be a part of a tag's name
        if _is_below(stem, taken):
            stem = stem.replace("/", "_")
        endings = ("", *(f"_{number}" for number in range(2, len(taken | folders) + 3)))
        names[key] = next(stem + ending for ending in endings if stem + ending not in taken | folders)
        taken.add(names[key])
        folders.update(_folders(names[key]))
    return names


def _folders(name: str) -> list[str]:
    """The folders that a path is in: ``a`` and ``a/b`` of ``a/b/c``."""
    return [name[: slash.start()] for slash in re.finditer("/", name)]


def _is_below(name: str, taken: Collection[str]) -> bool:
    return any(folder in taken for folder in _folders(name))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _is_name(key: str) -> bool:
    return len(key) <= MAX_NAME and not ODD.search(key) and _is_path(key)


def _is_path(name: str) -> bool:
    """Whether a name is the path of a file in a folder of MLflow's, and of no other."""
    return name == posixpath.normpath(name) and not name.startswith(("/", "..")) and name != "."


def _milliseconds(moment: Any) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
