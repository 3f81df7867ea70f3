"""hyperopt's import path utils."""

import os
from pathlib import Path

import numpy as np
import pytest

from sparktune import hp, utils
from sparktune.exceptions import InvalidArgumentError, SparktuneError
from sparktune.space.nodes import Literal, as_apply
from sparktune.space.scope import rec_eval


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_literal_gets_a_live_object():
    """Every literal that holds the object is put into the memo, and nothing else."""
    expr, memo = as_apply([utils, hp.uniform("x", 0, 1), {"a": utils}]), {}
    assert utils.use_obj_for_literal_in_memo(expr, "live", utils, memo) is memo
    assert set(memo.values()) == {"live"}
    assert all(isinstance(node, Literal) and node.obj is utils for node in memo)
    assert rec_eval(expr.pos_args[2], memo=memo) == {"a": "live"}


def test_time_is_in_whole_milliseconds():
    """coarse_utcnow has no time zone, as in documents."""
    now = utils.coarse_utcnow()
    assert (now.tzinfo, now.microsecond % 1000) == (None, 0)


def test_how_likely_each_is_the_smallest():
    """Probabilities from draws, by default from the same ones each time."""
    p = utils.pmin_sampled([0.0, 0.0, 50.0], [1.0, 1.0, 1.0], n_samples=4000)
    # 4,000 coins: a standard deviation of 0.008.
    np.testing.assert_allclose(p, [0.5, 0.5, 0.0], atol=0.04)
    np.testing.assert_array_equal(p, utils.pmin_sampled([0.0, 0.0, 50.0], [1.0, 1.0, 1.0], n_samples=4000))
    assert utils.pmin_sampled([0, 1], [1, 1], 10, np.random.default_rng(0)).sum() == 1


def test_fast_isin():
    """Elementwise, with an empty array as well."""
    assert utils.fast_isin([3, 1, 2], [2, 5]).tolist() == [False, False, True]
    assert utils.fast_isin([1.0], []).tolist() == [False]


def test_the_latest_document_of_each_id():
    """The highest version wins, of equal ones the last; indices ascend."""
    rows = [(1, 1), (0, 2), (0, 1), (1, 5), (1, 5), ("a", 0)]
    found = utils.get_most_recent_inds([{"_id": key, "version": version} for key, version in rows])
    assert found.tolist() == [1, 4, 5]
    assert utils.get_most_recent_inds([]).tolist() == []


def test_objects_by_dotted_name():
    """The longest module, then attributes; a missing one is Python's own error."""
    assert utils.json_lookup("os.path.join") is os.path.join
    module, rest = utils.import_tokens(["pathlib", "Path", "home"])
    assert (module.__name__, rest) == ("pathlib", ["Path", "home"])
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        utils.json_lookup("no_such.thing")


def test_parts_of_a_path():
    """Outermost first, without the root and what changes nothing."""
    assert list(utils.path_split_all(os.path.join("a", ".", "b", "c", ""))) == ["a", "b", "c"]
    assert list(utils.path_split_all("/a/b")) == ["a", "b"]


def test_the_closest_folder(folder):
    """The innermost that exists, and the first part that does not."""
    (folder / "a").mkdir()
    assert utils.get_closest_dir(os.path.join("a", "b", "c")) == ("a", "b")
    assert utils.get_closest_dir("b") == ("", "b")
    assert utils.get_closest_dir(str(folder / "a" / "b")) == (str(folder / "a"), "b")
    with pytest.raises(InvalidArgumentError, match="yet to be made, got 'a'"):
        utils.get_closest_dir("a")


def test_the_working_directory_comes_back(folder):
    """Also after an error."""
    (folder / "a").mkdir()
    with pytest.raises(KeyError), utils.working_dir("a"):
        assert Path.cwd() == folder / "a"
        raise KeyError
    assert Path.cwd() == folder


@pytest.mark.parametrize("erase_after", [True, False])
def test_a_folder_for_a_while(folder, erase_after):
    """It is made with its parents, marked as in use, and erased on request with what was put there."""
    (folder / "base").mkdir()
    path = folder / "base" / "x" / "y"
    with utils.temp_dir(path, erase_after=erase_after):
        (path / "work.txt").write_text("x")
        assert (folder / "base" / "x.inuse").exists()
    assert (folder / "base").is_dir()
    assert not (folder / "base" / "x.inuse").exists()
    assert (path / "work.txt").exists() is not erase_after
    assert (folder / "base" / "x").exists() is not erase_after


def test_a_folder_that_was_there_stays(folder):
    """What temp_dir did not make, it does not erase."""
    (folder / "mine").mkdir()
    with utils.temp_dir("mine", erase_after=True):
        pass
    assert (folder / "mine").is_dir()


def test_no_folder_above():
    """A path that leads upwards is refused, for it might be erased."""
    with pytest.raises(RuntimeError, match=r"no path with '\.\.'.*got '\.\./x'") as caught, utils.temp_dir("../x"):
        pass
    assert isinstance(caught.value, SparktuneError)
