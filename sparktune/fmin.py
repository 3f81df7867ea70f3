"""``fmin``: minimise a function over a search space; and ``space_eval``."""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial as functools_partial
from typing import Any, TypeVar

from sparktune import auto
from sparktune.exceptions import CHANGE_IMPORTS, BadSearchSpace, InvalidTrial, InvalidTypeError
from sparktune.history import documents
from sparktune.history.trial import JOB_STATE_NEW, JOB_STATE_RUNNING, Outcome
from sparktune.run.arguments import as_max_evals, as_save_file, is_hyperopts
from sparktune.run.domain import Domain, require_own_nodes
from sparktune.run.fminiter import FMinIter
from sparktune.run.points import point_documents, points_left
from sparktune.run.progress import ProgressFactory
from sparktune.run.saving import take_up
from sparktune.run.stopping import EarlyStop
from sparktune.space.annotated import annotated_space
from sparktune.space.compile import Space
from sparktune.space.numbers import is_number
from sparktune.trials import Trials

__all__ = [
    "FMinIter",
    "fmin",
    "fmin_pass_expr_memo_ctrl",
    "generate_trials_to_calculate",
    "partial",
    "space_eval",
]

F = TypeVar("F", bound=Callable[..., Any])


def fmin(
    fn: Callable[..., Any],
    space: Any,
    algo: Any = None,
    max_evals: int | None = None,
    timeout: float | None = None,
    loss_threshold: float | None = None,
    trials: Any = None,
    rstate: Any = None,
    allow_trials_fmin: bool = True,
    pass_expr_memo_ctrl: bool | None = None,
    catch_eval_exceptions: bool = False,
    verbose: bool = True,
    return_argmin: bool = True,
    points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
    max_queue_len: int = 1,
    show_progressbar: bool | ProgressFactory | None = None,
    early_stop_fn: EarlyStop | None = None,
    trials_save_file: str | os.PathLike[str] = "",
    *,
    storage: Any = None,
    callbacks: Iterable[Any] | None = None,
    direction: str | Sequence[str] = "minimize",
    metric: str | Sequence[str] | None = None,
    reproducible: bool | int = False,
    warm_start: Any = None,
) -> Any:
    """The best point found: ``{label: value}``, with ``hp.choice`` as the option's index (see :func:`space_eval`).

    Args:
        fn: The objective. Called with one value of the shape of ``space``; returns the loss, a number, or a dict with
            ``"status": STATUS_OK`` and ``"loss"``, or with ``STATUS_FAIL``; other keys are kept in the trial's result.
            Instead of ``loss``, or beside it, it may give ``losses``, a list of numbers to minimise at once; and with
            either of them ``constraints``, a list of numbers that are <= 0 where a constraint is met.
        space: A nest of dicts, lists, tuples, constants and ``hp`` / ``scope`` nodes. Lists become tuples.
            ``"annotated"``: each argument of ``fn`` has its space as its annotation, and ``fn`` is called with them.
        algo: ``auto.suggest`` (the default), ``tpe.suggest``, ``gp.suggest``, ``rand.suggest``, or any callable of that
            form; give it options with ``partial(tpe.suggest, gamma=0.2)``.
        max_evals: Trials in all, those already in ``trials`` included; None for no limit.
        timeout: Seconds after which no trial is started, and those that run on Spark are cancelled; > 0.
        loss_threshold: The run ends when the best loss, of a trial that meets the constraints, is below this; of a
            metric to be maximised, above.
        trials: Where the documents go: ``Trials()`` (in this process) or ``SparkTrials()``. Given again, with more
            ``max_evals``, the run goes on, also over another space: values that are possible there are used. None: a
            new ``Trials``.
        rstate: Random state: a numpy Generator, an int, a SeedSequence, a RandomState, or None. A run that goes on with
            the same seed goes on with new points.
        allow_trials_fmin: Whether a ``trials`` object with a ``fmin`` of its own is asked to do the run.
        pass_expr_memo_ctrl: Whether to call ``fn(expr=, memo=, ctrl=)`` instead; None: if decorated with
            :func:`fmin_pass_expr_memo_ctrl`.
        catch_eval_exceptions: If the objective raises: False, record the trial as failed and raise; True, record it and
            go on. On Spark a failing trial never ends the run.
        verbose: Whether to show a progress bar where ``show_progressbar`` does not say.
        return_argmin: False: return the value of the space at the best point instead, None if there is none; for
            several losses a list of such values.
        points_to_evaluate: Points ``{label: value}`` to evaluate first, on top of ``max_evals``. Of a choice, the
            option's index, or an option: a number that could be either is the index. A program that is started again,
            with its file or storage, evaluates those of which that has no trial, or only cancelled ones.
        max_queue_len: Proposals asked for at once, at least; on Spark never fewer than there are free slots.
        show_progressbar: True, False, a context manager ``f(initial, total)``, or None for what ``verbose`` says.
        early_stop_fn: ``f(trials, *state) -> (stop, state)``, such as ``early_stop.no_progress_loss(20)``.
        trials_save_file: File to pickle ``trials`` to after each result; read at the start if it exists and ``trials``
            is None. Only open files that you trust: a pickle can run code.
        storage: Where to keep the study while it runs, so that the same program, started again, goes on where it was: a
            path, or a URL, see :meth:`Trials.keep_in`.
        callbacks: Objects with any of the methods ``on_trial_start(trials, trial)``, ``on_trial_end(trials, trial)``
            and ``on_run_end(trials)``, see :class:`~sparktune.run.callbacks.Callback`.
        direction: "minimize" or "maximize". The ``loss`` in a trial's result is what is minimised: of a metric to be
            maximised, its negative; the metric stays beside it (under "value" if it has no name).
        metric: The key of the result dictionary to optimise, if it is not ``loss``; ``status`` may be left out then. A
            list of keys for several losses at once, with a ``direction`` for each, or one for all.
        reproducible: Whether the same ``rstate`` gives the same trials, however long each takes: proposal k then sees
            the results of the trials up to k - p and no others, where p is how many run at a time; a number is that p,
            for the same trials on a machine that runs another number. It costs waiting: a long trial holds up the one
            p after it. A loss threshold or an early stop lets the trials that run end.
        warm_start: Earlier results of another study, to learn from: ``Trials``, a path or URL of a stored study, a CSV
            or Parquet file, a data frame, an Optuna study, what :mod:`sparktune.exchange` makes of others, or a list of
            these. Its space may be another one: values that are possible in this one are used. Those trials are put
            into ``trials``, marked, once; they do not count in ``max_evals``, and none of them is the best one.

    Returns:
        The values of the best trial by label; where constraints are given, of the best that meets them, and if none
        does, of the one that violates them least. With ``losses`` and no ``loss``: a list of such dicts, one for each
        trial of the Pareto front (see :attr:`Trials.pareto_front`), by the first loss; empty if no trial meets the
        constraints.

    Raises:
        AllTrialsFailed: If no trial has a loss, or those that have one are of an earlier space and no points of this
            one; the message shows the first failure with its traceback.
        BadSearchSpace: If the space is not one.
        InvalidArgumentError, InvalidTypeError: If an argument is out of its rule.
        Exception: Whatever the objective raises, unless ``catch_eval_exceptions`` or on Spark.
    """
    as_save_file(trials_save_file)
    goes_on = trials is None and bool(trials_save_file) and os.path.exists(trials_save_file)
    if trials is None:
        trials = _load(trials_save_file) if goes_on else Trials()
    if isinstance(trials, type) or not (hasattr(trials, "fmin") or isinstance(trials, Trials)):
        raise InvalidTypeError(f"trials must be a Trials or SparkTrials object, or None, got {trials!r}: pass Trials()")
    if not isinstance(trials, Trials) and any(map(is_hyperopts, type(trials).__mro__)):
        raise InvalidTypeError(
            f"trials must be sparktune's, got hyperopt's {type(trials).__name__}: {CHANGE_IMPORTS}; its results are "
            "taken over by trials=trials_from_docs(trials.trials), a pickle of it by "
            "trials=compat.load(path), after: from sparktune import compat"
        )
    if storage is not None:
        trials.keep_in(storage)
    if goes_on and points_to_evaluate is not None:
        left = _points_left(points_to_evaluate, fn, space, trials)
        if max_evals is not None:  # those that are in the file came on top of it as well
            max_evals = as_max_evals(max_evals) + len(points_to_evaluate) - len(left)
        points_to_evaluate = left
    run = trials.fmin if allow_trials_fmin and hasattr(trials, "fmin") else functools_partial(Trials.fmin, trials)
    # Only what was given: subclasses that programs made for hyperopt know nothing of these.
    options: dict[str, Any] = {
        "points_to_evaluate": points_to_evaluate,
        "callbacks": callbacks,
        "direction": None if direction == "minimize" else direction,
        "metric": metric,
        "reproducible": None if reproducible is False else reproducible,
        "warm_start": warm_start,
    }
    options = {name: value for name, value in options.items() if value is not None}
    n_unseen = _n_unseen(trials)
    refused = _refused(run, options)
    if others := sorted(refused - {"points_to_evaluate"}):
        raise InvalidTypeError(
            f"{type(trials).__name__}.fmin does not take {', '.join(others)}: leave that out, or give "
            "allow_trials_fmin=False if the method need not be called"
        )
    if refused:
        points = point_documents(options.pop("points_to_evaluate"), Domain(fn, space), trials)
        trials.insert_trial_docs(points)
        n_unseen += len(points)
    if n_unseen:
        trials.refresh()  # from here on they count, also where a subclass calls this function again
        max_evals = None if max_evals is None else as_max_evals(max_evals) + n_unseen
    return run(
        fn,
        space,
        algo=auto.suggest if algo is None else algo,
        max_evals=max_evals,
        timeout=timeout,
        loss_threshold=loss_threshold,
        max_queue_len=max_queue_len,
        rstate=rstate,
        verbose=verbose,
        pass_expr_memo_ctrl=pass_expr_memo_ctrl,
        catch_eval_exceptions=catch_eval_exceptions,
        return_argmin=return_argmin,
        show_progressbar=show_progressbar,
        early_stop_fn=early_stop_fn,
        trials_save_file=trials_save_file,
        **options,
    )


def _points_left(
    points: Sequence[Mapping[str, Any]], fn: Callable[..., Any], space: Any, trials: Any
) -> list[Mapping[str, Any]]:
    if isinstance(space, str) and space == "annotated":
        fn, space = annotated_space(fn)
    return points_left(points, Domain(fn, space), trials)


def _n_unseen(trials: Any) -> int:
    """How many new trials were inserted since the last ``refresh``: as in hyperopt, those are no part of max_evals."""
    if not isinstance(trials, Trials):
        return 0
    return trials.count_by_state_unsynced(JOB_STATE_NEW) - trials.count_by_state_synced(JOB_STATE_NEW)


def _refused(run: Callable[..., Any], options: Mapping[str, Any]) -> set[str]:
    """The options that a ``fmin`` does not take; a subclass of ``Trials`` may have one of hyperopt's form."""
    parameters = inspect.signature(run).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return set() if takes_all else set(options) - set(parameters)


def _load(path: str | os.PathLike[str]) -> Any:
    try:
        with open(path, "rb") as file:
            trials = pickle.load(file)
    except Exception as error:  # bytes that are no pickle may raise anything
        is_hyperopt_missing = isinstance(error, ModuleNotFoundError) and f"{error.name}.".startswith("hyperopt.")
        hint = "begin the program with import sparktune.compat.hyperopt" if is_hyperopt_missing else "remove it"
        raise InvalidTrial(
            f"trials_save_file {os.fspath(path)!r} holds no trials that can be read ({type(error).__name__}: {error}): "
            f"{hint}, or name another"
        ) from error
    if not hasattr(trials, "_dynamic_trials"):
        raise InvalidTrial(
            f"trials_save_file {os.fspath(path)!r} holds a {type(trials).__name__}, not trials: name another file"
        )
    take_up(trials, os.fspath(path))
    for document in trials._dynamic_trials:
        if document["state"] == JOB_STATE_RUNNING:  # in a process that is no more
            documents.finish(document, Outcome())
    trials.refresh()
    return trials


def space_eval(space: Any, hp_assignment: Mapping[str, Any]) -> Any:
    """The value of a space at a point: what the objective was called with.

    Args:
        space: The search space.
        hp_assignment: Value by label, such as ``fmin`` returns; choices by index. Values may be one-element lists, as
            in a document's ``vals``.

    Raises:
        BadSearchSpace: If an active label has no value; the message names it.
        InvalidTypeError: If a value is no number.
    """
    if not isinstance(hp_assignment, Mapping):
        raise InvalidTypeError(f"space_eval takes a dict {{label: value}}, as fmin returns, got {hp_assignment!r}")
    raw = {}
    for label, value in hp_assignment.items():
        if isinstance(value, (list, tuple)):
            if len(value) > 1:
                raise InvalidTypeError(f"space_eval takes one value per label, got {len(value)} for {label!r}")
            if not value:
                continue
            value = value[0]
        raw[label] = value
    compiled = Space(space)
    require_own_nodes(compiled.expr)
    try:
        return compiled.evaluate(raw)
    except (BadSearchSpace, TypeError, ValueError) as error:
        wrong = [label for label in compiled.labels if not (raw.get(label) is None or is_number(raw[label]))]
        if not wrong:
            raise
        raise InvalidTypeError(
            "space_eval takes numbers, of hp.choice the option's index, as fmin returns them, got "
            f"{raw[wrong[0]]!r} for {wrong[0]!r}: trials.best_params and what the objective gets are values already"
        ) from error


def fmin_pass_expr_memo_ctrl(f: F) -> F:
    """Mark an objective as one that is called with ``expr=, memo=, ctrl=``; returns it."""
    f.fmin_pass_expr_memo_ctrl = True  # type: ignore[attr-defined]
    return f


def partial(fn: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
    """``functools.partial`` that keeps the mark of :func:`fmin_pass_expr_memo_ctrl`."""
    result = functools_partial(fn, **kwargs)
    if hasattr(fn, "fmin_pass_expr_memo_ctrl"):
        result.fmin_pass_expr_memo_ctrl = fn.fmin_pass_expr_memo_ctrl  # type: ignore[attr-defined]
    return result


def generate_trials_to_calculate(points: Sequence[Mapping[str, Any]]) -> Trials:
    """A ``Trials`` that holds the points ``{label: value}`` as new trials, to be evaluated first.

    They can be seen after ``refresh``; unless that is called, they come on top of ``max_evals``.

    Raises:
        InvalidTypeError: If ``points`` is no list of dictionaries.
    """
    given: Any = list(points) if isinstance(points, Iterable) else [points]
    if not all(isinstance(point, Mapping) for point in given):
        raise InvalidTypeError(f"generate_trials_to_calculate takes a list of dicts {{label: value}}, got {points!r}")
    docs = [
        documents.new_document(
            tid, None, documents.new_result(), documents.new_misc(tid, dict(point), point), exp_key=None
        )
        for tid, point in enumerate(given)
    ]
    trials = Trials()
    trials.insert_trial_docs(docs)
    return trials
