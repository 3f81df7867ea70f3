"""Every error sparktune raises on purpose.

    SparktuneError
    ├── BadSearchSpace
    │   ├── DuplicateLabel
    │   └── InvalidSpaceError        (ValueError)
    ├── InvalidArgumentError         (ValueError)
    ├── InvalidTypeError             (TypeError)
    ├── InvalidAnnotatedParameter    (ValueError)
    ├── InvalidTrial                 (ValueError)
    ├── InvalidStorage               (ValueError)
    ├── InvalidResultStatus          (ValueError)
    ├── InvalidLoss                  (ValueError)
    ├── AllTrialsFailed
    ├── SearchExhausted              (LookupError)
    ├── ObjectiveError               (RuntimeError)
    ├── SerializationError           (TypeError)
    ├── WorkerLostError              (RuntimeError)
    ├── TrialTimeoutError            (TimeoutError)
    ├── TrialMemoryError             (MemoryError)
    ├── MissingPackageError          (ImportError)
    └── SparkUnavailableError        (RuntimeError)

Each derives from the builtin a caller would expect as well, and says the rule, the value received and the fix. Special
cases stand beside the code that raises them, such as ``JavaNotFoundError``, which is a SparkUnavailableError, and
``NoLossError``, which is an AllTrialsFailed.
"""

from __future__ import annotations

#: What to do about objects of an installed hyperopt, which know nothing of ours.
CHANGE_IMPORTS = (
    "change the import in all modules, or begin the program with import sparktune.compat.hyperopt, under which every "
    "import of hyperopt means sparktune"
)


class SparktuneError(Exception):
    """Base of all errors raised by sparktune."""


class BadSearchSpace(SparktuneError):
    """The search space cannot be used."""


class DuplicateLabel(BadSearchSpace):
    """One label names two different parameters."""


class InvalidSpaceError(BadSearchSpace, ValueError):
    """A parameter's distribution has arguments that make no sense."""


class InvalidArgumentError(SparktuneError, ValueError):
    """An argument of a public function has a value outside its rule."""


class InvalidTypeError(SparktuneError, TypeError):
    """An argument of a public function has the wrong type."""


class InvalidAnnotatedParameter(SparktuneError, ValueError):
    """A type annotation of the objective is not a search space."""


class InvalidTrial(SparktuneError, ValueError):
    """A trial document does not have the shape of one; ``obj`` is the document."""

    def __init__(self, msg: str, obj: object = None) -> None:
        super().__init__(msg)
        self.obj = obj

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.obj)


class InvalidStorage(SparktuneError, ValueError):
    """A study cannot be kept where it should be, or what is there is no study that this version can read."""


class _InvalidResult(SparktuneError, ValueError):
    """The objective returned something that is not a result; ``result`` is what it returned."""

    def __init__(self, result: object, msg: str = "") -> None:
        super().__init__(msg)
        self.result = result

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.result, str(self))


class InvalidResultStatus(_InvalidResult):
    """The objective returned a status that is not one of ``STATUS_STRINGS``."""


class InvalidLoss(_InvalidResult):
    """The objective returned a loss that is not a number."""


class AllTrialsFailed(SparktuneError):
    """No trial has a usable loss; the message shows the first failure."""


class SearchExhausted(SparktuneError, LookupError):
    """The algorithm has no point left to propose, as on a grid that was gone through."""


class ObjectiveError(SparktuneError, RuntimeError):
    """The objective failed elsewhere and its exception could not be brought here; the message has its traceback."""


class SerializationError(SparktuneError, TypeError):
    """Something that must travel to another process cannot be pickled."""


class WorkerLostError(SparktuneError, RuntimeError):
    """The process, or the machine, that evaluated a trial went away: killed, out of memory, crashed in native code."""


class TrialTimeoutError(SparktuneError, TimeoutError):
    """A trial ran longer than its limit and was killed."""


class TrialMemoryError(SparktuneError, MemoryError):
    """A trial's processes held more memory than its limit and were killed."""


class MissingPackageError(SparktuneError, ImportError):
    """Something was used that needs a package which is not installed."""


class SparkUnavailableError(SparktuneError, RuntimeError):
    """Spark cannot be used as asked: it is missing, stopped, or of a kind this engine does not support."""
