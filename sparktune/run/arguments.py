"""Arguments of ``fmin`` and of ``Trials``, checked and brought into one form."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparktune.exceptions import CHANGE_IMPORTS, InvalidArgumentError, InvalidTypeError
from sparktune.history.documents import as_floats
from sparktune.space.generators import generator_of
from sparktune.space.numbers import is_number


def as_save_file(path: str | os.PathLike[str]) -> str:
    """``path`` as text; an error now, rather than after the first trial, if it cannot be written."""
    if not isinstance(path, (str, os.PathLike)):  # open() would take True for the descriptor of standard output
        raise InvalidTypeError(
            f"trials_save_file is a path, or '' for no file, got {path!r}: write trials_save_file=\"trials.pickle\""
        )
    text = os.fspath(path)
    if text and (os.path.isdir(text) or not os.path.isdir(os.path.dirname(os.path.abspath(text)))):
        raise InvalidArgumentError(f"trials_save_file is a file in a directory that exists, got {text!r}")
    return text


def as_queue_length(max_queue_len: Any) -> int:
    """``max_queue_len`` as an int, at least 1."""
    if not isinstance(max_queue_len, (int, np.integer)) or max_queue_len < 1:
        raise InvalidArgumentError(f"max_queue_len is a whole number of proposals, at least 1, got {max_queue_len!r}")
    return int(max_queue_len)


def as_generator(rstate: Any) -> np.random.Generator:
    """The generator that ``rstate`` stands for: a Generator, an int, a SeedSequence, a RandomState, or None.

    None takes the seed in the environment variable HYPEROPT_FMIN_SEED, else fresh entropy.
    """
    if rstate is None:
        seed = os.environ.get("HYPEROPT_FMIN_SEED", "")
        if seed and not seed.isdecimal():
            raise InvalidArgumentError(f"the environment variable HYPEROPT_FMIN_SEED is a whole number, got {seed!r}")
        return np.random.default_rng(int(seed) if seed else None)
    return generator_of(rstate, "rstate")


def as_max_evals(max_evals: Any) -> int:
    """The number of trials that ``max_evals`` stands for; None is no limit, and infinity, which programs write, too."""
    if max_evals is None or (is_number(max_evals) and max_evals == math.inf):
        return sys.maxsize
    if not is_number(max_evals) or not np.isfinite(max_evals) or int(max_evals) != max_evals:
        raise InvalidTypeError(f"max_evals is a whole number of trials, or None for no limit, got {max_evals!r}")
    if max_evals < 0:
        raise InvalidArgumentError(f"max_evals is the number of trials in all and at least 0, got {max_evals!r}")
    return int(max_evals)


def as_seconds(seconds: Any, name: str) -> float | None:
    """A limit of time; None for no limit.

    Args:
        seconds: A number above 0, or None.
        name: Of the argument, for the error.
    """
    if seconds is None:
        return None
    if not is_number(seconds):
        raise InvalidTypeError(f"{name} is a number of seconds, or None for no limit, got {seconds!r}")
    if not seconds > 0 or not np.isfinite(seconds):
        raise InvalidArgumentError(f"{name} is a number of seconds above 0, or None for no limit, got {seconds!r}")
    return float(seconds)


def as_lag(reproducible: Any, executor: Any) -> int | None:
    """How many trials a reproducible run may have open; None if it need not be reproducible.

    Args:
        reproducible: Of ``fmin``.
        executor: Says how many trials run at a time; None if others run them.
    """
    if reproducible is False or reproducible is None:
        return None
    if not isinstance(reproducible, (bool, int, np.integer)):
        raise InvalidTypeError(f"reproducible is True, False or a number of trials at a time, got {reproducible!r}")
    if executor is None:
        raise InvalidArgumentError("reproducible needs trials that fmin itself runs: use Trials() or SparkTrials()")
    if reproducible is not True and reproducible < 1:
        raise InvalidArgumentError(f"reproducible is a number of trials at a time, at least 1, got {reproducible!r}")
    if reproducible is True and getattr(executor, "slots_interval", None) is not None:
        raise InvalidArgumentError(
            'the number of trials at a time changes with parallelism="auto": say which one counts, reproducible=8'
        )
    return int(executor.slots) if reproducible is True else int(reproducible)


def as_retries(max_retries: Any) -> int:
    """``max_retries`` itself, if it is a number of attempts."""
    if not isinstance(max_retries, int) or isinstance(max_retries, bool):
        raise InvalidTypeError(
            f"max_retries is a whole number of further attempts at a lost trial, got {max_retries!r}"
        )
    if max_retries < 0:
        raise InvalidArgumentError(f"max_retries is 0 (a lost trial has failed) or more, got {max_retries}")
    return max_retries


def as_memory(memory: Any, name: str) -> int | None:
    """A limit of memory in bytes; None for no limit.

    Args:
        memory: Bytes, or a text such as "512m" or "1.5g" (k, m, g and t are powers of 1024), or None.
        name: Of the argument, for the error.
    """
    if memory is None:
        return None
    text = memory.lower() if isinstance(memory, str) else ""
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*)\s*([kmgt]?)i?b?\s*", text)
    if match is not None:
        n_bytes = int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))
    elif is_number(memory) and np.isfinite(memory):
        n_bytes = int(memory)
    else:
        raise InvalidTypeError(f'{name} is a number of bytes, or a text such as "512m" or "2g", got {memory!r}')
    if n_bytes < 1:
        raise InvalidArgumentError(f"{name} is above 0 bytes, or None for no limit, got {memory!r}")
    return n_bytes


def is_hyperopts(thing: Any) -> bool:
    """Whether a class or a function is an installed hyperopt's own, and not ours under hyperopt's name."""
    module = str(getattr(thing, "__module__", ""))
    return module.startswith("hyperopt.") and ".tests" not in module


def require_algo(algo: Any) -> Callable[..., Any]:
    """``algo`` itself if it can be called; an error that says what to write, otherwise."""
    if is_hyperopts(inner := getattr(algo, "func", algo)):  # of a partial
        raise InvalidTypeError(f"algo must be an algorithm of sparktune, got {inner.__module__}'s: {CHANGE_IMPORTS}")
    if callable(algo):
        return algo  # type: ignore[no-any-return]
    hint = f"{algo.__name__}.suggest" if hasattr(algo, "suggest") else "tpe.suggest or rand.suggest"
    raise InvalidTypeError(f"algo must be callable, got {algo!r}: pass {hint}")


def as_reference(reference: Any, n_objectives: int | None) -> NDArray[np.float64]:
    """The reference point of a hypervolume as an array; its length is checked if the number of losses is known."""
    numbers = as_floats(reference)
    if numbers is None:
        raise InvalidTypeError(f"reference is a list of numbers, one per loss, or None, got {reference!r}")
    if not np.isfinite(numbers).all():
        raise InvalidArgumentError(f"reference has finite numbers, got {reference!r}: name the worst loss that matters")
    if n_objectives is not None and len(numbers) != n_objectives:
        raise InvalidArgumentError(
            f"reference has one number per loss, of which these trials have {n_objectives}, got {len(numbers)}: "
            f"{reference!r}"
        )
    return np.asarray(numbers)
