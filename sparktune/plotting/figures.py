"""Figures and colours: the only place that imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparktune.exceptions import MissingPackageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# From the palette of Okabe and Ito, which is safe for the common kinds of colour blindness.
BLUE, VERMILLION, GREEN, PURPLE, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#B0B0B0"
#: Backends that write files only.
FILE_BACKENDS = {"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"}


class MatplotlibMissingError(MissingPackageError):
    """matplotlib is not installed."""


def pyplot() -> Any:
    """The module ``matplotlib.pyplot``.

    Raises:
        MatplotlibMissingError: If it cannot be imported.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MatplotlibMissingError(
            f"plots need matplotlib, which cannot be imported ({error}): pip install 'sparktune[plot]'"
        ) from error
    return plt


def axes_or_new(ax: Axes | None) -> Any:
    """The Axes given, or those of a new figure."""
    return pyplot().subplots(layout="constrained")[1] if ax is None else ax


def shown(ax: Axes, do_show: bool) -> Axes:
    """The Axes given, after :func:`show`."""
    show(do_show)
    return ax


def show(do_show: bool) -> None:
    """Show what was drawn, if that is wanted and the backend can."""
    if do_show:
        plt = pyplot()
        if plt.get_backend().lower() not in FILE_BACKENDS:
            plt.show()
