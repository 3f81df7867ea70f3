"""What attempts printed that were lost: kept in the trial, and by storages."""

import os

import pytest

from sparktune import Trials, fmin, hp, rand

STORAGES = ["study.jsonl", "folder/", "sqlite:///{}/study.db"]


@pytest.mark.parametrize("storage", STORAGES)
def test_log_of_a_lost_attempt_is_kept(tmp_path, storage):
    """A trial that is evaluated again tells what its first process printed, in this program and in the next one."""
    if storage.startswith("sqlite"):
        pytest.importorskip("sqlalchemy")
        where = storage.format(tmp_path)
    else:
        where = os.path.join(tmp_path, storage)
    flag = str(tmp_path / "flag")

    def objective(x):
        import os

        print("said by the second" if os.path.exists(flag) else "said by the first", flush=True)
        if not os.path.exists(flag):
            open(flag, "w").close()
            os._exit(7)
        return x

    trials = Trials(parallelism=1, backend="processes", max_retries=1)
    fmin(objective, hp.uniform("x", 0, 1), rand.suggest, 1, trials=trials, storage=where, show_progressbar=False)
    for known in (trials, Trials.load(where)):
        first, *others = known.logs(0).splitlines()
        assert first.startswith("attempt 1, lost: ")
        assert "exit code 7" in first
        assert others == ["said by the first", "last attempt:", "said by the second"]
