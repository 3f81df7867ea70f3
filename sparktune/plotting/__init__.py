"""Plots of a study with matplotlib: hyperopt's four, and plots of what matters and of several losses.

Each function draws into the Axes given as ``ax``, or into a new figure, and returns what it drew on. Trials that failed
or whose loss is not finite are left out of curves. Nothing is shown where the backend cannot show, or with
``do_show=False``. Colours are of sets that colour-blind people can tell apart.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sparktune.exceptions import InvalidArgumentError
from sparktune.history import documents
from sparktune.history.marks import POINT, standing_of
from sparktune.history.trial import (
    STATUS_FAIL,
    STATUS_NEW,
    STATUS_OK,
    STATUS_RUNNING,
    STATUS_SUSPENDED,
)
from sparktune.plotting.columns import (
    Column,
    all_documents,
    as_line,
    draw_panels,
    finite_trials,
    has_failed,
)
from sparktune.plotting.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PURPLE,
    VERMILLION,
    MatplotlibMissingError,
    axes_or_new,
    shown,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MatplotlibMissingError",
    "default_status_colors",
    "main_plot_1D_attachment",
    "main_plot_histogram",
    "main_plot_history",
    "main_plot_vars",
    "plot_importances",
    "plot_pareto_front",
    "plot_slice",
]

default_status_colors = {
    STATUS_NEW: BLACK,
    STATUS_RUNNING: GREEN,
    STATUS_SUSPENDED: PURPLE,
    STATUS_OK: BLUE,
    STATUS_FAIL: VERMILLION,
}

#: A legend with this many lines hides the plot.
MAX_LEGEND = 10
#: Losses up to here can be added and scaled, with room to spare.
LARGE = 1e300


def main_plot_history(
    trials: Any,
    do_show: bool = True,
    status_colors: Mapping[str, str] | None = None,
    title: str = "Loss History",
    *,
    ax: Axes | None = None,
) -> Axes:
    """The losses in the order of the trials, with the best so far; failed trials are crosses on the lower edge.

    The best so far is that of the study's own trials that meet the constraints, as ``trials.best_loss`` is.

    Args:
        trials: The trials.
        do_show: Whether to show the figure, where that can be done.
        status_colors: Colour by status; None: ``default_status_colors``.
        title: Title of the plot.
        ax: Where to draw; None: a new figure.

    Raises:
        InvalidArgumentError: If no trial has a finite loss.
    """
    colors = {**default_status_colors, **(status_colors or {})}
    rows = list(enumerate(all_documents(trials)))
    positions, losses, found = finite_trials(trials)
    n_constraints = trials.n_constraints
    may_be_best = np.array(
        [
            standing_of(d) == POINT and bool(documents.losses_of(d)) and documents.violation_of(d, n_constraints) <= 0
            for d in found
        ]
    )
    ax = axes_or_new(ax)
    ax.scatter(positions, losses, s=16, color=colors[STATUS_OK], alpha=0.7, linewidths=0, label="trial")
    if may_be_best.any():
        best = np.minimum.accumulate(losses[may_be_best])
        ax.step(positions[may_be_best], best, where="post", color=BLACK, linewidth=1.2, label="best so far")
    failed = [position for position, document in rows if has_failed(document)]
    if failed:
        bottom = np.zeros(len(failed))
        edge = ax.get_xaxis_transform()  # heights are shares of the panel
        ax.scatter(
            failed, bottom, marker="x", s=24, color=colors[STATUS_FAIL], transform=edge, clip_on=False, label="failed"
        )
    ax.set(title=title, xlabel="trial", ylabel="loss")
    ax.legend(fontsize="small", framealpha=0.8)
    return shown(ax, do_show)


def main_plot_histogram(
    trials: Any, do_show: bool = True, title: str = "Loss Histogram", *, ax: Axes | None = None
) -> Axes:
    """How often losses occurred.

    Args:
        trials: The trials.
        do_show: Whether to show the figure, where that can be done.
        title: Title of the plot.
        ax: Where to draw; None: a new figure.

    Raises:
        InvalidArgumentError: If no trial has a finite loss.
    """
    _, losses, _ = finite_trials(trials)
    ax = axes_or_new(ax)
    n_bins = min(50, max(10, math.ceil(math.sqrt(len(losses)))))
    # Near the largest float, widths of bins and of axes are infinite: such losses are drawn in a unit of their own.
    unit = LARGE if np.abs(losses).max() > LARGE else 1.0
    losses = losses / unit
    low, high = float(losses.min()), float(losses.max())
    margin = 0.0
    if high / 2 - low / 2 < n_bins * np.spacing(max(abs(low), abs(high))):  # no room for so many bins
        margin = max(0.5, 1e-3 * max(abs(low), abs(high)))
    ax.hist(losses, bins=n_bins, range=(low - margin, high + margin), color=BLUE, edgecolor="white")
    ax.set(title=title, xlabel="loss" if unit == 1.0 else f"loss / {unit:g}", ylabel=f"trials, of {len(losses)}")
    return shown(ax, do_show)


def main_plot_vars(
    trials: Any,
    do_show: bool = True,
    fontsize: float = 10,
    colorize_best: int | None = None,
    columns: int = 5,
    arrange_by_loss: bool = False,
    *,
    space: Any = None,
    ax: Sequence[Axes] | None = None,
) -> Figure:
    """What was tried of each parameter, in one panel each: its value by trial, or by loss.

    Where the space is known, parameters with a logarithmic distribution have a logarithmic axis, and choices show their
    options.

    Args:
        trials: The trials.
        do_show: Whether to show the figure, where that can be done.
        fontsize: Of titles, in points.
        colorize_best: Mark this many of the best trials; None: shade all trials by the rank of their loss;
            those that violate constraints come last.
        columns: Panels beside one another.
        arrange_by_loss: Whether the horizontal axis is the loss, rather than the trial.
        space: The search space; None: that of the last ``fmin`` with these trials.
        ax: One Axes per parameter, in the order of their labels; None: a new figure.

    Returns:
        The figure.

    Raises:
        InvalidArgumentError: If no trial has a finite loss, or ``ax`` has too few Axes.
    """

    def draw(panel: Axes, parameter: Column) -> Any:
        x = parameter.losses if arrange_by_loss else parameter.positions
        panel.set_title(parameter.label, fontsize=fontsize, parse_math=False)
        panel.set_xlabel("loss" if arrange_by_loss else "trial", fontsize=0.8 * fontsize)
        parameter.scale(panel, "y")
        return parameter.scatter(panel, x, parameter.values, colorize_best)

    return draw_panels(trials, draw, columns, space, ax, do_show, is_shaded=colorize_best is None)


def plot_slice(
    trials: Any,
    do_show: bool = True,
    columns: int = 4,
    *,
    space: Any = None,
    ax: Sequence[Axes] | None = None,
) -> Figure:
    """The loss over the value of each parameter, in one panel each, later trials darker.

    Args and errors are those of :func:`main_plot_vars`.
    """

    def draw(panel: Axes, parameter: Column) -> Any:
        panel.set_xlabel(parameter.label, parse_math=False)
        panel.set_ylabel("loss")
        parameter.scale(panel, "x")
        order = np.argsort(parameter.positions)
        shade = {"c": parameter.positions[order], "cmap": "viridis_r", "alpha": 0.8, "linewidths": 0}
        return panel.scatter(parameter.values[order], parameter.losses[order], s=16, **shade)

    return draw_panels(trials, draw, columns, space, ax, do_show, is_shaded=False)


def main_plot_1D_attachment(  # noqa: N802 - hyperopt's name
    trials: Any,
    attachment_name: str,
    do_show: bool = True,
    colorize_by_loss: bool = True,
    max_darkness: float = 0.5,
    num_trails: int | None = None,
    preprocessing_fn: Callable[[Any], Any] = lambda x: x,
    line_width: float = 0.8,
    *,
    ax: Axes | None = None,
) -> Axes:
    """One line for each trial's attachment of a name, such as a learning curve; a legend if there are fewer than ten.

    Args:
        trials: The trials.
        attachment_name: Name of the attachments: one-dimensional arrays, or pickles of such as bytes. Unpickling can
            run code: plot trials that you trust.
        do_show: Whether to show the figure, where that can be done.
        colorize_by_loss: Whether lines are darker, the lower the trial's loss.
        max_darkness: Darkness of the best line; 0 < max_darkness <= 1.
        num_trails: How many lines to draw, of trials in even steps from the best to the worst; None: all.
        preprocessing_fn: Applied to each attachment.
        line_width: In points.
        ax: Where to draw; None: a new figure.

    Raises:
        InvalidArgumentError: If no trial with a finite loss has such an attachment, one is not one-dimensional, or an
            argument is out of its rule.
    """
    if not 0 < max_darkness <= 1:
        raise InvalidArgumentError(f"max_darkness is above 0, for white, and at most 1, for black, got {max_darkness}")
    if num_trails is not None and num_trails < 1:
        raise InvalidArgumentError(f"num_trails is at least 1, or None for all, got {num_trails}")
    _, losses, found = finite_trials(trials)
    order = [row for row in np.argsort(losses) if attachment_name in trials.trial_attachments(found[row])]
    if not order:
        raise InvalidArgumentError(f"attachment_name is that of an attachment of these trials, got {attachment_name!r}")
    if num_trails is not None:
        order = [order[step] for step in sorted({round(s) for s in np.linspace(0, len(order) - 1, num_trails)})]
    ax = axes_or_new(ax)
    for rank, row in reversed(list(enumerate(order))):  # the best one is drawn over the others
        share = 1 - 0.8 * rank / len(order) if colorize_by_loss else 1.0
        attachment = trials.trial_attachments(found[row])[attachment_name]
        y = as_line(preprocessing_fn(pickle.loads(attachment) if isinstance(attachment, bytes) else attachment))
        label = f"trial {found[row]['tid']}: {losses[row]:.4g}"
        ax.plot(y, color=str(1 - max_darkness * share), linewidth=line_width, label=label)
    ax.set_title(attachment_name, parse_math=False)
    ax.set_xlabel("step")
    if len(order) < MAX_LEGEND:
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(handles[::-1], labels[::-1], fontsize="small", framealpha=0.8)
    return shown(ax, do_show)


def plot_importances(
    trials: Any, space: Any = None, do_show: bool = True, *, ax: Axes | None = None, **options: Any
) -> Axes:
    """How much each parameter mattered, as bars, the most important on top.

    Args:
        trials: The trials.
        space: The search space; None: that of the last ``fmin`` with these trials.
        do_show: Whether to show the figure, where that can be done.
        ax: Where to draw; None: a new figure.
        **options: Of ``trials.importances``: ``top``, ``baseline``, ``objective``.

    Raises:
        InvalidArgumentError: If no space is known, or too few trials have a loss.
    """
    shares = trials.importances(space, **options)
    ax = axes_or_new(ax)
    rows = range(len(shares))
    bars = ax.barh(rows, list(shares.values()), color=BLUE)
    ax.set_yticks(rows, list(shares), parse_math=False)
    ax.bar_label(bars, fmt="%.2f", padding=3, fontsize="small")
    ax.invert_yaxis()
    ax.set(title="Importances", xlabel="share", xlim=(0, 1.12 * max([*shares.values(), 1e-3])))
    return shown(ax, do_show)


def plot_pareto_front(
    trials: Any, do_show: bool = True, objectives: tuple[int, int] = (0, 1), *, ax: Axes | None = None
) -> Axes:
    """Two losses of each trial, with the Pareto front; trials that violate constraints are crosses.

    Args:
        trials: The trials, each with several losses.
        do_show: Whether to show the figure, where that can be done.
        objectives: Which losses.
        ax: Where to draw; None: a new figure.

    Raises:
        InvalidArgumentError: If the trials do not have these losses.
    """
    if len(objectives) != 2 or not all(0 <= number < trials.n_objectives for number in objectives):
        raise InvalidArgumentError(
            f"objectives are the numbers of two of the losses, of which these trials have {trials.n_objectives}, "
            f"got {objectives!r}"
        )
    # Trials of a warm start may have other losses and constraints than the study itself.
    found = [d for d in all_documents(trials) if len(documents.losses_of(d)) == trials.n_objectives]
    n_constraints = trials.n_constraints
    is_feasible = np.array([documents.violation_of(document, n_constraints) <= 0 for document in found])
    points = np.array([[documents.losses_of(document)[number] for number in objectives] for document in found])
    front = trials.front_losses[:, list(objectives)]
    ax = axes_or_new(ax)
    met, violated = points[is_feasible], points[~is_feasible]
    ax.scatter(met[:, 0], met[:, 1], s=16, color=GREY, linewidths=0, label="trial")
    if len(violated):
        ax.scatter(violated[:, 0], violated[:, 1], s=20, marker="x", color=VERMILLION, label="violates constraints")
    front = front[np.argsort(front[:, 0])]
    # With more than two losses the front is a surface, of which two show no line.
    joined: dict[str, Any] = {"drawstyle": "steps-post"} if trials.n_objectives == 2 else {"linestyle": ""}
    ax.plot(front[:, 0], front[:, 1], marker="o", markersize=5, color=BLUE, label="Pareto front", **joined)
    ax.set(title="Pareto front", xlabel=f"loss {objectives[0]}", ylabel=f"loss {objectives[1]}")
    ax.legend(fontsize="small", framealpha=0.8)
    return shown(ax, do_show)
