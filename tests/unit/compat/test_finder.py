"""``import hyperopt`` means sparktune, and only as long as that is asked for."""

import copy
import copyreg
import importlib
import importlib.metadata
import importlib.util
import pickle
import pkgutil
import subprocess
import sys
import textwrap
import types
from functools import partial

import pytest

import sparktune
from sparktune import Domain, Study, compat, hp, space_eval
from sparktune.exceptions import SparktuneError
from sparktune.space.nodes import Apply, Literal

#: Where nothing is installed.
STDLIB = [folder for folder in sys.path if "site-packages" not in folder]


@pytest.fixture
def alias():
    with compat.aliased():
        yield


@pytest.fixture
def fake_hyperopt(tmp_path, monkeypatch):
    """A folder on sys.path with a package that calls itself hyperopt and has tests."""
    for folder in ("hyperopt", "hyperopt/tests", "hyperopt/tests/unit", "hyperopt/pyll", "hyperopt/pyll/tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "hyperopt/tests/unit/test_a.py").write_text("import hyperopt.tpe\nhere = hyperopt.tpe\n")
    (tmp_path / "hyperopt/pyll/tests/test_b.py").write_text("from hyperopt.pyll import scope\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def run(code, *options):
    """What a fresh interpreter prints when it runs ``code``."""
    command = [sys.executable, *options, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "name", ["", ".base", ".pyll", ".pyll.base", ".pyll.stochastic", ".fmin", ".tpe", ".exceptions"]
)
def test_modules_are_the_same_objects(alias, name):
    """A module under hyperopt's name is sparktune's, not a second copy."""
    assert importlib.import_module(f"hyperopt{name}") is sys.modules[f"sparktune{name}"]


def test_a_module_that_nobody_has_imported_yet_is_loaded_once():
    """Found under hyperopt's name first, a module is the one that is found under its own name later."""
    code = """
    import sys
    from sparktune import compat
    compat.install()
    name = "sparktune.mongoexp"
    assert name not in sys.modules
    import hyperopt.mongoexp
    assert sys.modules[name] is sys.modules["hyperopt.mongoexp"] is hyperopt.mongoexp
    print(hyperopt.mongoexp.__name__, hyperopt.mongoexp.__spec__.name)
    """
    assert run(code) == "sparktune.mongoexp sparktune.mongoexp\n"


def test_the_function_fmin_stays_a_function(alias):
    """hyperopt.fmin is the function, and the module of that name can be imported from all the same."""
    sys.modules.pop("hyperopt.early_stop", None)
    import hyperopt
    import hyperopt.early_stop
    import hyperopt.fmin as by_name
    from hyperopt.fmin import fmin, generate_trials_to_calculate, space_eval

    assert hyperopt.fmin is fmin is by_name is sparktune.fmin
    assert isinstance(fmin, types.FunctionType)
    assert space_eval is sparktune.space_eval
    assert len(generate_trials_to_calculate([{"x": 1}])._dynamic_trials) == 1


def test_modules_keep_the_description_of_their_own_name(alias):
    """``__spec__``, which reload and pickle go by, says sparktune."""
    for name in [name for name in sys.modules if name.startswith("hyperopt")]:
        assert sys.modules[name].__spec__.name.startswith("sparktune"), name


def test_reload_works(alias):
    """importlib.reload takes the module that was imported under hyperopt's name."""
    import hyperopt.early_stop

    assert importlib.reload(hyperopt.early_stop) is sys.modules["sparktune.early_stop"]


def test_modules_can_be_listed_and_looked_for(alias):
    """pkgutil and find_spec see the package under its other name."""
    import hyperopt

    assert "tpe" in {module.name for module in pkgutil.iter_modules(hyperopt.__path__)}
    assert importlib.util.find_spec("hyperopt.tpe") is not None
    assert importlib.util.find_spec("hyperoptimal") is None
    assert importlib.util.find_spec("hyperopt.nope") is None


def test_a_module_that_is_missing_says_what_hyperopt_means(alias):
    """The ImportError names sparktune, and what there is instead."""
    with pytest.raises(ModuleNotFoundError, match="no model files") as caught:
        importlib.import_module("hyperopt.atpe_models")
    assert caught.value.name == "hyperopt.atpe_models"


def test_a_module_that_hyperopt_has_not_either_is_missing_as_any():
    """Importing it is the usual error, in which it has the name that was asked for."""
    code = """
    import sparktune.compat.hyperopt
    try:
        import hyperopt.nope
    except ModuleNotFoundError as error:
        print(error.name)
    """
    assert run(code) == "hyperopt.nope\n"


def test_a_name_that_is_missing_is_an_import_error(alias):
    """``from hyperopt import nonsense`` fails as for any package."""
    with pytest.raises(ImportError, match="nonsense"):
        exec("from hyperopt import nonsense")


def test_the_version_can_be_looked_up_without_a_hyperopt(alias, monkeypatch):
    """importlib.metadata knows the version whose API is meant, and only that distribution."""
    monkeypatch.setattr(sys, "path", STDLIB)
    importlib.invalidate_caches()
    assert importlib.metadata.version("hyperopt") == "0.3.0"
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("hyperopt-something")


def test_an_installed_hyperopt_answers_for_its_version(alias, tmp_path, monkeypatch):
    """Where there is a real distribution, its version counts."""
    folder = tmp_path / "hyperopt-0.2.7.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: hyperopt\nVersion: 0.2.7\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *STDLIB])
    importlib.invalidate_caches()
    assert importlib.metadata.version("hyperopt") == "0.2.7"


def test_hyperopts_tests_come_from_its_own_files(fake_hyperopt, alias):
    """hyperopt.tests is hyperopt's, and what it imports from hyperopt is ours."""
    module = importlib.import_module("hyperopt.tests.unit.test_a")
    assert module.__file__ == str(fake_hyperopt / "hyperopt/tests/unit/test_a.py")
    assert module.here is sparktune.tpe
    assert importlib.import_module("hyperopt.pyll.tests.test_b").scope is sparktune.pyll.scope


def test_hyperopts_tests_without_a_hyperopt_say_so(alias, monkeypatch):
    """The error says where they would come from."""
    monkeypatch.setattr(sys, "path", STDLIB)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps hyperopt"):
        importlib.import_module("hyperopt.tests")


def test_uninstall_leaves_no_trace(fake_hyperopt):
    """Afterwards hyperopt is what is installed under that name, and sparktune is as it was."""
    path, names = list(sys.meta_path), set(vars(sparktune))
    with compat.aliased():
        importlib.import_module("hyperopt.tests")
        importlib.import_module("hyperopt.pyll.tests")
    assert sys.meta_path == path
    assert not [name for name in sys.modules if name.partition(".")[0] == "hyperopt"]
    assert set(vars(sparktune)) == names
    assert type(sparktune.hp.uniform("x", 0, 1)).__module__ == "sparktune.space.nodes"
    try:
        assert importlib.import_module("hyperopt").__file__ == str(fake_hyperopt / "hyperopt/__init__.py")
    finally:
        sys.modules.pop("hyperopt", None)


def test_blocks_nest(alias):
    """The end of an inner block, and install() called again, leave what is outside alone."""
    compat.install()
    with compat.aliased():
        pass
    assert compat.is_installed()
    assert sys.meta_path.count(sys.modules["sparktune.compat.finder"]._finder) == 1
    assert importlib.import_module("hyperopt") is sparktune


def test_a_hyperopt_that_is_loaded_already_is_an_error(fake_hyperopt):
    """install() says where it came from and what to do, and changes nothing."""
    module = importlib.import_module("hyperopt")
    try:
        with pytest.raises(ImportError, match="before anything that imports hyperopt") as caught:
            compat.install()
        assert isinstance(caught.value, SparktuneError)
        assert str(fake_hyperopt) in str(caught.value)
        assert sys.modules["hyperopt"] is module
        assert not compat.is_installed()
    finally:
        sys.modules.pop("hyperopt", None)


def test_nodes_are_known_by_hyperopts_name(alias):
    """Programs that look for "hyperopt" in the name of a node's class find it; documents pickle by our names."""
    import hyperopt

    assert "hyperopt" in str(type(hyperopt.hp.uniform("x", 0, 1)))
    trials = hyperopt.Trials()
    hyperopt.fmin(abs, hyperopt.hp.uniform("x", -1, 1), max_evals=2, trials=trials, verbose=False)
    assert b"hyperopt" not in pickle.dumps(trials)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("make", [list, partial(Domain, abs), Study], ids=["space", "domain", "study"])
def test_what_is_pickled_under_the_alias_does_not_need_it(make, protocol):
    """Spaces, and what holds one, are read without it; a node in two places stays one."""
    with compat.aliased():
        node = hp.uniform("x", 0, 1)
        data = pickle.dumps(make([node, {"c": hp.choice("c", [Literal("a"), node])}]), protocol)
    assert b"hyperopt." not in data
    back = pickle.loads(data)
    if isinstance(back, list):
        assert back[0] is back[1]["c"].pos_args[2]
        assert (type(back[0]), type(back[1]["c"].pos_args[1])) == (Apply, Literal)
        assert space_eval(back, {"x": 0.5, "c": 1}) == (0.5, {"c": 0.5})


def test_nodes_are_copied_under_the_alias_as_without(alias):
    """copy and deepcopy give nodes of the same class and contents; the end of it leaves nothing behind."""
    space = hp.choice("c", [1, hp.uniform("x", 0, 1)])
    for copied in (copy.copy(space), copy.deepcopy(space)):
        assert copied is not space
        assert str(copied) == str(space)
    compat.uninstall()
    assert not {Apply, Literal} & set(copyreg.dispatch_table)


def test_importing_the_module_installs():
    """``import sparktune.compat.hyperopt`` is install() in one line, and has sparktune's names."""
    code = """
    import sparktune.compat.hyperopt as hyperopt
    import hyperopt as by_name
    print(by_name.__name__, hyperopt.fmin is by_name.fmin)
    """
    assert run(code) == "sparktune True\n"


def test_compat_alone_changes_nothing():
    """Importing sparktune.compat leaves the import system alone."""
    code = "import sys; before = list(sys.meta_path); import sparktune.compat; print(sys.meta_path == before)"
    assert run(code) == "True\n"


def test_levels_and_handlers_of_hyperopts_logger_hold():
    """A program that silences or records hyperopt's logger does so with sparktune's messages, until that is undone."""
    code = """
    import logging, sys
    import sparktune.compat.hyperopt
    from sparktune import compat
    logger = logging.getLogger("sparktune.run")
    logging.getLogger("hyperopt").addHandler(logging.StreamHandler(sys.stdout))
    logger.warning("shown")
    logging.getLogger("hyperopt").setLevel(logging.CRITICAL)
    logger.warning("not shown")
    compat.uninstall()
    print(logger.isEnabledFor(logging.WARNING), logging.getLogger("sparktune").parent is logging.root)
    """
    assert run(code).splitlines() == ["shown", "True True"]


#: The modules in which hyperopt 0.3.0 has a logger.
LOGGING = ["anneal", "base", "early_stop", "fmin", "mongoexp", "pyll.base", "rand", "spark", "tpe", "utils"]


@pytest.mark.parametrize("name", LOGGING)
def test_modules_have_a_logger_as_in_hyperopt(alias, name):
    """``from hyperopt.tpe import logger`` gives one whose name is the module's here; of SparkTrials, hyperopt's own."""
    logger = importlib.import_module(f"hyperopt.{name}").logger
    assert logger.name == ("hyperopt-spark" if name == "spark" else f"sparktune.{name}")


def test_records_of_the_modules_loggers_go_where_sparktunes_go(alias, caplog):
    """What is logged by them reaches sparktune's handlers; silencing one leaves sparktune's own messages alone."""
    from hyperopt.tpe import logger

    with caplog.at_level("INFO", "sparktune"):
        logger.info("shown")
        logger.setLevel("ERROR")
        try:
            logger.info("not shown")
            sys.modules["sparktune.run.loop"].logger.info("shown too")
        finally:
            logger.setLevel("NOTSET")
    assert [record.message for record in caplog.records] == ["shown", "shown too"]


@pytest.mark.parametrize("name", ["tpe", "mongoexp"])
def test_modules_lose_the_logger_with_the_alias(name):
    """After uninstall, modules have no names but their own, those that were imported under the alias included."""
    code = f"""
    from sparktune import compat
    with compat.aliased():
        from hyperopt.{name} import logger
    import sparktune.{name} as module
    print(logger.name, hasattr(module, "logger"))
    """
    assert run(code) == f"sparktune.{name} False\n"
