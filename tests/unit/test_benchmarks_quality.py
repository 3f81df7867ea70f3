"""The benchmark of search quality: its tasks are sound, its runs fair, its figures right."""

import importlib
import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MODULES = (
    "parameters functions classifier_table measured suite optimizers run references score report failing suggest_time"
)
SYNTHETIC = (
    "branin_2_of_8d grid_rastrigin_12d grid_ellipsoid_8d choices_8 ackley_5_choices_5d nested_model switches_4 "
    "classifiers_breast_cancer noisy_styblinski_5d noisy_ridge_8d"
).split()


@pytest.fixture(scope="module")
def bench():
    """The programs' modules; they are scripts, so their folders are on the path only here."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in (BENCHMARKS, BENCHMARKS / "quality"):
            patch.syspath_prepend(str(folder))
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES.split()})
    for name in MODULES.split():
        del sys.modules[name]


def best_by_coordinates(bench, task, starts, sweeps=9):
    """The least loss of searches along one parameter at a time, which suffices where few parameters interact."""
    rng, best = np.random.default_rng(0), math.inf
    for _ in range(starts):
        quantiles = {p.name: float(rng.random()) for p in bench.parameters.flatten(task.space)}
        for sweep, name in itertools.product(range(sweeps), list(quantiles)):
            near = np.clip(quantiles[name] + 0.5**sweep * np.linspace(-1, 1, 41), 0, 1 - 1e-12)  # itself included
            tried = [quantiles | {name: float(q)} for q in near]
            losses = [task.true_loss(bench.parameters.from_quantiles(task.space, q)) for q in tried]
            quantiles = tried[int(np.argmin(losses))]
            best = min(best, *losses)
    return best


@pytest.mark.parametrize("name", SYNTHETIC)
def test_no_random_configuration_beats_the_optimum(bench, name):
    """The stated optimum is a lower bound of the true loss."""
    task = bench.suite.get(name)
    source = bench.optimizers.Random(task.space, 1)
    losses = [task.true_loss(source.ask()[1]) for _ in range(1000)]
    assert np.isfinite(losses).all()
    # The optima of two functions are known to ten digits.
    assert min(losses) >= task.optimum - 1e-9 * abs(task.optimum)


@pytest.mark.parametrize(
    ("name", "starts"),
    [("branin_2_of_8d", 1), ("grid_rastrigin_12d", 1), ("switches_4", 5), ("noisy_styblinski_5d", 1)],
)
def test_the_optimum_is_reached_by_searching_along_coordinates(bench, name, starts):
    """The stated optimum is attained, where a simple search can find it."""
    task = bench.suite.get(name)
    scale = bench.references.references()[name]["random_100"] - task.optimum
    # The steps of the last sweep are 2^-8 / 20, which leaves far less than a thousandth of the scale.
    assert best_by_coordinates(bench, task, starts) == pytest.approx(task.optimum, abs=1e-3 * scale)


def test_the_optimum_of_the_nested_model_is_reached(bench):
    """A net of two layers at its best rate, dropout and widths has loss 0."""
    config = {"model": 1, "net_rate": 1e-3, "net_dropout": 0.2, "net_depth": 1, "width_2_0": 128, "width_2_1": 32}
    task = bench.suite.get("nested_model")
    assert task.true_loss(config | {"subsample": 1.0, "scaling": 1}) == pytest.approx(task.optimum, abs=1e-12)


def test_the_optimum_of_the_grid_ellipsoid_is_a_point_of_the_grid(bench):
    """The minimum of the quadratic, found from its derivatives, is on the grid and has loss 0."""
    task = bench.suite.get("grid_ellipsoid_8d")
    n = len(task.space)

    def loss(x):
        return task.true_loss({f"x{i}": value for i, value in enumerate(x)})

    unit, zero = np.eye(n), np.zeros(n)
    slope = np.array([(loss(e) - loss(-e)) / 2 for e in unit])
    curvature = np.array([[loss(a + b) - loss(a) - loss(b) + loss(zero) for b in unit] for a in unit])
    best = np.linalg.solve(curvature, -slope)
    grid = [i for i, p in enumerate(task.space) if isinstance(p, bench.parameters.Int)]
    assert best[grid] == pytest.approx(np.round(best[grid]), abs=1e-6)
    assert all(p.low - 1e-6 <= value <= p.high + 1e-6 for p, value in zip(task.space, best, strict=True))
    best[grid] = np.round(best[grid])
    assert loss(best) == pytest.approx(task.optimum, abs=1e-9)


def test_interpolation_meets_the_table_at_its_grid_points(bench):
    """The best entry of the classifiers' table is the loss of its configuration."""
    task, grids = bench.suite.get("classifiers_breast_cancer"), bench.classifier_table.GRIDS
    with np.load(bench.classifier_table.TABLE) as tables:
        table = tables["svm"]
    i, j, kernel = np.unravel_index(table.argmin(), table.shape)
    config = {"classifier": 1, "svm_C": grids["svm"]["C"][i], "svm_gamma": grids["svm"]["gamma"][j]}
    assert task.true_loss(config | {"svm_kernel": kernel}) == pytest.approx(float(table.min()), rel=1e-6)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_spaces_build_in_hp_form(bench, name):
    """The public form gives configurations with exactly the parameters that are active, within their bounds."""
    task = bench.suite.get(name)
    optimizer = bench.optimizers.make("sparktune-tpe", task.space, 0)
    for _ in range(14):  # beyond the start-up
        token, config = optimizer.ask()
        active = list(bench.parameters.active(task.space, config))
        assert sorted(config) == sorted(p.name for p in active)
        for p in active:
            value = config[p.name]
            if isinstance(p, bench.parameters.Choice):
                assert value in range(len(p.options))
            else:
                assert isinstance(value, int) == isinstance(p, bench.parameters.Int)
                assert p.low * (1 - 1e-12) <= value <= p.high * (1 + 1e-12) or p.low <= 0 <= value - p.low
        optimizer.tell(token, task.true_loss(config))
    assert optimizer.trials.best_trial["result"]["loss"] >= task.optimum - 1e-9 * abs(task.optimum)


def test_optuna_draws_from_the_same_space(bench):
    """Optuna's adapter asks for the active parameters of a nested space, and no others."""
    pytest.importorskip("optuna")
    space = bench.suite.get("nested_model").space
    optimizer = bench.optimizers.make("optuna", space, 0)
    for _ in range(5):
        token, config = optimizer.ask()
        assert sorted(config) == sorted(p.name for p in bench.parameters.active(space, config))
        optimizer.tell(token, 0.0)


def test_sobol_points_fill_the_cube_evenly(bench):
    """Of 64 points, each half of every coordinate has exactly 32."""
    space = bench.parameters.floats(5, 0, 1)
    optimizer = bench.optimizers.make("sobol", space, 0)
    points = np.array([list(optimizer.ask()[1].values()) for _ in range(64)])
    assert ((points < 0.5).sum(axis=0) == 32).all()


def test_tasks_without_their_package_are_left_out_with_a_line(bench, monkeypatch, capsys):
    """A missing package is named with the tasks that need it."""
    monkeypatch.setattr(bench.suite, "PACKAGES", {"bbob": ("no_such_module", "ioh"), "hpolib": ("numpy", "numpy")})
    names = bench.suite.available.__wrapped__()
    assert "bbob_f7_5d" not in names
    assert "hpolib_protein" in names
    assert "ioh is not installed: bbob_f7_5d, bbob_f9_10d" in capsys.readouterr().err


def test_levels_are_stored_for_every_task(bench):
    """Each task has its optimum and a worse level of random search."""
    levels = bench.references.references()
    assert list(levels) == list(bench.suite.BUILDERS)
    assert all(level["optimum"] < level["random_100"] for level in levels.values())
    for name in SYNTHETIC:
        assert levels[name]["optimum"] == pytest.approx(bench.suite.get(name).optimum, rel=1e-12)


class Recorder:
    """Asks for a parabola's points in a fixed order, and keeps the order of the results."""

    def __init__(self):
        self.asked, self.told, self.most_running = 0, [], 0

    def ask(self):
        self.asked += 1
        self.most_running = max(self.most_running, self.asked - len(self.told))
        return self.asked, {"x0": self.asked % 7 / 7}

    def tell(self, token, loss):
        self.told.append(token)


@pytest.fixture
def record(bench, monkeypatch):
    """Runs a parabola with the recorder in the place of an optimiser; returns both."""

    def run(seed=0, evals=25, workers=1, observe=None):
        task = bench.suite.Task("parabola", bench.parameters.floats(1, 0, 1), lambda c: c["x0"] ** 2, 0.0, observe)
        recorder = Recorder()
        monkeypatch.setattr(bench.run, "make", lambda *_: recorder)
        return bench.run.run(task, "recorder", seed, evals, workers), recorder

    return run


def test_workers_are_kept_busy_and_every_trial_ends(record):
    """With eight workers eight trials run at a time, and results come out of order."""
    _, recorder = record(evals=40, workers=8)
    assert recorder.most_running == 8
    assert sorted(recorder.told) == list(range(1, 41))
    assert recorder.told != sorted(recorder.told)


def test_the_simulated_times_depend_on_the_seed_alone(record):
    """Two searches with the same seed end their trials in the same order, another seed in another."""
    orders = [record(seed=seed, evals=40, workers=8)[1].told for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]


def test_the_incumbent_is_the_best_observed_and_counts_with_its_true_loss(record):
    """Where observations mislead, the true loss of the trial that looked best is written down."""
    row, _ = record(observe=lambda config, rng: -config["x0"])
    assert row["best"] == {"25": pytest.approx((6 / 7) ** 2)}


def test_a_run_that_is_there_is_not_repeated(bench, monkeypatch, tmp_path):
    """The same command adds nothing; more evaluations do."""
    out = tmp_path / "runs.jsonl"
    for evals, lines in ((25, 2), (25, 2), (50, 4)):
        options = f"--optimizers random --tasks branin_2_of_8d --seeds 2 --evals {evals} --out {out}"
        monkeypatch.setattr(sys, "argv", ["run.py", *options.split()])
        with pytest.raises(SystemExit) as end:
            bench.run.main()
        assert end.value.code == 0
        assert len(out.read_text().splitlines()) == lines


@pytest.fixture
def comparison(bench):
    """Makes a comparison of optimisers a, b, ... from arrays (optimisers, seeds), one per task."""

    def make(*matrices):
        names = list("abcdef"[: len(matrices[0])])
        return bench.score.Comparison(names, [f"task{i}" for i in range(len(matrices))], list(map(np.array, matrices)))

    return make


def test_regret_is_zero_at_the_optimum_and_one_at_the_level_of_random_search(bench):
    """Losses are put on the scale of the stored levels, and cut off at 5."""
    level = bench.references.references()["branin_2_of_8d"]
    low, high = level["optimum"], level["random_100"]
    regrets = bench.score.normalise("branin_2_of_8d", [low, high, (low + high) / 2, high + 100 * (high - low)])
    assert regrets == pytest.approx([0, 1, 0.5, 5])


def test_means_and_ranks_of_a_small_example(bench, comparison):
    """Arithmetic and geometric means and shared ranks agree with those by hand."""
    example = comparison([[0.2, 0.4], [0.2, 0.1]], [[0.0, 0.0], [0.6, 0.6]])
    assert [e.value for e in bench.score.mean_regrets(example)] == pytest.approx([0.15, 0.375])
    floored = [math.sqrt(0.3 * 1e-3), math.sqrt(0.15 * 0.6)]
    assert [e.value for e in bench.score.geometric_means(example)] == pytest.approx(floored)
    assert [e.value for e in bench.score.ranks(example)] == pytest.approx(
        [(1.5 + 2 + 1 + 1) / 4, (1.5 + 1 + 2 + 2) / 4]
    )


def test_the_ratio_of_paired_searches_has_no_noise(bench, comparison, rng):
    """Half the regret on every seed is a ratio of one half, whatever seeds are drawn."""
    regrets = rng.uniform(0.1, 1, (3, 20))
    ratio = bench.score.ratios(comparison(*([r, r / 2] for r in regrets)), "a")[1]
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx([0.5, 0.5, 0.5])


def test_the_interval_of_a_mean_is_the_textbook_one(bench, comparison, rng):
    """The bootstrap's interval is 1.96 standard errors to either side, within a few percent."""
    regrets = rng.normal(1, 0.1, (1, 1, 400))
    estimate = bench.score.mean_regrets(comparison(*regrets))[0]
    error = regrets.std() / 20
    # The ends are percentiles of 2,000 samples, good to about 5 % of the error.
    assert [estimate.low, estimate.high] == pytest.approx(
        [regrets.mean() - 1.96 * error, regrets.mean() + 1.96 * error], abs=0.2 * error
    )


def test_only_differences_beyond_the_noise_are_called(bench, comparison, rng):
    """A shift of every seed is marked, in its direction; a difference drowned in noise is not."""
    base, noise = rng.uniform(0.4, 0.6, 20), np.resize([0.3, -0.3], 20)
    example = comparison([base, base + 0.05, base - 0.05, base + noise + 0.001, base])
    assert bench.score.verdicts(example, "a").tolist() == [[0, 1, -1, 0, 0]]
    line = bench.score.task_table(example, ["a"]).splitlines()[-1]
    assert [cell.split()[1:] for cell in line.split("|")[2:-1]] == [[], ["↑a"], ["↓a"], [], []]


def rows(optimizer, tasks, seeds, loss=1.0):
    """Lines of run.py for the stored levels' tasks."""
    fields = {"optimizer": optimizer, "workers": 1, "evals": 100}
    return [
        json.dumps(fields | {"task": task, "seed": seed, "best": {"50": loss + 1, "100": loss}})
        for task, seed in itertools.product(tasks, seeds)
    ]


def test_stored_losses_are_those_of_the_runs(bench, tmp_path):
    """The short form has a line per task and budget, and reads back as what it was made from."""
    raw = tmp_path / "raw.jsonl"
    raw.write_text("\n".join(rows("random", ["branin_2_of_8d", "choices_8"], range(20), 0.123456789)))
    losses = bench.score.load([raw])
    bench.score.store(losses, tmp_path / "kept")
    kept = tmp_path / "kept" / "random-w1.jsonl"
    assert len(kept.read_text().splitlines()) == 4
    again = bench.score.load([kept])
    assert again.keys() == losses.keys()
    assert again["random", 1, 100]["choices_8"] == pytest.approx(losses["random", 1, 100]["choices_8"], rel=1e-7)


def test_an_optimizer_without_all_its_runs_is_left_out_and_named(bench, tmp_path):
    """A comparison has only those with every task and seed, and the page says who is missing."""
    tasks, raw = ["branin_2_of_8d", "choices_8"], tmp_path / "raw.jsonl"
    written = [*rows("random", tasks, range(4)), *rows("optuna", tasks, range(4)), *rows("hyperopt", tasks, range(3))]
    raw.write_text("\n".join(written))
    comparison, lacking = bench.report.complete(bench.score.load([raw]), 1, 100)
    assert comparison.optimizers == ["random", "optuna"]
    assert lacking == ["hyperopt"]
    assert "runs are missing: hyperopt" in bench.report.page_text(bench.score.load([raw]), tmp_path)


def test_losses_are_shown_by_name(bench, tmp_path):
    """A task on which our search is worse than a peer stands in the page."""
    tasks, raw = ["branin_2_of_8d", "hpolib_protein"], tmp_path / "raw.jsonl"
    ours = [*rows("sparktune-tpe", tasks[:1], range(4), 0.9), *rows("sparktune-tpe", tasks[1:], range(4), 0.5)]
    written = [line for peer in ("optuna", "hyperopt") for line in rows(peer, tasks, range(4), 0.7)]
    raw.write_text("\n".join(ours + written))
    text = bench.report.page_text(bench.score.load([raw]), tmp_path)
    assert "worse than" not in text.split("### One worker")[0].split('"Better"')[0]
    assert "worse on 1 (branin_2_of_8d)" in text


def test_the_report_touches_only_what_is_between_its_markers(bench, monkeypatch, tmp_path):
    """The page's other sections stay as they are, however often the report is written."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{bench.report.BEGIN}\nold\n{bench.report.END}\n\nafter\n")
    monkeypatch.setattr(bench.report, "PAGE", page)
    monkeypatch.setattr(bench.report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["report.py"])
    bench.report.main()
    first = page.read_text()
    bench.report.main()
    assert page.read_text() == first
    assert first.startswith("before\n\n")
    assert first.endswith("\n\nafter\n")
    assert "old" not in first.splitlines()


def test_the_page_has_the_markers(bench):
    """docs/benchmarks.md has one region for the report."""
    page = bench.report.PAGE.read_text()
    assert page.count(bench.report.BEGIN) == page.count(bench.report.END) == 1


def test_the_space_of_the_time_measurement_is_mixed_as_stated(bench):
    """Of twenty parameters eight are floats, four log floats, four integers, four choices."""
    kinds = [type(p).__name__ + " log" * getattr(p, "log", False) for p in bench.suggest_time.mixed_space(20)]
    assert [kinds.count(kind) for kind in ("Float", "Float log", "Int", "Choice")] == [8, 4, 4, 4]


def test_a_preloaded_study_has_its_trials_finished(bench):
    """The search sees as many results as were loaded, with their losses."""
    space = bench.suggest_time.mixed_space(5)
    optimizer = bench.optimizers.make("sparktune-tpe", space, 0)
    bench.suggest_time.preload(optimizer, space, 30)
    assert optimizer.trials.n_finished == 30
    assert bench.suggest_time.milliseconds(optimizer) > 0
    assert optimizer.trials.n_finished == 31


def test_arrays_are_counted_once_and_views_as_their_base(bench):
    """Bytes are those of the memory kept, not of the views on it."""
    base = np.zeros(1000)
    assert bench.suggest_time.array_bytes({"view": base[:10], "again": [base, base[5:]]}) == 8000


def test_the_time_of_a_suggestion_is_that_of_asking_and_telling(bench, monkeypatch):
    """Means over a search count both calls of every evaluation, and nothing between them."""
    clock = itertools.count(0, 0.002)
    monkeypatch.setattr(bench.suggest_time.time, "process_time", lambda: next(clock))
    # 2 ms between any two readings of the clock: one pair for ask, one for tell.
    assert bench.suggest_time.search_means(["random"], 5, 10) == {"random": pytest.approx(4.0)}


def test_searches_in_which_trials_fail(bench):
    """What fails is counted, where anything does, and no loss is below the stated optimum."""
    cases = bench.failing.CASES
    for label, case in cases.items():
        above, share = bench.failing.search(case, "random", 0)
        assert above > 0
        assert (share > 0) == (label != "nothing fails")
    assert bench.failing.search(cases["half of the space"], "sparktune-tpe", 0)[0] < above
