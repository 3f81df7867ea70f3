"""A short search over spaces of which one is an older form of the other."""

from sparktune import Trials, fmin, hp, rand

X = hp.uniform("x", -5, 5)
OLD = {"x": X, "model": hp.choice("model", ["a", "b"]), "gone": hp.uniform("gone", 0, 1)}
NEW = {"x": hp.uniform("x", -3, 8), "model": hp.choice("model", ["c", "b", "a"]), "new": hp.uniform("new", 0, 1)}


def square(point):
    x = point["x"] if isinstance(point, dict) else point
    return (x - 1) ** 2


def minimum(space=X, n=10, algo=rand.suggest, trials=None, **options):
    """The trials of a short search."""
    trials = Trials() if trials is None else trials
    fmin(square, space, algo, n, trials=trials, **{"rstate": 0, "show_progressbar": False, **options})
    return trials
