"""What is drawn: trials with their losses, and each parameter's values in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sparktune.exceptions import InvalidArgumentError
from sparktune.history import documents
from sparktune.history.documents import Document
from sparktune.history.trial import JOB_STATE_DONE, JOB_STATE_ERROR
from sparktune.plotting.figures import GREY, VERMILLION, pyplot, show
from sparktune.results import SeveralLossesError
from sparktune.space.compile import Parameter, Space
from sparktune.space.distributions import LogNormal, LogUniform, QLogNormal, QLogUniform
from sparktune.space.graph import dfs
from sparktune.space.nodes import Apply, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOGARITHMIC = (LogUniform, LogNormal, QLogUniform, QLogNormal)
#: Characters of an option's text beside an axis.
MAX_TEXT = 18


def all_documents(trials: Any) -> list[Document]:
    """All trials, failed ones included."""
    found: list[Document] = trials.own_documents()
    return found


def has_failed(document: Document) -> bool:
    """Whether a trial ended without a finite loss."""
    has_loss = math.isfinite(documents.loss_of(document))
    return document["state"] == JOB_STATE_ERROR or (document["state"] == JOB_STATE_DONE and not has_loss)


def finite_trials(trials: Any) -> tuple[NDArray[np.int64], NDArray[np.float64], list[Document]]:
    """Positions, losses and documents of the trials with a finite loss."""
    rows = [(n, documents.loss_of(document), document) for n, document in enumerate(all_documents(trials))]
    finite = [row for row in rows if math.isfinite(row[1])]
    if not finite:
        if trials.n_objectives > 1:
            raise SeveralLossesError
        raise InvalidArgumentError(f"there is nothing to plot: none of the {len(rows)} trials has a finite loss")
    positions, losses, found = zip(*finite, strict=True)
    return np.array(positions), np.array(losses), list(found)


def as_line(values: Any) -> NDArray[Any]:
    """An attachment as one row of numbers.

    Raises:
        InvalidArgumentError: If it has more dimensions.
    """
    line = np.asarray(values).squeeze()
    if line.ndim != 1:
        raise InvalidArgumentError(
            f"an attachment to plot is one-dimensional, got one of shape {np.shape(values)}: pass a preprocessing_fn "
            "that makes it so"
        )
    return line


class Column:
    """One parameter in the trials in which it was active and the loss is finite."""

    def __init__(self, label: str, parameter: Parameter | None, options: list[str] | None, trials: Any) -> None:
        self.label = label
        self.options = options
        positions, losses, found = finite_trials(trials)
        values = [documents.raw_values(document).get(label) for document in found]
        is_active = np.array([value is not None for value in values])
        is_violated = np.array([documents.violation_of(document, trials.n_constraints) > 0 for document in found])
        ranks = np.argsort(np.lexsort((losses, is_violated)))  # stable; those that meet the constraints come first
        self.positions, self.losses, self.ranks = positions[is_active], losses[is_active], ranks[is_active]
        self.values = np.array([float(value) for value in values if value is not None])
        self.n_trials = len(found)
        is_log = parameter is not None and isinstance(parameter.distribution, LOGARITHMIC)
        self.is_log = is_log and bool((self.values > 0).all())

    def scale(self, panel: Axes, axis: str) -> None:
        """Make the parameter's axis logarithmic, or name its options, where that is what it has."""
        if self.is_log:
            panel.set(**{f"{axis}scale": "log"})
        if self.options is not None:
            ticks = range(len(self.options))
            panel.set(**{f"{axis}lim": (-0.5, len(self.options) - 0.5)})
            turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if axis == "x" else {}
            getattr(panel, f"set_{axis}ticks")(ticks, self.options, fontsize="small", parse_math=False, **turned)

    def scatter(self, panel: Axes, x: NDArray[Any], y: NDArray[Any], colorize_best: int | None) -> Any:
        """Points shaded by rank, the best on top, or grey with the best marked."""
        order = np.argsort(-self.ranks)
        x, y, ranks = x[order], y[order], self.ranks[order]
        if colorize_best is None:
            shade = {"c": ranks, "cmap": "cividis", "vmin": 0, "vmax": max(1, self.n_trials - 1)}
            return panel.scatter(x, y, s=14, linewidths=0, **shade)
        is_best = ranks < colorize_best
        panel.scatter(x[~is_best], y[~is_best], s=14, color=GREY, linewidths=0)
        return panel.scatter(x[is_best], y[is_best], s=22, color=VERMILLION, linewidths=0)


def columns_of(trials: Any, space: Any) -> list[Column]:
    """The parameters that the trials have, by label; with options and scales where the space is known."""
    past = getattr(trials, "_past", None)  # which hyperopt's trials do not have
    known = Space.of(space) if space is not None else past and past.space
    parameters = {} if known is None else dict(zip(known.labels, known.parameters, strict=True))
    options = {} if known is None else _options(known)
    labels = sorted({label for document in finite_trials(trials)[2] for label in documents.raw_values(document)})
    return [Column(label, parameters.get(label), options.get(label), trials) for label in labels]


def _options(space: Space) -> dict[str, list[str]]:
    """The texts of the options of each choice by label."""
    found: dict[Apply, list[str]] = {}
    for node in dfs(space.expr):
        if node.name == "switch":
            texts = [_text(option) or str(number) for number, option in enumerate(node.pos_args[1:])]
            found.setdefault(node.pos_args[0], texts)
    return {p.label: found[p.node] for p in space.parameters if p.node in found}


def _text(node: Apply) -> str:
    """What is constant in an option, briefly; empty if nothing is."""
    if isinstance(node, Literal):
        text = getattr(node.obj, "__name__", None) or str(node.obj)
    else:
        parts = [(name, child) for name, child in node.named_args if isinstance(child, Literal)]
        texts = [str(child.obj) for child in node.pos_args if isinstance(child, Literal)]
        text = ", ".join(texts + [f"{name}={child.obj}" for name, child in parts])
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def draw_panels(
    trials: Any,
    draw: Callable[[Axes, Column], Any],
    columns: int,
    space: Any,
    ax: Sequence[Axes] | None,
    do_show: bool,
    is_shaded: bool,
) -> Figure:
    """One panel for each parameter; ``is_shaded`` if the colours stand for ranks, which a bar explains."""
    if columns < 1:
        raise InvalidArgumentError(f"columns is the number of panels beside one another, at least 1, got {columns}")
    found = columns_of(trials, space)
    if ax is None:
        n_columns = min(columns, max(1, len(found)))
        n_rows = max(1, math.ceil(len(found) / n_columns))
        size = (max(4.0, 2.6 * n_columns), max(3.0, 2.3 * n_rows))
        figure, grid = pyplot().subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
        panels = list(grid.ravel())
    else:
        panels = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(panels) < len(found):
            raise InvalidArgumentError(f"ax has one Axes per parameter, here {len(found)}, got {len(panels)}")
        figure = panels[0].figure
    drawn = [draw(panel, column) for panel, column in zip(panels, found, strict=False)]
    for panel in panels[len(found) :]:
        panel.set_visible(False)
    if is_shaded and drawn:
        bar = figure.colorbar(drawn[0], ax=panels, ticks=drawn[0].get_clim(), label="rank of the loss")
        bar.ax.set_yticklabels(["best", "worst"])
    show(do_show)
    result: Figure = figure
    return result
