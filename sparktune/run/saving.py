"""``trials_save_file``: the whole study as one pickle, written anew after each result."""

from __future__ import annotations

import os
import pickle
import tempfile
from typing import IO, Any

from sparktune.exceptions import SerializationError


def save_atomically(trials: Any, path: str) -> None:
    """Pickle ``trials`` to ``path`` so that a crash leaves the old file or the new one, never a half."""
    path = os.path.realpath(path)  # a link stays a link
    directory = os.path.dirname(path)
    descriptor, temporary = tempfile.mkstemp(prefix=os.path.basename(path) + ".", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _dump(trials, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, os.stat(path).st_mode if os.path.exists(path) else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _dump(trials: Any, file: IO[bytes]) -> None:
    import cloudpickle

    try:
        cloudpickle.dump(trials, file)  # results may hold lambdas, or objects of the user's script
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise SerializationError(
            f"trials_save_file needs trials that can be pickled, and these cannot ({error}): keep such objects out of "
            "the results and attachments"
        ) from error
