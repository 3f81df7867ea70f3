"""Programs written for hyperopt, in small: what they call, read and write must be there and mean the same.

Where hyperopt itself is installed every test runs against it as well, which shows that it describes hyperopt.
"""

import importlib.util
import inspect
import pickle
from functools import partial
from importlib import import_module

import numpy as np
import pytest

LIBRARIES = ["sparktune"] + ["hyperopt"] * bool(importlib.util.find_spec("hyperopt"))


@pytest.fixture(params=LIBRARIES)
def lib(request):
    """The library under its import name."""
    for module in ("algobase", "base", "early_stop", "exceptions", "fmin", "mix", "pyll.base", "pyll.stochastic"):
        import_module(f"{request.param}.{module}")
    return import_module(request.param)


def module(lib, name):
    return import_module(f"{lib.__name__}.{name}")


def minimise(lib, fn, space, **options):
    options = {"algo": lib.rand.suggest, "max_evals": 8, "rstate": np.random.default_rng(0), **options}
    return lib.fmin(fn, space, verbose=False, **options)


#: Algorithms by name; those that hyperopt does not have run against ours alone.
OURS = ["tpe by hyperopt's rules", "gp", "auto", "qmc"]


@pytest.fixture(params=["rand", "tpe", "anneal", "mix", "atpe", *OURS])
def suggest(lib, request):
    """An algorithm of the library."""
    if request.param in OURS and lib.__name__ != "sparktune":
        pytest.skip("hyperopt has no such algorithm")
    if request.param == "tpe by hyperopt's rules":
        return partial(lib.tpe.suggest, hyperopt_rules=True)
    if request.param == "atpe" and lib.__name__ == "hyperopt":
        pytest.skip("hyperopt's atpe needs lightgbm")
    algo = module(lib, request.param).suggest
    if request.param == "mix":
        return partial(algo, p_suggest=[(0.4, lib.rand.suggest), (0.6, lib.tpe.suggest)])
    return algo


def tree(lib):
    """A space with a choice, one branch of which has parameters of its own."""
    hp = lib.hp
    return {
        "lr": hp.loguniform("lr", -5, 0),
        "model": hp.choice("model", [{"kind": "svm", "c": hp.lognormal("c", 0, 1)}, {"kind": "nb"}]),
        "layers": [hp.quniform("width", 8, 64, 8), 3],
    }


# -- calling -----------------------------------------------------------------------------------------------------------

SIGNATURES = {
    "fmin": "fn space algo max_evals timeout loss_threshold trials rstate allow_trials_fmin pass_expr_memo_ctrl "
    "catch_eval_exceptions verbose return_argmin points_to_evaluate max_queue_len show_progressbar early_stop_fn "
    "trials_save_file",
    "FMinIter": "self algo domain trials rstate asynchronous max_queue_len poll_interval_secs max_evals timeout "
    "loss_threshold verbose show_progressbar early_stop_fn trials_save_file",
    "Trials": "self exp_key refresh",
    "Trials.fmin": "self fn space algo max_evals timeout loss_threshold max_queue_len rstate verbose "
    "pass_expr_memo_ctrl catch_eval_exceptions return_argmin show_progressbar early_stop_fn trials_save_file",
    "Trials.view": "self exp_key refresh",
    "Trials.new_trial_docs": "self tids specs results miscs",
    "Trials.source_trial_docs": "self tids specs results miscs sources",
    "Domain": "self fn expr workdir pass_expr_memo_ctrl name loss_target",
    "Domain.evaluate": "self config ctrl attach_attachments",
    "Ctrl": "self trials current_trial",
    "trials_from_docs": "docs validate",
    "space_eval": "space hp_assignment",
    "tpe.suggest": "new_ids domain trials seed prior_weight n_startup_jobs n_EI_candidates gamma verbose",
    "rand.suggest": "new_ids domain trials seed",
    "rand.suggest_batch": "new_ids domain trials seed",
    "mix.suggest": "new_ids domain trials seed p_suggest",
    "algobase.SuggestAlgo": "self domain trials seed",
    "early_stop.no_progress_loss": "iteration_stop_count percent_increase",
    "SparkTrials": "self parallelism timeout loss_threshold spark_session resource_profile",
}


@pytest.mark.parametrize("path", SIGNATURES)
def test_parameters_come_in_hyperopts_order(lib, path):
    """Each function has hyperopt's parameters in hyperopt's order; ours may take more after them."""
    function = lib
    for name in path.split("."):
        function = getattr(function, name)
    expected = SIGNATURES[path].split()
    assert inspect.getfullargspec(function).args[: len(expected)] == expected


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (
            "",
            "JOB_STATES STATUS_STRINGS STATUS_OK STATUS_FAIL JOB_STATE_NEW fmin_pass_expr_memo_ctrl partial",
        ),
        (
            "base",
            "JOB_STATE_CANCEL JOB_VALID_STATES TRIAL_KEYS TRIAL_MISC_KEYS Ctrl Domain Trials trials_from_docs",
        ),
        (
            "base",
            "miscs_to_idxs_vals miscs_update_idxs_vals spec_from_misc validate_timeout validate_loss_threshold",
        ),
        ("base", "AllTrialsFailed InvalidTrial InvalidLoss InvalidResultStatus DuplicateLabel"),
        (
            "exceptions",
            "BadSearchSpace DuplicateLabel InvalidTrial InvalidResultStatus InvalidLoss AllTrialsFailed",
        ),
        ("fmin", "fmin space_eval generate_trials_to_calculate FMinIter partial fmin_pass_expr_memo_ctrl"),
        (
            "hp",
            "choice pchoice randint uniform quniform uniformint loguniform qloguniform normal qnormal lognormal",
        ),
        ("pyll", "Apply Literal as_apply scope rec_eval clone dfs toposort stochastic"),
        ("pyll.stochastic", "sample recursive_set_rng_kwarg"),
        ("early_stop", "no_progress_loss"),
    ],
)
def test_names_can_be_imported_from_their_paths(lib, path, names):
    """Imports of a hyperopt program work under our name."""
    place = import_module(f"{lib.__name__}.{path}" if path else lib.__name__)
    assert [name for name in names.split() if not hasattr(place, name)] == []


# -- running -----------------------------------------------------------------------------------------------------------


def test_a_run_from_end_to_end(lib, suggest):
    """fmin, space_eval, and what is read from Trials afterwards."""
    space, trials = tree(lib), lib.Trials()

    def objective(params):
        assert isinstance(params["layers"], tuple)
        return {
            "loss": params["lr"] + params["model"].get("c", 0.0),
            "status": lib.STATUS_OK,
            "width": params["layers"][0],
        }

    best = minimise(lib, objective, space, algo=suggest, trials=trials, max_evals=30)
    assert len(trials) == len(trials.losses()) == 30
    assert trials.best_trial["result"]["loss"] == min(trials.losses())
    assert trials.argmin == best
    params = lib.space_eval(space, best)
    assert params["layers"] == (trials.best_trial["result"]["width"], 3)
    assert ("c" in best) == (best["model"] == 0) == (params["model"]["kind"] == "svm")
    assert set(trials.vals) == {"lr", "model", "c", "width"}
    assert len(trials.vals["c"]) == trials.vals["model"].count(0)


def test_documents_between_two_processes(lib):
    """A pickled Trials is the same study, and goes on."""
    trials = lib.Trials()
    minimise(lib, lambda x: x, lib.hp.uniform("x", 0, 1), trials=trials)
    again = pickle.loads(pickle.dumps(trials))
    minimise(lib, lambda x: x, lib.hp.uniform("x", 0, 1), trials=again, max_evals=10)
    assert again.losses()[:8] == trials.losses()
    assert len(again) == 10


def test_a_document_field_by_field(lib):
    """The document of a finished trial, as programs read it."""
    trials = lib.Trials()
    minimise(lib, lambda x: x, lib.hp.uniform("x", 0, 1), trials=trials, max_evals=1)
    (doc,) = trials.trials
    x = doc["misc"]["vals"]["x"][0]
    assert {key: doc[key] for key in ("state", "tid", "spec", "exp_key", "owner", "version")} == {
        "state": lib.JOB_STATE_DONE,
        "tid": 0,
        "spec": None,
        "exp_key": None,
        "owner": None,
        "version": 0,
    }
    assert doc["result"] == {"loss": x, "status": "ok"}
    # "search" is ours: what the proposal saw.
    assert set(doc["misc"]) - {"search"} == {"tid", "cmd", "workdir", "idxs", "vals"}
    assert doc["misc"]["idxs"] == {"x": [0]}
    assert tuple(doc["misc"]["cmd"]) == ("domain_attachment", "FMinIter_Domain")


def test_errors_as_data(lib):
    """Caught errors leave (type, text) in misc["error"] and hide their trial."""
    trials, calls = lib.Trials(), []

    def objective(x):
        calls.append(x)
        if len(calls) % 2:
            raise ValueError("odd")
        return x

    minimise(lib, objective, lib.hp.uniform("x", 0, 1), trials=trials, catch_eval_exceptions=True)
    assert [doc["state"] for doc in trials._dynamic_trials] == [3, 2] * 4
    assert tuple(trials._dynamic_trials[0]["misc"]["error"]) == ("<class 'ValueError'>", "odd")
    assert trials.tids == [1, 3, 5, 7]


def test_the_text_when_all_failed(lib):
    """Programs look for this text."""
    with pytest.raises(Exception, match=r"^There are no evaluation tasks, cannot return argmin of task losses\."):
        minimise(lib, lambda x: x / 0, lib.hp.uniform("x", 0, 1), catch_eval_exceptions=True)


@pytest.mark.parametrize(
    "option", [{"timeout": -1}, {"timeout": True}, {"loss_threshold": "a"}, {"loss_threshold": False}]
)
def test_texts_for_wrong_limits(lib, option):
    """Programs compare these texts."""
    ((name, value),) = option.items()
    kind = "positive" if name == "timeout" else "numeric"
    with pytest.raises(Exception) as caught:
        minimise(lib, lambda x: x, lib.hp.uniform("x", 0, 1), **option)
    assert str(caught.value) == f"The {name} argument should be None or a {kind} value. Given value: {value}"


@pytest.mark.parametrize(("threshold", "n"), [(2.0, 3), (1.0, 4)])
def test_the_threshold_is_strict(lib, threshold, n):
    """A loss equal to the threshold does not end the run."""
    trials, losses = lib.Trials(), iter([3.0, 2.0, 1.0] + [0.0] * 5)
    minimise(lib, lambda x: next(losses), lib.hp.uniform("x", 0, 1), trials=trials, loss_threshold=threshold)
    assert len(trials) == n


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("losses", [[1.0], [3.0, 3.0, 2.0], [-1.0, -2.0, -2.5, -2.5, -3.0]], ids=str)
def test_no_progress_stops_after_the_same_trial(lib, losses, count):
    """no_progress_loss ends the run after as many trials."""
    trials, rest = lib.Trials(), iter(losses)
    rule = module(lib, "early_stop").no_progress_loss(count)
    minimise(
        lib,
        lambda x: next(rest, losses[-1]),
        lib.hp.uniform("x", 0, 1),
        trials=trials,
        early_stop_fn=rule,
        max_evals=50,
    )
    expected, best, waited = 0, None, 0
    for loss in losses + [losses[-1]] * 50:
        expected += 1
        if best is None or loss < best:
            waited, best = (1 if best is None else 0), loss
        else:
            waited += 1
            if waited >= count:
                break
    assert len(trials) == expected


def test_points_first(lib):
    """points_to_evaluate are run first, and are not among the max_evals."""
    seen = []
    minimise(
        lib,
        lambda x: seen.append(x) or x,
        lib.hp.uniform("x", 0, 1),
        points_to_evaluate=[{"x": 0.5}, {"x": 0.25}],
        max_evals=3,
    )
    assert seen[:2] == [0.5, 0.25]
    assert len(seen) == 5


def test_a_progress_factory_is_called_by_keywords(lib):
    """A progress factory gets initial= and total=, and its display postfix and updates."""
    told = []

    class Display:
        postfix = None

        def __init__(self, **options):
            told.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def update(self, n):
            told.append((n, str(self.postfix)))

    lib.fmin(lambda x: 1.5, lib.hp.uniform("x", 0, 1), lib.rand.suggest, 2, show_progressbar=Display)
    assert told == [{"initial": 0, "total": 2}, (1, "best loss: 1.5"), (1, "best loss: 1.5")]


def test_a_subclass_with_its_own_fmin_gets_hyperopts_keywords(lib):
    """fmin hands fn and space over by position and all else by keyword."""
    got = {}

    class Own(lib.Trials):
        def fmin(self, *args, **options):
            got.update(options)
            return len(args)

    assert minimise(lib, lambda x: x, lib.hp.uniform("x", 0, 1), trials=Own()) == 2
    assert sorted(got) == sorted(SIGNATURES["Trials.fmin"].split()[3:])


def test_an_objective_that_evaluates_the_space_itself(lib):
    """fmin_pass_expr_memo_ctrl, with rec_eval in the objective."""

    @lib.fmin_pass_expr_memo_ctrl
    def objective(expr, memo, ctrl):
        params = lib.pyll.rec_eval(expr, memo=memo)
        ctrl.attachments["width"] = params["layers"][0]
        return {"loss": params["lr"], "status": lib.STATUS_OK}

    trials = lib.Trials()
    minimise(lib, objective, tree(lib), trials=trials)
    for doc in trials.trials:
        assert doc["result"]["loss"] == doc["misc"]["vals"]["lr"][0]
        assert trials.trial_attachments(doc)["width"] == doc["misc"]["vals"]["width"][0]


# -- driving it oneself ------------------------------------------------------------------------------------------------


def test_ask_and_tell(lib, suggest):
    """The loop other tuners build around an algorithm: ids, suggest, insert, evaluate, write back, refresh."""
    base, trials, rng = module(lib, "base"), lib.Trials(), np.random.default_rng(0)
    domain = lib.Domain(lambda params: params, tree(lib))
    for _ in range(25):
        new_ids = trials.new_trial_ids(1)
        trials.refresh()
        docs = suggest(new_ids, domain, trials, int(rng.integers(2**31 - 1)))
        trials.insert_trial_docs(docs)
        trials.refresh()
        (doc,) = [d for d in trials._dynamic_trials if d["tid"] == new_ids[0]]
        params = lib.pyll.rec_eval(domain.expr, memo=domain.memo_from_config(base.spec_from_misc(doc["misc"])))
        doc["state"] = lib.JOB_STATE_RUNNING
        trials.refresh()
        doc["state"] = lib.JOB_STATE_DONE
        doc["result"] = {"loss": params["lr"], "status": lib.STATUS_OK}
        trials.refresh()
    assert trials.tids == list(range(25))
    assert trials.losses() == trials.vals["lr"]
    assert trials.best_trial["result"]["loss"] == min(trials.losses())


def test_a_batch_of_ids(lib, suggest):
    """A document per id, with the ids in order, new trials all, values of the active labels alone; the seed decides."""
    if lib.__name__ == "hyperopt":
        pytest.skip("hyperopt's tpe gives one document, whatever the number of ids")
    trials, domain = lib.Trials(), lib.Domain(lambda params: 0.0, tree(lib))
    minimise(lib, lambda params: params["lr"], tree(lib), trials=trials, max_evals=25)
    ids = trials.new_trial_ids(4)
    docs, again = suggest(ids, domain, trials, 5), suggest(ids, domain, trials, 5)
    assert [doc["tid"] for doc in docs] == ids
    assert [doc["misc"]["vals"] for doc in docs] == [doc["misc"]["vals"] for doc in again]
    assert len({str(doc["misc"]["vals"]) for doc in docs}) == 4
    for doc in docs:
        assert doc["state"] == lib.JOB_STATE_NEW
        assert len(doc["misc"]["vals"]["c"]) == (doc["misc"]["vals"]["model"] == [0])
    assert suggest([], domain, trials, 5) == []


def test_trials_of_every_end(lib, suggest):
    """Failed trials, NaN and infinite losses, and exceptions caught: the run goes on to its end."""
    ends = [float("nan"), float("inf"), 1.0, {"status": lib.STATUS_FAIL}, {"status": lib.STATUS_OK, "loss": 0.5}]
    calls = iter(range(100))

    def objective(x):
        number = next(calls)
        if number % 6 == 5:
            raise ValueError("no result")
        return ends[number % 6]

    if lib.__name__ == "hyperopt":
        pytest.skip("hyperopt compares NaN losses")
    trials = lib.Trials()
    minimise(
        lib,
        objective,
        lib.hp.uniform("x", 0, 1),
        algo=suggest,
        trials=trials,
        max_evals=36,
        catch_eval_exceptions=True,
        return_argmin=False,
    )
    assert next(calls) == 36
    assert trials.best_trial["result"]["loss"] == 0.5


@pytest.mark.parametrize("n_startup_jobs", [0, 1])
def test_start_up_may_be_short(lib, suggest, n_startup_jobs):
    """From the first or second trial on a model proposes."""
    if lib.__name__ == "hyperopt" or "n_startup_jobs" not in inspect.signature(suggest).parameters:
        pytest.skip("hyperopt's own, and algorithms that do not learn, have no short start-up to speak of")
    trials = lib.Trials()
    algo = partial(suggest, n_startup_jobs=n_startup_jobs)
    minimise(lib, lambda params: params["lr"], tree(lib), algo=algo, trials=trials, max_evals=12)
    assert len(trials.losses()) == 12


def test_an_algorithm_of_ones_own(lib):
    """A grid search written against Domain and Trials."""
    grid = [0.25, 0.5, 0.75]

    def suggest(new_ids, domain, trials, seed):
        if len(trials) >= len(grid):
            return []
        (label,) = domain.params
        miscs = [
            {
                "tid": tid,
                "cmd": domain.cmd,
                "workdir": domain.workdir,
                "idxs": {label: [tid]},
                "vals": {label: [grid[len(trials)]]},
            }
            for tid in new_ids
        ]
        return trials.new_trial_docs(new_ids, [None] * len(new_ids), [domain.new_result() for _ in new_ids], miscs)

    seen = []
    best = minimise(lib, lambda x: seen.append(x) or abs(x - 0.5), lib.hp.uniform("x", 0, 1), algo=suggest)
    assert seen == grid
    assert best == {"x": 0.5}


def test_an_algorithm_parameter_by_parameter(lib):
    """A subclass of SuggestAlgo says what each active parameter is; arguments of its distribution are in the memo."""
    base = module(lib, "algobase")

    class Lowest(base.SuggestAlgo):
        def on_node_hyperparameter(self, memo, node, label):
            if node.name == "quniform":
                return [memo[node.arg["low"]]]
            return base.ExprEvaluator.on_node(self, memo, node)

    def suggest(new_ids, domain, trials, seed):
        return [document for new_id in new_ids for document in Lowest(domain, trials, seed)(new_id)]

    trials = lib.Trials()
    minimise(lib, lambda params: params["lr"], tree(lib), algo=suggest, trials=trials, max_evals=20)
    assert set(trials.vals["width"]) == {8}
    assert len(set(trials.vals["lr"])) == 20
    assert len(trials.vals["c"]) == list(trials.vals["model"]).count(0)


def test_walking_a_space(lib):
    """Converters to and from other libraries walk the nodes by name, arg and obj."""
    base = module(lib, "pyll.base")
    labels = {
        node.arg["label"].obj: node.arg["obj"].name
        for node in base.dfs(base.as_apply(tree(lib)))
        if node.name == "hyperopt_param"
    }
    assert labels == {"lr": "loguniform", "model": "randint", "c": "lognormal", "width": "quniform"}


def test_sampling_a_space(lib):
    """pyll.stochastic.sample draws what the objective would be called with."""
    sample = module(lib, "pyll.stochastic").sample
    params = sample(tree(lib), rng=np.random.default_rng(0))
    assert set(params) == {"lr", "model", "layers"}
    assert params["layers"][0] in range(8, 65, 8)


def test_trials_made_of_documents(lib):
    """Documents of one study make another; cancelled and failed ones are hidden there as well."""
    trials = lib.Trials()
    minimise(lib, lambda x: x, lib.hp.uniform("x", 0, 1), trials=trials)
    trials._dynamic_trials[0]["state"] = lib.JOB_STATE_ERROR
    again = lib.trials_from_docs(trials._dynamic_trials)
    again.refresh()
    assert again.tids == [1, 2, 3, 4, 5, 6, 7]
    assert again.count_by_state_unsynced([lib.JOB_STATE_DONE, lib.JOB_STATE_ERROR]) == 8


@pytest.mark.parametrize(
    ("name", "builtin"),
    [("InvalidTrial", ValueError), ("InvalidLoss", ValueError), ("InvalidResultStatus", ValueError)],
)
def test_errors_derive_from_what_programs_catch(lib, name, builtin):
    """Errors keep hyperopt's bases."""
    assert issubclass(getattr(lib.exceptions, name), builtin)
    assert issubclass(lib.exceptions.DuplicateLabel, lib.exceptions.BadSearchSpace)
