"""hyperopt's import path ``pyll.stochastic``."""

from sparktune.space.scope import STOCHASTIC_SYMBOLS as implicit_stochastic_symbols
from sparktune.space.scope import recursive_set_rng_kwarg, sample

__all__ = ["implicit_stochastic_symbols", "recursive_set_rng_kwarg", "sample"]
