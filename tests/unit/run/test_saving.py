"""``trials_save_file``: what it costs to save a result."""

import pickle

from sparktune import Trials
from sparktune.run import saving


class Counting(dict):
    """Counts how many of its keys were looked at."""

    n_looked_at = 0

    def __iter__(self):
        return self._counted(super().__iter__())

    def __reversed__(self):
        return self._counted(super().__reversed__())

    def _counted(self, keys):
        for key in keys:
            self.n_looked_at += 1
            yield key


def test_each_attachment_is_looked_at_once(tmp_path, monkeypatch, document):
    """Results beside the pickle are saved with their attachments, at n looks for n results and not n squared."""
    monkeypatch.setattr(saving, "SMALL", 0)
    monkeypatch.setattr(saving, "GROWTH", 1000)
    path, trials, n = str(tmp_path / "trials.pkl"), Trials(), 100
    save_file = saving.SaveFile(trials, path)
    trials.attachments = Counting()
    for tid in range(n):
        trials.insert_trial_doc(document(tid, {"x": 0.1}, 1.0))
        newest = trials._dynamic_trials[-1]
        trials.trial_attachments(newest)["model"] = tid
        save_file.note(newest)
    assert trials.attachments.n_looked_at <= 3 * n
    with open(path, "rb") as file:
        saved = pickle.load(file)
    assert len(saved._dynamic_trials) == 1
    saving.take_up(saved, path)
    assert [dict(saved.trial_attachments(d).items()) for d in saved._dynamic_trials] == [{"model": i} for i in range(n)]
