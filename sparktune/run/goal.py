"""What is optimised: which number of a result, and whether it should be low or high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparktune.exceptions import InvalidArgumentError, InvalidLoss, InvalidTypeError
from sparktune.history.trial import STATUS_OK
from sparktune.space.numbers import is_number

SIGNS = {"minimize": 1.0, "maximize": -1.0}

#: Under which name a number that is to be as high as possible is kept in the result, where the metric has no name.
VALUE = "value"


@dataclass(frozen=True)
class Goal:
    """How the loss, which is always minimised, comes from what the objective returns.

    Attributes:
        metrics: Keys of the result dictionary, one per loss; empty: the objective returns a number, or ``loss``.
        signs: 1 for each metric to be minimised, -1 for each to be maximised.
    """

    metrics: tuple[str, ...] = ()
    signs: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, direction: Any = "minimize", metric: Any = None) -> Goal:
        """The goal that the arguments of ``fmin`` stand for.

        Args:
            direction: "minimize" or "maximize"; with several metrics one for all, or a list of them.
            metric: A key of the result dictionary, a list of keys, or None.

        Raises:
            InvalidArgumentError, InvalidTypeError: If they are something else.
        """
        names = () if metric is None else (metric,) if isinstance(metric, str) else metric
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise InvalidTypeError(f"metric is a key of the result dict, a list of keys, or None, got {metric!r}")
        if metric is not None and (not names or len(set(names)) < len(names) or set(names) & {"status", "losses"}):
            raise InvalidArgumentError(f"metric names numbers of the result dict, each once, got {metric!r}")
        words = [direction] * max(1, len(names)) if isinstance(direction, str) else direction
        if not isinstance(words, Sequence) or not all(isinstance(word, str) and word in SIGNS for word in words):
            raise InvalidArgumentError(f'direction is "minimize" or "maximize", or a list of these, got {direction!r}')
        if len(words) != max(1, len(names)):
            raise InvalidArgumentError(
                f"direction has one word for each metric, got {len(words)} for {len(names)}: "
                "name them all, metric=[...], direction=[...]"
            )
        return cls(tuple(names), tuple(SIGNS[word] for word in words))

    @property
    def words(self) -> dict[str, list[str]] | None:
        """The arguments of :meth:`of` that give this goal, as a storage keeps them; None for the lowest loss."""
        return None if self == Goal() else self._arguments

    @property
    def _arguments(self) -> dict[str, list[str]]:
        directions = ["minimize" if sign > 0 else "maximize" for sign in self.signs]
        return {"direction": directions, **({"metric": list(self.metrics)} if self.metrics else {})}

    @classmethod
    def of_runs(cls, runs: Sequence[Mapping[str, Any]]) -> Goal | None:
        """The goal of the last of a stored study's runs; None if there is none, or it does not say."""
        return cls.of(**(runs[-1]["goal"] or {})) if runs and "goal" in runs[-1] else None

    def goes_on(self, earlier: Goal) -> bool:
        """Whether losses by this goal may stand beside those by an earlier one."""
        if sorted(self.metrics) == sorted(earlier.metrics):
            return self == earlier
        # Other names may stand for the same numbers, but what was to be high does not become what is to be low.
        return self._maximized == earlier._maximized

    @property
    def _maximized(self) -> set[int]:
        return {number for number, sign in enumerate(self.signs) if sign < 0}

    def __str__(self) -> str:
        """As arguments of ``fmin``."""
        return ", ".join(
            f"{name}={(value[0] if len(value) == 1 else value)!r}" for name, value in self._arguments.items()
        )

    def apply(self, value: Any) -> Any:
        """What the objective returned, with ``loss`` or ``losses`` put in; results of another status are left alone.

        Raises:
            InvalidLoss: If the result has no number where the metric should be.
        """
        if self == Goal():
            return value
        if not isinstance(value, Mapping):
            if not (is_number(value) or isinstance(value, bool)) or len(self.signs) > 1:
                raise InvalidLoss(value, f"{self._rule}, got {value!r} ({type(value).__name__})")
            numbers = [self._float(value, value, self._names[0])]
            kept: Mapping[str, Any] = {self._names[0]: numbers[0]}
        elif value.get("status", STATUS_OK) != STATUS_OK:
            return value
        else:
            if value.get("losses") is not None and len(self.signs) == 1:
                raise InvalidLoss(
                    value,
                    f"{self._rule}, got 'losses' in it as well, of which nothing says whether they should be low or "
                    "high: leave them out, or name them, metric=[...], direction=[...]",
                )
            if not self.metrics and "loss" not in value:
                return value  # as_result says what is wrong
            numbers = [self._number(value, name) for name in self.metrics or ("loss",)]
            kept = value if self.metrics else {**value, VALUE: numbers[0]}
        losses = [sign * number for sign, number in zip(self.signs, numbers, strict=True)]
        loss = {"loss": losses[0]} if len(losses) == 1 else {"losses": losses}
        return {"status": STATUS_OK, **kept, **loss}

    def loss(self, value: float | None) -> float | None:
        """The loss that a value of the (first) metric stands for."""
        return None if value is None else self.signs[0] * value

    def text(self, best_loss: float | None) -> str:
        """The name of what is optimised with its best value, for people."""
        name = "loss" if self == Goal() else self._names[0]
        return f"{name}: {'?' if best_loss is None else self.signs[0] * best_loss}"

    @property
    def _names(self) -> tuple[str, ...]:
        return self.metrics or (VALUE,)

    @property
    def _rule(self) -> str:
        if self.metrics:
            return f"with metric={list(self.metrics)} an objective returns a dict with these keys"
        return "with direction=\"maximize\" an objective returns a number or a dict with 'loss'"

    def _number(self, value: Mapping[str, Any], name: str) -> float:
        if name not in value:
            raise InvalidLoss(value, f"{self._rule}, got {sorted(map(str, value))}")
        return self._float(value[name], value, name)

    def _float(self, number: Any, value: Any, name: str) -> float:
        try:
            return float(number)
        except OverflowError:
            raise InvalidLoss(
                value,
                f"{self._rule}, all of them numbers that a float can hold, up to 1.8e308, got a larger int for "
                f"{name!r}: return a float, such as its logarithm or math.inf",
            ) from None
        except (TypeError, ValueError):
            raise InvalidLoss(value, f"{self._rule}, all of them numbers, got {name!r}: {number!r}") from None
