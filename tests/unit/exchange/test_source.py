"""Where earlier results come from."""

import pickle

import pytest

from sparktune import Trials, fmin, hp, rand
from sparktune.exceptions import InvalidArgumentError


def test_a_pickle_is_refused_with_words_that_can_be_followed(tmp_path):
    """A pickle as a warm start is an error, and the line that it names gives the trials."""
    x, trials, path = hp.uniform("x", 0, 1), Trials(), tmp_path / "trials.pickle"
    options = {"algo": rand.suggest, "max_evals": 2, "rstate": 0, "verbose": False}
    fmin(abs, x, trials=trials, **options)
    path.write_bytes(pickle.dumps(trials))
    with pytest.raises(InvalidArgumentError, match=r"from sparktune import compat, and pass compat\.load\(path\)"):
        fmin(abs, x, warm_start=path, **options)
    from sparktune import compat

    fmin(abs, x, trials=(goes_on := Trials()), warm_start=compat.load(path), **options)
    assert len(goes_on) == 4
