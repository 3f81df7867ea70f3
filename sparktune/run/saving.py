"""``trials_save_file``: the whole study as one pickle, with what came since then beside it."""

from __future__ import annotations

import logging
import os
import pickle
import secrets
from pathlib import Path
from typing import IO, Any

from sparktune.exceptions import SerializationError
from sparktune.history.documents import Document
from sparktune.history.events import Replica, end_event, new_event
from sparktune.storage.attached import AttachmentIndex
from sparktune.storage.encoding import encode
from sparktune.storage.files import mode_of, remove_left_over, replace_file, sync_folder, temporary_of
from sparktune.storage.lines import events_of, header, to_line

logger = logging.getLogger("sparktune")

#: Up to this many trials the pickle is written anew after each result.
SMALL = 200
#: Beyond that, when the study has grown by this factor: then the cost per trial does not grow with it.
GROWTH = 1.05
#: What is added to the file's name for the results since the pickle was written.
SINCE = ".since"


class SaveFile:
    """The file in which a study is saved after each result.

    It is the pickle of the trials object. For large studies, whose pickle would take longer and longer, it is written
    now and then, and the results since are in a file beside it, a line each; :func:`take_up` puts both together.

    Args:
        trials: What to save.
        path: The file.

    Attributes:
        is_stale: Whether documents have changed that were not noted, as those of cancelled trials.
    """

    def __init__(self, trials: Any, path: str) -> None:
        self._trials = trials
        self._path = path
        self._attached = AttachmentIndex()
        self._n_saved = 0
        self._n_since = 0
        self.is_stale = False

    def note(self, document: Document) -> None:
        """Save the result of a trial, which is safe when this returns.

        Raises:
            SerializationError: If it cannot be pickled.
            OSError: If it cannot be written.
        """
        n = len(self._trials._dynamic_trials)
        if n <= SMALL or n > self._n_saved * GROWTH:
            self.write()
        else:
            self._append(document)

    def finish(self) -> None:
        """Have everything in the pickle. Raises as :meth:`note`."""
        if self._n_since or self.is_stale or not self._n_saved:
            self.write()

    def write(self) -> None:
        """Write the pickle anew. Raises as :meth:`note`."""
        self._trials._save_token = secrets.token_hex(8)
        if not self._n_saved:  # each process that was killed in mid-save has left one
            remove_left_over(_target(self._path))
        save_atomically(self._trials, self._path)
        Path(self._path + SINCE).unlink(missing_ok=True)  # of another pickle from now on, which its token says as well
        self._n_saved, self._n_since, self.is_stale = len(self._trials._dynamic_trials), 0, False

    def _append(self, document: Document) -> None:
        attachments = self._attached.of(self._trials.attachments, self._trials.aname(document, ""))
        events = [new_event(document)]
        if attachments:
            events.append(end_event(document, attachments))
        if not self._n_since:
            events.insert(0, header(token=self._trials._save_token))
        data = b"".join(to_line(encode(event)) for event in events)
        with open(self._path + SINCE, "ab" if self._n_since else "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not self._n_since:
            sync_folder(Path(self._path).parent)
        self._n_since += 1


def take_up(trials: Any, path: str) -> None:
    """Put into ``trials``, which were read from a save file, the results that came after it was written."""
    try:
        data = Path(path + SINCE).read_bytes()
    except FileNotFoundError:
        return
    first, *events = list(events_of(data, path + SINCE, trust=True)) or [{}]  # the pickle itself was trusted
    if first and first["event"] != "study":
        text = "results in %s are left out: its first line, which says whether they are of %s, is damaged"
        logger.warning(text, path + SINCE, path)
    if first.get("token") != getattr(trials, "_save_token", None):
        return
    since = Replica(events)
    position = {document["tid"]: n for n, document in enumerate(trials._dynamic_trials)}
    for tid, document in since.documents.items():
        if tid in position:
            trials._dynamic_trials[position[tid]] = document
        else:
            trials._dynamic_trials.append(document)
        for name, attachment in since.attachments.get(tid, {}).items():
            trials.trial_attachments(document)[name] = attachment


def save_atomically(trials: Any, path: str) -> None:
    """Pickle ``trials`` to ``path`` so that a crash leaves the old file or the new one, never a half."""
    target = _target(path)
    try:  # another process may save at the same time, and so has a temporary file of its own
        replace_file(target, lambda file: _dump(trials, file), temporary_of(target), mode_of(target))
    except OSError as error:
        if error.filename is None:  # of a full disk it says nothing but that
            error.filename = str(target)
        raise


def _target(path: str) -> Path:
    return Path(os.path.realpath(path))  # a link stays a link


def _dump(trials: Any, file: IO[bytes]) -> None:
    import cloudpickle

    try:
        cloudpickle.dump(trials, file)  # results may hold lambdas, or objects of the user's script
    except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
        raise SerializationError(
            f"trials_save_file needs trials that can be pickled, and these cannot ({error}): keep such objects out of "
            "the results and attachments"
        ) from error
