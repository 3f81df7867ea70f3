"""hyperopt's import path ``utils``: small helpers, of which most are about folders."""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparktune.exceptions import InvalidArgumentError, SparktuneError
from sparktune.history import documents
from sparktune.kernels.sampling import pmin_sampled
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, Literal

__all__ = [
    "TempDirError",
    "coarse_utcnow",
    "fast_isin",
    "get_closest_dir",
    "get_most_recent_inds",
    "import_tokens",
    "json_lookup",
    "path_split_all",
    "pmin_sampled",
    "temp_dir",
    "use_obj_for_literal_in_memo",
    "working_dir",
]


class TempDirError(SparktuneError, RuntimeError):
    """A folder for temporary files cannot be made where asked."""


# -- spaces and numbers -----------------------------------------------------------------------------------------------


def use_obj_for_literal_in_memo(
    expr: Apply, obj: object, lit: Hashable, memo: dict[Apply, object]
) -> dict[Apply, object]:
    """``memo``, with ``obj`` as the value of every literal of ``expr`` that holds the object ``lit``.

    Args:
        expr: The space.
        obj: What the literals are to evaluate to, such as a live ``Ctrl``.
        lit: What they hold, compared by identity.
        memo: Values of nodes, see ``rec_eval``; changed in place.
    """
    memo.update({node: obj for node in dfs(expr) if isinstance(node, Literal) and node.obj is lit})
    return memo


def coarse_utcnow() -> datetime.datetime:
    """The time now in UTC, without a time zone, in whole milliseconds: as in documents."""
    return documents.utcnow()


def fast_isin(X: ArrayLike, Y: ArrayLike) -> NDArray[np.bool_]:
    """Which elements of ``X`` are in ``Y``, shape of ``X``."""
    return np.isin(X, Y)


def get_most_recent_inds(obj: Sequence[Mapping[str, Any]]) -> NDArray[np.intp]:
    """The indices, ascending, of the last document with the highest ``version`` of each ``_id``."""
    latest: dict[Any, int] = {}
    for index, document in enumerate(obj):
        before = latest.get(document["_id"])
        if before is None or document["version"] >= obj[before]["version"]:
            latest[document["_id"]] = index
    return np.array(sorted(latest.values()), dtype=np.intp)


# -- imports by name --------------------------------------------------------------------------------------------------


def import_tokens(tokens: Sequence[str]) -> tuple[Any, list[str]]:
    """The innermost module that a dotted name, split at its dots, starts with, and the names that are left."""
    module = importlib.import_module(tokens[0])
    for n in range(2, len(tokens) + 1):
        try:
            module = importlib.import_module(".".join(tokens[:n]))
        except ModuleNotFoundError:
            return module, list(tokens[n - 1 :])
    return module, []


def json_lookup(json: str) -> Any:
    """The object that a dotted name such as ``"math.sqrt"`` stands for."""
    found, rest = import_tokens(json.split("."))
    for name in rest:
        found = getattr(found, name)
    return found


# -- folders ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def working_dir(dir: str | os.PathLike[str]) -> Iterator[None]:
    """A context in which ``dir`` is the working directory."""
    before = os.getcwd()
    os.chdir(dir)
    try:
        yield
    finally:
        os.chdir(before)


def path_split_all(path: str) -> Iterator[str]:
    """The parts of a path, outermost first; of an absolute one without the root."""
    return iter([part for part in os.path.normpath(path).split(os.sep) if part not in ("", ".")])


def get_closest_dir(workdir: str) -> tuple[str, str]:
    """The innermost folder above ``workdir`` that exists, and the name of the part that would be made in it.

    Raises:
        InvalidArgumentError: If ``workdir`` exists already.
    """
    closest = os.sep if os.path.isabs(workdir) else ""
    for part in path_split_all(workdir):
        path = os.path.join(closest, part)
        if not os.path.isdir(path):
            return closest, part
        closest = path
    raise InvalidArgumentError(f"get_closest_dir takes a folder that is yet to be made, got {workdir!r}")


@contextlib.contextmanager
def temp_dir(dir: str | os.PathLike[str], erase_after: bool = False, with_sentinel: bool = True) -> Iterator[None]:
    """A context in which the folder ``dir`` exists.

    Args:
        dir: The folder; its parents are made as well. It must not lead upwards (``..``), for it may be erased.
        erase_after: Whether to remove at the end what was made, with all that was put there.
        with_sentinel: Whether a file ``<first folder made>.inuse`` stands beside it, for as long as it is in use.

    Raises:
        TempDirError: If the path contains ``..``.
    """
    path = os.fspath(dir)
    if os.pardir in path.split(os.sep):
        raise TempDirError(f"temp_dir makes and erases folders, so it takes no path with '..' in it, got {path!r}")
    if os.path.isdir(path):
        yield  # it was there before, and stays
        return
    closest, made = get_closest_dir(path)
    top = os.path.join(closest, made)
    sentinel = top + ".inuse"
    os.makedirs(path)
    if with_sentinel:
        with open(sentinel, "w", encoding="utf-8"):
            pass
    try:
        yield
    finally:
        if erase_after:
            shutil.rmtree(top, ignore_errors=True)
        if with_sentinel:
            with contextlib.suppress(FileNotFoundError):
                os.remove(sentinel)
