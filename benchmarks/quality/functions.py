"""The synthetic objectives, each built with its optimum; losses are minimised, and every optimum is known exactly.

A builder returns a space, a function of a configuration, and the least value of that function.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from parameters import Choice, Config, Float, Int, Space, choice, floats

Function = Callable[[Config], float]
Built = tuple[Space, Function, float]


def vector(config: Config, n: int) -> Any:
    """The values of x0 ... x(n-1), shape (n,)."""
    return np.array([config[f"x{i}"] for i in range(n)])


def rotation(n: int, rng: np.random.Generator) -> Any:
    """A random orthogonal matrix, shape (n, n)."""
    q, r = np.linalg.qr(rng.normal(size=(n, n)))
    return q * np.sign(np.diag(r))


def bbob(function: int, n: int, instance: int) -> Built:
    """A function of the BBOB test bed on [-5, 5]^n, from the package ``ioh``."""
    import ioh

    problem = ioh.get_problem(function, instance, n)
    return floats(n, -5, 5), lambda config: problem(vector(config, n)), float(problem.optimum.y)


def branin(n: int, first: int, second: int) -> Built:
    """Branin's function of two coordinates of [0, 1]^n; the others have no effect."""

    def f(config: Config) -> float:
        x, y = 15 * config[f"x{first}"] - 5, 15 * config[f"x{second}"]
        valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
        return float(valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)

    return floats(n, 0, 1), f, 0.39788735772973816


def mixed_grid(n: int, seed: int, kind: str) -> Built:
    """Rastrigin's function or a rotated ellipsoid where four in five parameters have 3, 5, 9 or 17 levels."""
    rng = np.random.default_rng(seed)
    levels = [(3, 5, 9, 17, 0)[i % 5] for i in range(n)]
    space = tuple(Int(f"x{i}", 0, k - 1) if k else Float(f"x{i}", 0, 1) for i, k in enumerate(levels))
    spans = np.array([max(k - 1, 1) for k in levels])
    optimum = np.array([rng.integers(k) / (k - 1) if k else rng.uniform(0.1, 0.9) for k in levels])
    turn, weights = rotation(n, rng), 10.0 ** (3 * np.arange(n) / (n - 1))

    def f(config: Config) -> float:
        z = vector(config, n) / spans - optimum
        if kind == "ellipsoid":
            return float(weights @ (turn @ z) ** 2)
        return float(np.sum(10 * (1 - np.cos(12 * np.pi * z)) + (6 * z) ** 2))

    return space, f, 0.0


def interacting_choices(sizes: tuple[int, ...], seed: int) -> Built:
    """A sum of effects of single options and of some pairs of them; few enough to know the best by trying all."""
    rng = np.random.default_rng(seed)
    table = np.zeros(sizes)
    for axes in itertools.chain(
        itertools.combinations(range(len(sizes)), 1), itertools.combinations(range(len(sizes)), 2)
    ):
        if len(axes) == 1 or rng.random() < 0.3:
            shape = [size if axis in axes else 1 for axis, size in enumerate(sizes)]
            table = table + rng.normal(size=shape)
    space = tuple(choice(f"c{i}", size) for i, size in enumerate(sizes))
    return space, lambda config: float(table[tuple(config[p.name] for p in space)]), float(table.min())


def ackley_with_choices(n: int, seed: int) -> Built:
    """Ackley's function of n numbers and n choices, whose five options are shuffled grid points."""
    rng = np.random.default_rng(seed)
    grids = np.array([rng.permutation([-2.0, -1.0, 0.0, 1.0, 2.0]) for _ in range(n)])
    shift = rng.uniform(-2, 2, n)
    space = tuple(choice(f"c{i}", 5) for i in range(n)) + floats(n, -3, 3)

    def f(config: Config) -> float:
        chosen = [grid[config[f"c{i}"]] for i, grid in enumerate(grids)]
        z = np.concatenate([chosen, vector(config, n) - shift])
        bowl, ripple = np.exp(-0.2 * np.sqrt(np.mean(z**2))), np.exp(np.mean(np.cos(2 * np.pi * z)))
        return float(20 * (1 - bowl) + np.e - ripple)

    return space, f, 0.0


def nested_model() -> Built:
    """A choice of three models; one of them has a depth, itself a choice, with a width for each layer."""
    layers = tuple(tuple(Int(f"width_{depth}_{i}", 8, 512, log=True) for i in range(depth)) for depth in (1, 2, 3))
    line = (Float("line_penalty", 1e-6, 1e2, log=True),)
    net = (Float("net_rate", 1e-5, 1e-1, log=True), Float("net_dropout", 0, 0.8), Choice("net_depth", layers))
    boost = (Float("boost_rate", 1e-3, 1, log=True), Int("boost_leaves", 2, 64), choice("boost_loss", 3))
    space = (Choice("model", (line, net, boost)), Float("subsample", 0.1, 1), choice("scaling", 3))
    best_width = 2.0 ** np.array([7, 5, 4])

    def f(config: Config) -> float:
        common = (0.3 - 0.3 * config["subsample"]) ** 2 + (0.02, 0.0, 0.06)[config["scaling"]]
        if config["model"] == 0:
            return float(common + 0.30 + 0.02 * (np.log10(config["line_penalty"]) + 1.5) ** 2)
        if config["model"] == 2:
            slow = np.log10(config["boost_rate"]) + 1.3
            few = np.log2(config["boost_leaves"]) - 4 + slow  # a slower rate wants larger trees
            return float(common + 0.12 + 0.1 * slow**2 + 0.04 * few**2 + (0.05, 0.0, 0.1)[config["boost_loss"]])
        depth = config["net_depth"] + 1
        widths = np.array([config[f"width_{depth}_{i}"] for i in range(depth)])
        misfit = np.log2(widths / best_width[:depth])
        rate = np.log10(config["net_rate"]) + 2 + 0.5 * depth + 0.1 * misfit[0]  # deeper or wider: slower
        dropout = config["net_dropout"] - 0.1 * depth
        return float(common + (0.15, 0.0, 0.05)[depth - 1] + 0.15 * rate**2 + 0.5 * dropout**2 + 0.02 * misfit @ misfit)

    return space, f, 0.0


def switches(n: int, seed: int) -> Built:
    """n parts, each on with two parameters of its own or off; some pairs do not go together."""
    rng = np.random.default_rng(seed)
    centres, scale = rng.uniform(0.15, 0.85, (n, 2)), rng.uniform(0.5, 2, n)
    gains, clashes = rng.uniform(0.2, 1, n), np.triu(rng.random((n, n)) < 0.4, 1) * rng.uniform(0.2, 0.8, (n, n))
    parts = (Choice(f"on{i}", ((), (Float(f"a{i}", 0, 1), Float(f"b{i}", 1e-4, 1, log=True)))) for i in range(n))
    space: Space = (*parts, Float("shared", 0, 1))

    def f(config: Config) -> float:
        on = np.array([config[f"on{i}"] for i in range(n)])
        loss = (1 - on) @ gains + on @ clashes @ on + (config["shared"] - 0.35) ** 2
        for i in np.flatnonzero(on):
            position = np.array([config[f"a{i}"], 1 + np.log10(config[f"b{i}"]) / 4])
            loss += scale[i] * np.sum((position - centres[i]) ** 2)
        return float(loss)

    states = (np.array(on) for on in itertools.product((0, 1), repeat=n))
    return space, f, float(min((1 - on) @ gains + on @ clashes @ on for on in states))


def styblinski_tang(n: int) -> Built:
    """A sum over the coordinates of a quartic with two valleys, on [-5, 5]^n."""

    def f(config: Config) -> float:
        x = vector(config, n)
        return float(np.sum(x**4 - 16 * x**2 + 5 * x) / 2)

    return floats(n, -5, 5), f, -39.16616570377142 * n


def sharp_ridge(n: int, seed: int) -> Built:
    """A rotated ridge on [-3, 3]^n: steep across, gentle along."""
    rng = np.random.default_rng(seed)
    turn, optimum = rotation(n, rng), rng.uniform(-2, 2, n)

    def f(config: Config) -> float:
        z = turn @ (vector(config, n) - optimum)
        return float(z[0] ** 2 + 10 * np.sqrt(np.sum(z[1:] ** 2)))

    return floats(n, -3, 3), f, 0.0
