"""The command ``sparktune``: look at stored studies."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from sparktune._version import __version__
from sparktune.exceptions import SparktuneError
from sparktune.history.documents import failure_text, losses_of, violation_of
from sparktune.history.marks import is_borrowed
from sparktune.replay import replay
from sparktune.trials import Trials


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 if a replay differs, 2 if something cannot be done."""
    parser = argparse.ArgumentParser(prog="sparktune", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="say how far a study is and what its best trial is")
    again = commands.add_parser("replay", help="make each proposal again, and name the first that differs")
    for command in (show, again):
        command.add_argument("study", help="the path or URL of its storage")
        command.add_argument("--trust", action="store_true", help="open pickles in it, which can run code of their own")
    options = parser.parse_args(arguments)
    try:
        code = _show(options) if options.command == "show" else _replay(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as ``head``, has seen enough
        _drop_output()
        return 2
    except (SparktuneError, OSError) as error:  # an OSError also of the output, such as a full disk
        text = str(error)
        if "--trust" not in text:
            text = text.replace("trust=True", "trust=True (--trust in a shell)")
        with suppress(AttributeError, OSError):  # None, if it was closed: the exit code says it too
            sys.stderr.write(f"sparktune {options.command}: {text}\n")
        try:
            sys.stdout.flush()
        except (AttributeError, OSError):
            _drop_output()
        return 2


def _show(options: argparse.Namespace) -> int:
    trials = Trials.load(options.study, trust=options.trust)
    _say(f"{trials.counted()}\n")
    own = [document for document in trials.own_documents() if not is_borrowed(document)]
    if failures := [text for document in own if (text := failure_text(document))]:
        _say(f"ended without a loss: {len(failures)}")
        # With others there, one that failed is no news.
        _say(f"; the first one:\n{failures[0]}\n" if len(failures) == len(own) else "\n")
    if trials.n_objectives > 1:
        for document in trials.pareto_front:
            _say(f"Pareto front: trial {document['tid']}: {losses_of(document)}\n")
    elif trials.best_loss is not None:
        _say(f"best loss: {trials.best_loss}, of trial {trials.best_trial['tid']}\n")
        _say(f"its parameters: {_best_point(trials)}\n")
    with_loss = [document for document in own if losses_of(document)]
    if with_loss and all(violation_of(document, trials.n_constraints) > 0 for document in with_loss):
        _say("no trial meets the constraints\n")
    return 0


def _best_point(trials: Trials) -> Any:
    """What the objective was called with at the best trial, or its values by label where the space cannot say."""
    if trials._past.space is None:
        return trials.argmin
    try:
        return trials.best_params
    except SparktuneError:  # the space calls a function that only the study's own program registers
        return trials.argmin


def _replay(options: argparse.Namespace) -> int:
    result = replay(options.study, trust=options.trust)
    _say(f"{result}\n")
    return 0 if result.difference is None else 1


def _say(text: str) -> None:
    """Write to stdout, escaped where its encoding lacks a character; nowhere if it was closed, as ``print`` does."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _drop_output() -> None:
    """Give up what is not yet written, which Python would flush at its end, with an exit code of its own."""
    with suppress(AttributeError, io.UnsupportedOperation):  # a stdout that somebody put there may have no file
        output = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
