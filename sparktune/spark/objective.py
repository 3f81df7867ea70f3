"""The objective as it travels to Spark: pickled once, with what it uses taken note of; and what it is called with."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import re
import sys
import types
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sparktune.exceptions import SerializationError
from sparktune.worker import caches
from sparktune.worker.child import shared_module

if TYPE_CHECKING:
    from sparktune.spark.gateway import Gateway
    from sparktune.worker.task import Blob

T = TypeVar("T")

#: The shared values that are being pickled, each within the one before.
_in_hand: ContextVar[tuple[SharedValue[Any], ...]] = ContextVar("sparktune_in_hand", default=())


class SharedValue(Generic[T]):
    """A value that is sent to Spark once, for any number of ``fmin`` calls whose objectives use its ``value``.

    Made by :meth:`SparkTrials.broadcast`.

    Attributes:
        value: The value; on the driver the very object.
    """

    def __init__(self, value: T) -> None:
        self.value = value
        self._pickled: PickledObjective | None = None
        self._sent: dict[str, tuple[Gateway, Blob]] = {}

    def pickled(self) -> tuple[str, bytes]:
        """The value's digest and pickle, made when first needed.

        Raises:
            SerializationError: If it cannot be pickled.
        """
        pickled = self.with_what_it_holds()
        return pickled.digest, pickled.data

    def with_what_it_holds(self) -> PickledObjective:
        """The same, with the shared values and broadcast variables in the value; raises as :meth:`pickled`."""
        if self._pickled is None:
            around = _in_hand.get()
            if any(self is handle for handle in around):
                raise SerializationError(
                    "the value to broadcast holds its own handle, and nothing can be loaded before itself: let it hold "
                    "what it needs without that handle"
                )
            token = _in_hand.set((*around, self))
            try:
                self._pickled = _pickle(self.value, "the value to broadcast")
            finally:
                _in_hand.reset(token)
        return self._pickled

    def blob(self, gateway: Gateway) -> Blob:
        """The value as it can be had on the workers of a session; sent there when this is first asked."""
        if gateway.session_id not in self._sent:
            self._sent[gateway.session_id] = gateway, gateway.share(self.pickled()[1])
        return self._sent[gateway.session_id][1]

    def unpersist(self) -> None:
        """Free what was sent, where Spark can; a later ``fmin`` that uses the value sends it again."""
        while self._sent:
            _, (gateway, blob) = self._sent.popitem()
            gateway.unshare(blob)

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedValue, (self.value,)


@dataclass
class PickledObjective:
    """An objective as bytes, with what they refer to.

    Attributes:
        data: The pickle.
        digest: Identifies it, with what is sent for it.
        shared: The shared values that it uses, or may be called with, by digest; those that others hold before them.
        broadcasts: Broadcast variables of the user's likewise.
        modules: Names of the packages that it needs where it is loaded, the standard library's left out.
        imports: Names of further packages that its code imports when it runs.
    """

    data: bytes
    digest: str
    shared: dict[str, SharedValue[Any]] = field(default_factory=dict)
    broadcasts: list[Any] = field(default_factory=list)
    modules: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)


def pickle_objective(fn: Any, constants: Iterable[Any] = ()) -> PickledObjective:
    """The objective as bytes.

    Args:
        fn: The objective.
        constants: Of the space. What they hold of shared values and broadcast variables is sent along, for
            :func:`pickle_argument` has them travel by name.

    Raises:
        SerializationError: If it cannot be pickled; if it holds a part of Spark that exists on the driver only, the
            message names the engine that runs it there.
    """
    pickled = _pickle(fn, "the objective")
    shared, broadcasts = _held_by(constants)
    if shared or broadcasts:  # a worker that has the objective may still lack what another space has
        names = [*sorted(shared), *(str(variable._jbroadcast.id()) for variable in broadcasts)]
        pickled.digest = _digest("|".join([pickled.digest, *names]).encode())
        pickled.shared.update(shared)
        _add(broadcasts, pickled.broadcasts)
    return pickled


def pickle_argument(value: Any, shared: Collection[str], broadcasts: Collection[Any]) -> bytes:
    """What an objective is called with, as bytes.

    A shared value that was not sent travels whole: one of the space's own functions has given it.

    Args:
        value: The value of the space at a point.
        shared: Digests of the shared values that were sent.
        broadcasts: The broadcast variables that were.

    Raises:
        SerializationError: If it holds a part of Spark that exists on the driver only, or a broadcast variable that was
            not sent.
        Exception: If it cannot be pickled.
    """
    file = io.BytesIO()
    pickler = _naming_pickler_class()(file, shared)
    try:
        pickler.dump(value)
    except _HeldError as error:
        raise SerializationError(f"the value of the space at this point holds {error.part}, {error.remedy}") from None
    if not all(_is_among(variable, broadcasts) for variable in pickler.broadcasts):
        raise SerializationError(
            "the value of the space at this point holds a broadcast variable that is no option of the space, but made "
            "or found by one of its functions, and the workers were sent those that are: let the objective use it, and "
            "have a key to it in the space"
        )
    return file.getvalue()


#: Constants of these very types hold nothing: nearly all are of one of them.
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def _held_by(constants: Iterable[Any]) -> tuple[dict[str, SharedValue[Any]], list[Any]]:
    """The shared values, by digest, and the broadcast variables that constants of a space hold."""
    shared: dict[str, SharedValue[Any]] = {}
    broadcasts: list[Any] = []
    for constant in constants:
        if type(constant) in _PLAIN:
            continue
        pickler = _naming_pickler_class()(_Nowhere())
        # What cannot be pickled is the failure of the trials that get it, if any do.
        with contextlib.suppress(Exception):
            pickler.dump(constant)
        shared.update(pickler.shared)
        _add(pickler.broadcasts, broadcasts)
    return shared, broadcasts


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: object) -> None:
        """Let go of the bytes, or of the buffer that large ones come in."""


def _is_among(variable: Any, broadcasts: Iterable[Any]) -> bool:
    return any(variable is known for known in broadcasts)


def _add(new: Iterable[Any], broadcasts: list[Any]) -> None:
    """Add the broadcast variables that are not among others to them."""
    broadcasts += [variable for variable in new if not _is_among(variable, broadcasts)]


def _pickle(value: Any, what: str) -> PickledObjective:
    file = io.BytesIO()
    pickler = _pickler_class()(file)
    try:
        pickler.dump(value)
    except Exception as error:  # pickling calls code of any class
        if isinstance(error, SerializationError):
            raise
        name = _culprit(value)
        where = "" if name is None else f" in the variable {name!r}"
        if isinstance(error, _HeldError):
            raise SerializationError(f"{what} holds {error.part}{where}, {error.remedy}") from None
        if "SparkContext" in str(error) or "ONLY_VALID_ON_DRIVER" in str(error):
            raise SerializationError(f"{what} holds the Spark context{where}, {_DRIVER_ONLY}") from error
        raise SerializationError(
            f"{what} cannot be pickled to be sent to Spark ({error}{where}): open files, locks and connections inside "
            "the objective, not around it"
        ) from error
    data = file.getvalue()
    modules = {name for name in pickler.modules if _is_installed(name)}
    imports = {name for name in pickler.imports if _is_installed(name)} - modules
    return PickledObjective(data, _digest(data), pickler.shared, pickler.broadcasts, modules, imports)


class _HeldError(Exception):
    """An objective holds what is of no use on an executor."""

    def __init__(self, part: str, remedy: str) -> None:
        super().__init__(part)
        self.part = part
        self.remedy = remedy


def _culprit(value: Any, seen: tuple[Any, ...] = ()) -> str | None:
    """The name of a variable that keeps ``value`` from being pickled, if it is one of those that a function uses.

    Args:
        value: An objective, or a function that it uses.
        seen: Functions around it, which fail because it does.
    """
    seen = *seen, value
    try:
        variables = _variables(value)
    except Exception:  # of an object with attributes of its own making
        return None
    for name, part in variables.items():
        if any(part is known for known in seen):
            continue
        try:
            _pickler_class()(io.BytesIO()).dump(part)
        except Exception:
            is_function = isinstance(part, (types.FunctionType, types.MethodType, functools._lru_cache_wrapper))
            return (_culprit(part, seen) if is_function else None) or name
    return None


def _variables(value: Any) -> dict[str, Any]:
    """What a function finds in the functions around it and in its module, or the attributes of an object."""
    if isinstance(value, types.MethodType):
        return {**_variables(value.__self__), **_variables(value.__func__)}
    if isinstance(value, functools._lru_cache_wrapper):
        return _variables(value.__wrapped__)
    if not isinstance(value, types.FunctionType):
        return {} if isinstance(value, type) else dict(getattr(value, "__dict__", {}))
    found = {
        name: value.__globals__[name] for name in _operands(value.__code__, "LOAD_GLOBAL") if name in value.__globals__
    }
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # it has no value yet
            found[name] = cell.cell_contents
    return found


@functools.cache
def _naming_pickler_class() -> Any:
    """A pickler that has shared values and broadcast variables travel by name, and refuses what the driver alone has.

    A class made here, for pyspark is imported where it is needed.
    """
    import pyspark
    from pyspark import cloudpickle

    broadcast_type: Any = getattr(pyspark, "Broadcast", ())  # a client for Connect alone has none

    class Pickler(cloudpickle.CloudPickler):
        def __init__(self, file: Any, sent: Collection[str] | None = None) -> None:
            super().__init__(file)  # type: ignore[no-untyped-call]
            self.shared: dict[str, SharedValue[Any]] = {}
            self.broadcasts: list[Any] = []
            self._by_value = cloudpickle.list_registry_pickle_by_value()
            self._sent = sent  # the shared values that have a name where this is read; None: all of them

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, SharedValue):
                held = obj.with_what_it_holds()
                if self._sent is not None and held.digest not in self._sent:
                    return types.SimpleNamespace, (), {"value": obj.value}
                self.shared.update(held.shared)  # before it, for they are loaded in this order
                self.shared[held.digest] = obj
                _add(held.broadcasts, self.broadcasts)
                return shared_module().__dict__["get"], (held.digest,)
            if isinstance(obj, broadcast_type):
                number = obj._jbroadcast.id()
                self.broadcasts.append(obj)
                # Not by its own way, which takes note of it for the next job of this thread, whatever that will be.
                return sys.modules[broadcast_type.__module__].__dict__["_from_id"], (number,)
            if (part := _driver_part(obj)) is not None:
                raise _HeldError(part, _DRIVER_ONLY)
            if (cached := caches.reduced(obj, self._by_value)) is not None:
                return cached
            return super().reducer_override(obj)  # type: ignore[no-untyped-call]

    return Pickler


@functools.cache
def _pickler_class() -> Any:
    """The same for objectives: it refuses more, and takes note of packages."""

    class Pickler(_naming_pickler_class()):  # type: ignore[misc]
        def __init__(self, file: io.BytesIO) -> None:
            super().__init__(file)
            self.modules: set[str] = set()
            self.imports: set[str] = set()

        def reducer_override(self, obj: Any) -> Any:
            if (part := _driver_global(obj)) is not None:
                raise _HeldError(part, _DRIVER_ONLY)
            if type(obj).__name__ == "Accumulator" and type(obj).__module__ == "pyspark.accumulators":
                raise _HeldError("an accumulator", _NO_ACCUMULATORS)
            if not isinstance(obj, SharedValue):  # no worker needs its class
                self._note(obj)
            return super().reducer_override(obj)

        def _note(self, obj: Any) -> None:
            if isinstance(obj, types.ModuleType):
                self.modules.add(obj.__name__)
            elif isinstance(obj, types.CodeType):
                self.imports.update(_imported_by(obj))
            else:
                owner = obj if isinstance(obj, (type, types.FunctionType, types.BuiltinFunctionType)) else type(obj)
                self.modules.add(getattr(owner, "__module__", None) or "builtins")

    return Pickler


def _driver_part(obj: Any) -> str | None:
    """What ``obj`` is, if it is a part of Spark that exists on the driver only."""
    module, name = type(obj).__module__, type(obj).__name__
    if module.startswith("pyspark.") and name in ("SparkSession", "SparkContext", "DataFrame", "RDD", "PipelinedRDD"):
        return f"an {name}" if name == "RDD" else f"a {name}"
    if module.startswith("py4j.") and name in ("JavaObject", "JavaMember", "JavaGateway", "JVMView"):
        return "a Java object of Spark's (a model, a column)"
    return None


def _driver_global(obj: Any) -> str | None:
    """What of Spark a function finds in the globals of its module, for functions of modules travel by name alone."""
    function = obj.__func__ if isinstance(obj, types.MethodType) else obj
    if isinstance(obj, type):  # its objects may be the objective
        function = obj.__dict__.get("__call__")
    if not isinstance(function, types.FunctionType) or not _is_installed(function.__module__ or ""):
        return None
    found = (_driver_part(function.__globals__.get(name)) for name in _operands(function.__code__, "LOAD_GLOBAL"))
    return next(filter(None, found), None)


_USE_DRIVER = (
    'use SparkTrials(engine="driver"), which evaluates objectives that use Spark themselves in threads of the driver; '
    "or collect the data first (toPandas()) and let the objective use that"
)
_DRIVER_ONLY = f"which exists on the driver only, and this engine evaluates on the executors: {_USE_DRIVER}"
_NO_ACCUMULATORS = (
    "and what is added to it would be lost, as trials run in processes of their own below Spark's workers: have the "
    "objective return what it counts, beside the loss in a dictionary, and add it up from trials.results"
)

#: In the traceback of what fails for want of a session: a session or a context asked for, MLlib, DataFrames.
_SPARK_USED = re.compile(
    r"[/\\]pyspark[/\\](sql|ml|mllib|pandas|context\.py|rdd\.py|core[/\\](context|rdd)\.py)|getActiveSession\("
)


def advice_on(text: str) -> str:
    """What to do about an error of the objective on an executor, with this traceback; empty if nothing is known."""
    if not _SPARK_USED.search(text):
        return ""
    return f"If the objective uses Spark itself, which exists on the driver only, {_USE_DRIVER}"


def _imported_by(code: types.CodeType) -> set[str]:
    """The packages that a function's code imports."""
    return {name.partition(".")[0] for name in _operands(code, "IMPORT_NAME") if name}


def _operands(code: types.CodeType, operation: str) -> list[str]:
    """The names that code gives to an operation."""
    import dis

    return [instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == operation]


def _is_installed(module: str) -> bool:
    """Whether a module belongs to an installed package that workers may lack or have in another version."""
    name = module.partition(".")[0]
    return name not in sys.stdlib_module_names and name not in (
        "__main__",
        "__mp_main__",
        "builtins",
        "pyspark",
        "py4j",
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
