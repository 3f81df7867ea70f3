"""Even search: the points of a low-discrepancy sequence over the prior, whatever the results.

They leave smaller gaps than random draws do, which pays where the model of the objective comes later, or never.

Source:
    Bergstra and Bengio 2012, "Random search for hyper-parameter optimization", section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidArgumentError
from sparktune.history.columns import History
from sparktune.history.documents import Document
from sparktune.kernels.arrays import FloatArray
from sparktune.kernels.sobol import halton, sobol
from sparktune.search.even import even_points
from sparktune.search.suggestion import suggested
from sparktune.space.compile import Space

__all__ = ["Settings", "propose", "suggest"]

SEQUENCES = {"sobol": sobol, "halton": halton}


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of :func:`suggest`.

    Attributes:
        sequence: "sobol" or "halton", both scrambled. Sobol's is the evener one after a power of two of points.
    """

    sequence: str = "sobol"

    def __post_init__(self) -> None:
        if not isinstance(self.sequence, str) or self.sequence not in SEQUENCES:
            raise InvalidArgumentError(
                f"qmc.suggest takes for sequence one of {', '.join(SEQUENCES)}, got sequence={self.sequence!r}"
            )


DEFAULTS = Settings()


def suggest(
    new_ids: Sequence[Any], domain: Any, trials: Any, seed: Any, sequence: str = DEFAULTS.sequence
) -> list[Document]:
    """A document per id: the next points of the sequence.

    The seed of the study's first proposal picks the sequence; later calls, and a study that is resumed, go on with it.
    On a discrete space a point that was tried is passed over while another is left. With more than 1,000 parameters the
    points are draws from the prior.

    Args:
        new_ids: Ids for the proposals.
        domain: Gives the space.
        trials: Gives the history, and makes the documents.
        seed: Whatever ``numpy.random.default_rng`` takes.
        sequence: See :class:`Settings`.

    Raises:
        InvalidArgumentError: If there is no such sequence.
    """
    return suggested("qmc", propose, Settings(sequence), new_ids, domain, trials, seed)


def propose(
    space: Space, history: History, rng: np.random.Generator, n: int, settings: Settings | None = None
) -> FloatArray:
    """n points, shape (n, d), NaN where inactive.

    Args:
        space: What may be tried.
        history: What has been tried, with the columns of ``space``.
        rng: Random stream.
        n: Number of points.
        settings: Options; the defaults if None.
    """
    return even_points(space, history, rng, n, SEQUENCES[(settings or DEFAULTS).sequence])
