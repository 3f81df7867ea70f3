"""What tests read off a study, and what they put into one."""

import numpy as np

from sparktune import tpe


def states(trials):
    """Of all trials, in their order."""
    return [document["state"] for document in trials._dynamic_trials]


def told(trials):
    """Values, loss and constraints of each trial."""
    return [
        (
            {label: values[0] for label, values in trial["misc"]["vals"].items() if values},
            trial["result"].get("loss"),
            trial["result"].get("constraints"),
        )
        for trial in trials._dynamic_trials
    ]


def split(history, gamma):
    """Rows of the good trials, and which rows are bad: all but those and the cancelled ones."""
    good = tpe.good_rows(history, gamma)
    is_bad = np.ones(len(history.kinds), bool)
    is_bad[np.append(good, history.ignored_rows)] = False
    return good, is_bad


class Gift:
    """Unpickling it is noticed."""

    n_opened = 0

    def __reduce__(self):
        return _opened, ()


def _opened():
    Gift.n_opened += 1
