"""Plots: what is drawn, read back from the Axes."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first

from sparktune import STATUS_FAIL, STATUS_OK, Study, Trials, fmin, hp, plotting, rand  # noqa: E402
from sparktune.exceptions import InvalidArgumentError  # noqa: E402

SPACE = {
    "rate": hp.loguniform("rate", -5, 0),
    "model": hp.choice("model", ["linear", {"kind": "tree", "depth": hp.uniformint("depth", 1, 5)}]),
}
PANELS = ["depth", "model", "rate"]
LARGEST = float(np.finfo(float).max)


def objective(point):
    if point["rate"] > 0.5:
        return {"status": STATUS_FAIL}
    loss = math.nan if point["rate"] < 0.01 else math.log(point["rate"]) ** 2
    curve = np.linspace(loss + 1, loss, 20)
    return {"status": STATUS_OK, "loss": loss, "attachments": {"curve": curve, "bytes": pickle.dumps(curve)}}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trials():
    """A study with good trials, failed ones, and ones whose loss is NaN."""
    trials = Trials()
    fmin(objective, SPACE, rand.suggest, 60, trials=trials, rstate=0, verbose=False)
    return trials


@pytest.fixture
def finite(trials):
    """Positions and losses of the trials that have one."""
    losses = [(n, loss) for n, loss in enumerate(trials.losses()) if loss is not None and math.isfinite(loss)]
    assert 10 < len(losses) < 60
    return np.array(losses)


def points(collection):
    return np.asarray(collection.get_offsets())


def texts(labels):
    return [label.get_text() for label in labels]


def test_history_shows_each_finite_loss_and_the_best_so_far(trials, finite):
    """Points are (trial, loss), the line is their running minimum, and the other trials are crosses."""
    ax = plotting.main_plot_history(trials, do_show=False, title="a title")
    good, failed = ax.collections
    np.testing.assert_array_equal(points(good), finite)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.minimum.accumulate(finite[:, 1]))
    assert sorted([*points(failed)[:, 0], *finite[:, 0]]) == list(range(60))
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("a title", "trial", "loss")


def test_history_takes_colours_by_status(trials):
    """A colour given for a status replaces the default one, and the other statuses keep theirs."""
    good, failed = plotting.main_plot_history(trials, do_show=False, status_colors={"ok": "black"}).collections
    assert matplotlib.colors.same_color(good.get_facecolor()[0, :3], "black")
    assert matplotlib.colors.same_color(failed.get_edgecolor()[0, :3], plotting.default_status_colors["fail"])


def test_the_best_so_far_is_one_that_counts():
    """Trials that violate constraints, and those of a warm start, are in the plot and are not the best so far."""
    x, earlier, trials = hp.uniform("x", -1, 1), Trials(), Trials()
    fmin(lambda x: -9.0, x, rand.suggest, 3, trials=earlier, rstate=0, verbose=False)
    options = {"trials": trials, "rstate": 1, "verbose": False, "warm_start": earlier}
    fmin(lambda x: {"status": STATUS_OK, "loss": x, "constraints": [-x]}, x, rand.suggest, 20, **options)
    ax = plotting.main_plot_history(trials, do_show=False)
    assert len(points(ax.collections[0])) == 23
    assert ax.lines[0].get_ydata()[-1] == trials.best_loss > 0
    figure = plotting.main_plot_vars(trials, do_show=False, colorize_best=1)
    ((position, value),) = points(figure.axes[0].collections[1])
    assert (position, value) == (trials.best_trial["tid"], trials.argmin["x"])


def test_no_trial_that_counts_is_the_best():
    """Where all trials violate constraints there is no best so far."""
    trials = Trials()
    violating = {"status": STATUS_OK, "loss": 1.0, "constraints": [1.0]}
    fmin(lambda x: violating, hp.uniform("x", -1, 1), rand.suggest, 3, trials=trials, verbose=False)
    assert not plotting.main_plot_history(trials, do_show=False).lines


def test_a_trial_without_one_of_its_losses_is_not_the_best_so_far():
    """Where one of several losses is NaN, the trial's one loss does not make it the best, as in best_loss."""
    study = Study(hp.uniform("x", 0, 1))
    for loss, losses in [(1.0, [1.0, 2.0]), (0.0, [math.nan, 1.0])]:
        study.tell(study.ask(), {"status": STATUS_OK, "loss": loss, "losses": losses})
    ax = plotting.main_plot_history(study.trials, do_show=False)
    assert ax.lines[0].get_ydata().tolist() == [study.trials.best_loss] == [1.0]


@pytest.mark.parametrize("losses", [[1e20] * 12, [0.93, np.nextafter(0.93, 1)] * 6, [5e-324, 0.0]])
def test_losses_that_are_nearly_the_same_have_a_histogram(losses):
    """Losses between which there is no room for bins are counted all the same."""
    study = Study(hp.uniform("x", 0, 1))
    for loss in losses:
        study.tell(study.ask(), loss)
    ax = plotting.main_plot_histogram(study.trials, do_show=False)
    assert sum(bar.get_height() for bar in ax.patches) == len(losses)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "losses", [[LARGEST] * 3, [-LARGEST], [1e308, -1e308], [LARGEST, -LARGEST], [LARGEST, 0.0, 5.0]]
)
def test_losses_near_the_largest_float_have_a_histogram(losses):
    """Losses whose spread, or margin, no float can hold are drawn in another unit, which the axis says."""
    study = Study(hp.uniform("x", 0, 1))
    for loss in losses:
        study.tell(study.ask(), loss)
    ax = plotting.main_plot_histogram(study.trials, do_show=False)
    ax.figure.canvas.draw()
    assert sum(bar.get_height() for bar in ax.patches) == len(losses)
    low, high = ax.get_xlim()
    assert low < min(losses) / 1e300 <= max(losses) / 1e300 < high
    assert ax.get_xlabel() == "loss / 1e+300"


def test_text_is_no_formula():
    """Dollars in labels and options are drawn as they are."""
    space = {"a": hp.uniform("$\\rate$", 0, 1), "b": hp.choice("$\\b$", ["$5", "$6 or $7\\$"])}
    trials = Trials()
    fmin(lambda point: point["a"], space, rand.suggest, 12, trials=trials, rstate=0, verbose=False)
    for plot in (plotting.main_plot_vars, plotting.plot_slice):
        plot(trials, do_show=False).canvas.draw()
    plotting.plot_importances(trials, do_show=False).figure.canvas.draw()


def test_histogram_counts_every_finite_loss(trials, finite):
    """The heights of the bars sum to the number of finite losses."""
    ax = plotting.main_plot_histogram(trials, do_show=False)
    assert sum(bar.get_height() for bar in ax.patches) == len(finite)


def test_vars_has_a_panel_for_each_parameter(trials, finite):
    """Panels are in the order of the labels, and each shows its parameter's values where it was active."""
    figure = plotting.main_plot_vars(trials, do_show=False)
    panels = figure.axes[: len(PANELS)]
    assert [panel.get_title() for panel in panels] == PANELS
    shown = {panel.get_title(): len(points(panel.collections[0])) for panel in panels}
    n_trees = sum(trials.trials[int(n)]["misc"]["vals"]["model"] == [1] for n in finite[:, 0])
    assert shown == {"rate": len(finite), "model": len(finite), "depth": n_trees}


def test_vars_reads_scales_and_options_from_the_space(trials):
    """A logarithmic parameter has a logarithmic axis, and a choice the constants of its options."""
    _, model, rate, _ = plotting.main_plot_vars(trials, do_show=False).axes
    assert rate.get_yscale() == "log"
    assert model.get_yscale() == "linear"
    assert texts(model.get_yticklabels()) == ["linear", "kind=tree"]


def test_vars_works_without_a_space(trials):
    """Trials that were pickled know no space: axes are linear, choices are numbers, and a space can be given."""
    loaded = pickle.loads(pickle.dumps(trials))
    assert plotting.main_plot_vars(loaded, do_show=False).axes[2].get_yscale() == "linear"
    assert plotting.main_plot_vars(loaded, do_show=False, space=SPACE).axes[2].get_yscale() == "log"


def test_vars_marks_the_best(trials, finite):
    """With colorize_best=3 the three lowest losses are in a collection of their own."""
    figure = plotting.main_plot_vars(trials, False, colorize_best=3, arrange_by_loss=True)
    others, best = figure.axes[2].collections
    assert sorted(points(best)[:, 0]) == sorted(finite[:, 1])[:3]
    assert len(points(others)) == len(finite) - 3


@pytest.mark.parametrize(("columns", "shape"), [(1, (3, 1)), (2, (2, 2)), (5, (1, 3))])
def test_vars_puts_panels_into_columns(trials, columns, shape):
    """There are at most so many panels beside one another, and cells that are left over are hidden."""
    figure = plotting.main_plot_vars(trials, do_show=False, columns=columns)
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]
    grid = panels[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == shape
    assert [ax.get_visible() for ax in panels[: shape[0] * shape[1]]].count(True) == 3


def test_plots_draw_into_given_axes(trials):
    """With ax given, the result is there, and no new figure is made."""
    figure, axes = plt.subplots(1, 3)
    before = plt.get_fignums()
    assert plotting.main_plot_history(trials, do_show=False, ax=axes[0]) is axes[0]
    assert plotting.main_plot_histogram(trials, do_show=False, ax=axes[1]) is axes[1]
    assert plotting.main_plot_1D_attachment(trials, "curve", do_show=False, ax=axes[2]) is axes[2]
    assert plotting.plot_importances(trials, do_show=False, ax=axes[0]) is axes[0]
    assert plotting.main_plot_vars(trials, do_show=False, ax=axes) is figure
    assert plt.get_fignums() == before


def test_too_few_axes_are_an_error(trials):
    """The message says how many parameters there are."""
    with pytest.raises(InvalidArgumentError, match="one Axes per parameter, here 3, got 1"):
        plotting.main_plot_vars(trials, do_show=False, ax=[plt.subplots()[1]])


@pytest.mark.parametrize("name", ["curve", "bytes"])
def test_attachments_are_lines(trials, finite, name):
    """Arrays, and pickles of arrays, are a line for each trial with a finite loss."""
    ax = plotting.main_plot_1D_attachment(trials, name, do_show=False)
    assert len(ax.lines) == len(finite)
    assert sorted(line.get_ydata()[-1] for line in ax.lines) == pytest.approx(sorted(finite[:, 1]))
    assert ax.get_legend() is None


def test_some_attachments_are_spread_over_the_losses(trials, finite):
    """Of num_trails lines the first is the best trial and the last the worst; few lines have a legend."""
    ax = plotting.main_plot_1D_attachment(trials, "curve", do_show=False, num_trails=4, preprocessing_fn=np.negative)
    shown = sorted(-line.get_ydata()[-1] for line in ax.lines)
    assert len(shown) == 4
    assert (shown[0], shown[-1]) == pytest.approx((finite[:, 1].min(), finite[:, 1].max()))
    assert len(ax.get_legend().get_texts()) == 4


def test_better_lines_are_darker(trials):
    """Darkness grows to max_darkness as the loss falls; without colorize_by_loss all are as dark."""
    lines = plotting.main_plot_1D_attachment(trials, "curve", do_show=False, max_darkness=0.9, num_trails=5).lines
    shades = [float(line.get_color()) for line in sorted(lines, key=lambda line: line.get_ydata()[-1])]
    assert shades == sorted(shades)
    assert shades[0] == pytest.approx(0.1)
    lines = plotting.main_plot_1D_attachment(trials, "curve", do_show=False, colorize_by_loss=False).lines
    assert {line.get_color() for line in lines} == {"0.5"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attachment_name": "nothing"}, "of an attachment of these trials, got 'nothing'"),
        ({"num_trails": 0}, "num_trails is at least 1"),
        ({"max_darkness": 2}, "max_darkness is above 0"),
        ({"preprocessing_fn": lambda x: np.ones((2, 3))}, r"one-dimensional, got one of shape \(2, 3\)"),
    ],
)
def test_attachments_that_cannot_be_drawn_are_an_error(trials, options, message):
    """The message says the rule and what was given."""
    with pytest.raises(InvalidArgumentError, match=message):
        plotting.main_plot_1D_attachment(trials, do_show=False, **{"attachment_name": "curve", **options})


@pytest.mark.parametrize(
    "plot", [plotting.main_plot_history, plotting.main_plot_histogram, plotting.main_plot_vars, plotting.plot_slice]
)
def test_nothing_to_plot_is_an_error(plot):
    """Without a finite loss there is a message rather than an empty plot."""
    with pytest.raises(InvalidArgumentError, match="none of the 0 trials has a finite loss"):
        plot(Trials(), do_show=False)


def test_slice_shows_the_loss_over_each_parameter(trials, finite):
    """Points are (value, loss), on the parameter's scale."""
    panels = plotting.plot_slice(trials, do_show=False).axes
    assert [panel.get_xlabel() for panel in panels if panel.get_visible()] == PANELS
    rates = [trials.trials[int(n)]["misc"]["vals"]["rate"][0] for n in finite[:, 0]]
    np.testing.assert_array_equal(points(panels[2].collections[0]), np.column_stack([rates, finite[:, 1]]))
    assert panels[2].get_xscale() == "log"


def test_importances_are_bars(trials):
    """Bars have the shares, the most important first."""
    shares = trials.importances()
    ax = plotting.plot_importances(trials, do_show=False)
    assert [bar.get_width() for bar in ax.patches] == list(shares.values())
    assert texts(ax.get_yticklabels()) == list(shares)


def test_a_space_without_parameters_has_no_bars():
    """Where nothing was searched the plot is empty."""
    trials = Trials()
    fmin(lambda point: 1.0, {"a": 1}, rand.suggest, 12, trials=trials, verbose=False)
    assert not plotting.plot_importances(trials, do_show=False).patches


def test_pareto_front_is_marked():
    """The front is a line through its losses, and trials that violate constraints are apart."""

    def two_losses(x):
        return {"status": STATUS_OK, "losses": [x**2, (x - 1) ** 2], "constraints": [0.2 - x]}

    trials = Trials()
    fmin(two_losses, hp.uniform("x", -1, 2), rand.suggest, 40, trials=trials, rstate=0, verbose=False)
    ax = plotting.plot_pareto_front(trials, do_show=False)
    met, violated = (points(collection) for collection in ax.collections)
    assert len(met) + len(violated) == 40
    assert (np.sqrt(met[:, 0]) >= 0.2).all()
    np.testing.assert_array_equal(np.column_stack(ax.lines[0].get_data()), trials.front_losses)


def test_earlier_trials_of_another_kind_are_not_in_the_plot():
    """Of a warm start with one loss nothing is drawn, and constraints that the study does not have rule none out."""
    space = hp.uniform("x", -1, 2)
    results = iter([{"loss": 1.0}] * 5 + [{"losses": [0.1, 0.9], "constraints": [1.0]}] * 5)
    first, second = Trials(), Trials()
    for source in (first, second):
        fmin(
            lambda _: {"status": STATUS_OK, **next(results)},
            space,
            rand.suggest,
            5,
            trials=source,
            rstate=0,
            verbose=False,
        )
    for source, n in ((first, 8), (second, 13)):
        trials = Trials()
        options = {"trials": trials, "warm_start": source, "rstate": 1, "verbose": False}
        fmin(lambda x: {"status": STATUS_OK, "losses": [x**2, (x - 1) ** 2]}, space, rand.suggest, 8, **options)
        (met,) = (points(collection) for collection in plotting.plot_pareto_front(trials, do_show=False).collections)
        assert len(met) == n


def test_pareto_front_needs_several_losses(trials):
    """With one loss the message says how many there are; the history of several losses points to their own plot."""
    with pytest.raises(InvalidArgumentError, match="of which these trials have 1"):
        plotting.plot_pareto_front(trials, do_show=False)


@pytest.mark.parametrize(
    ("backend", "do_show", "is_shown"), [("tkagg", True, 1), ("tkagg", False, 0), ("agg", True, 0)]
)
def test_figures_are_shown_only_where_they_can_be(trials, monkeypatch, backend, do_show, is_shown):
    """plt.show is called with do_show and a backend that can show, and not otherwise."""
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    monkeypatch.setattr(plt, "get_backend", lambda: backend)
    plotting.main_plot_history(trials, do_show=do_show)
    assert len(shown) == is_shown


INF = math.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_finite", [1, 12])
@pytest.mark.parametrize(
    "plot",
    [
        plotting.main_plot_history,
        plotting.main_plot_histogram,
        plotting.main_plot_vars,
        lambda trials: plotting.main_plot_vars(trials, arrange_by_loss=True),
        lambda trials: plotting.main_plot_vars(trials, colorize_best=2),
        plotting.plot_slice,
        lambda trials: plotting.main_plot_1D_attachment(trials, "curve"),
    ],
    ids=["history", "histogram", "vars", "vars by loss", "vars with the best", "slice", "attachment"],
)
def test_losses_that_are_not_finite_leave_axes_and_colours_alone(plot, n_finite):
    """Everything that is drawn is of the finite losses, and no warning comes of the others."""
    study, odd = Study(SPACE, rand.suggest, rstate=0), [math.nan, INF, -INF]
    for loss in [*odd, *map(float, range(n_finite)), *odd]:
        study.tell(study.ask(), {"status": STATUS_OK, "loss": loss, "attachments": {"curve": [loss, 1.0]}})
    figure = plot(study.trials).figure
    figure.canvas.draw()
    for ax in figure.axes:
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()
    shaded = [drawn for ax in figure.axes for drawn in ax.collections if drawn.get_array() is not None]
    assert np.isfinite([drawn.get_clim() for drawn in shaded if len(points(drawn))]).all()


@pytest.mark.filterwarnings("error")
def test_several_losses_that_are_not_finite():
    """A Pareto front with infinite losses is drawn without a warning; a trial with a NaN is not in it."""
    study = Study(hp.uniform("x", 0, 1))
    for losses in [[1.0, 2.0], [2.0, 1.0], [INF, 0.0], [-INF, 5.0], [INF, INF], [math.nan, 0.0]]:
        study.tell(study.ask(), {"status": STATUS_OK, "losses": losses})
    ax = plotting.plot_pareto_front(study.trials, do_show=False)
    ax.figure.canvas.draw()
    assert not np.isnan(points(ax.collections[0])).any()
    assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()


@pytest.mark.filterwarnings("error")
def test_importances_with_losses_that_are_not_finite():
    """Importances are drawn of them as well, and no warning comes of that."""
    study = Study(SPACE, rand.suggest, rstate=0)
    for loss in [math.nan, INF, -INF] * 3 + list(range(20)):
        study.tell(study.ask(), loss)
    plotting.plot_importances(study.trials, do_show=False).figure.canvas.draw()


def test_importing_plotting_does_not_load_matplotlib():
    """matplotlib is loaded when something is drawn."""
    code = "import sys, sparktune.plotting; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_a_missing_matplotlib_is_named():
    """The error says what to install."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from sparktune import Trials, exceptions, fmin, hp, plotting\n"
        "trials = Trials()\n"
        "fmin(lambda x: x, hp.uniform('x', 0, 1), max_evals=1, trials=trials, verbose=False)\n"
        "try: plotting.main_plot_history(trials)\n"
        "except exceptions.MissingPackageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'sparktune[plot]'" in done.stdout
