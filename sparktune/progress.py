"""hyperopt's import path ``progress``: context managers that show how far a run has come."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sparktune.run import progress
from sparktune.run.progress import Progress, no_progress_callback
from sparktune.std_out_err_redirect_tqdm import std_out_err_redirect_tqdm

__all__ = ["default_callback", "no_progress_callback", "tqdm_progress_callback"]


@contextlib.contextmanager
def tqdm_progress_callback(initial: int, total: int | None) -> Iterator[Progress]:
    """A tqdm bar with the best loss as its postfix; what is printed meanwhile goes above it."""
    with progress.tqdm_progress_callback(initial, total) as bar, std_out_err_redirect_tqdm():
        yield bar


default_callback = tqdm_progress_callback
