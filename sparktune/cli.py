"""The command ``sparktune``: look at stored studies."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from sparktune._version import __version__
from sparktune.exceptions import SparktuneError
from sparktune.history.documents import failure_text, losses_of
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
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as ``head``, has seen enough
        with suppress(AttributeError, io.UnsupportedOperation):  # a stdout that somebody put there may have no file
            output = sys.stdout.fileno()
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # for what Python flushes at its end
        return 2
    except SparktuneError as error:
        sys.stderr.write(f"sparktune {options.command}: {error}\n")
        return 2


def _show(options: argparse.Namespace) -> int:
    trials = Trials.load(options.study, trust=options.trust)
    sys.stdout.write(f"{trials.counted()}\n")
    own = [document for document in trials.own_documents() if not is_borrowed(document)]
    if failures := [text for document in own if (text := failure_text(document))]:
        sys.stdout.write(f"ended without a loss: {len(failures)}")
        # With others there, one that failed is no news.
        sys.stdout.write(f"; the first one:\n{failures[0]}\n" if len(failures) == len(own) else "\n")
    if trials.n_objectives > 1:
        for document in trials.pareto_front:
            sys.stdout.write(f"Pareto front: trial {document['tid']}: {losses_of(document)}\n")
    elif trials.best_loss is not None:
        sys.stdout.write(f"best loss: {trials.best_loss}, of trial {trials.best_trial['tid']}\n")
        sys.stdout.write(f"its parameters: {trials.best_params if trials._past.space is not None else trials.argmin}\n")
    return 0


def _replay(options: argparse.Namespace) -> int:
    result = replay(options.study, trust=options.trust)
    sys.stdout.write(f"{result}\n")
    return 0 if result.difference is None else 1
