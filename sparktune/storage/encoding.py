"""Values as JSON and back. What is not JSON goes in as a pickle, marked as one, and is not opened unless trusted.

JSON's own types stay what they are, and types derived from them become them: an ordered dictionary a dictionary, an
``IntEnum`` an integer. Not a number and infinity are written as Python's ``json`` does. Everything else is a
dictionary of one key that begins with ``$``: ``$tuple``, ``$time``, ``$bytes``, ``$array`` (numpy's format), ``$dict``
(keys that are not text), ``$pickle``, and ``$lost`` for the text of an object that could not be stored.
"""

from __future__ import annotations

import base64
import datetime
import io
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidStorage, SerializationError

logger = logging.getLogger("sparktune")

MARK = "$"
#: Nested deeper than this, a value becomes a pickle, as one that contains itself does.
DEEPEST = 50
#: Bits of the longest integer that is written as one: Python refuses to read numbers of more than 4,300 digits.
LONGEST = 10_000


@dataclass(frozen=True)
class Pickled:
    """An object that was stored as a pickle, and was not opened: a pickle can run code of whoever wrote it."""

    data: bytes

    def open(self) -> Any:
        """The object. Only for studies that you trust."""
        return pickle.loads(self.data)

    def __repr__(self) -> str:
        return f"<a pickle of {len(self.data)} bytes; load the study with trust=True, or call .open(), if you trust it>"


def encode(value: Any, above: tuple[int, ...] = ()) -> Any:
    """``value`` in JSON's types.

    Args:
        value: Anything.
        above: Identities of the containers that this one is in.

    Raises:
        SerializationError: If something in it is neither JSON nor can be pickled.
    """
    kind = type(value)
    if kind in (str, float, bool) or value is None:
        return value
    if isinstance(value, (np.bool_, np.integer, np.floating)) and type(value.item()) in (bool, int, float):
        return value.item()
    if isinstance(value, int):
        return int(value) if value.bit_length() <= LONGEST else _pickled(value)
    if isinstance(value, (str, float)):
        return str.__str__(value) if isinstance(value, str) else float(value)
    if len(above) > DEEPEST or id(value) in above:
        return _pickled(value)
    above = (*above, id(value))
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not (len(value) == 1 and next(iter(value)).startswith(MARK)):
            return {str.__str__(key): encode(item, above) for key, item in value.items()}
        return {"$dict": [[encode(key, above), encode(item, above)] for key, item in value.items()]}
    if isinstance(value, list):
        return [encode(item, above) for item in value]
    if isinstance(value, tuple):
        return {"$tuple": [encode(item, above) for item in value]}
    if kind is datetime.datetime and (value.tzinfo is None or type(value.tzinfo) is datetime.timezone):
        return {"$time": value.isoformat()}
    if kind is bytes:
        return {"$bytes": _text(value)}
    if kind is np.ndarray and value.dtype.kind in "biufcUSmM":
        return {"$array": _text(_npy(value))}
    return _pickled(value)


def decode(value: Any, trust: bool = False) -> Any:
    """The value that :func:`encode` has made this of.

    Args:
        value: JSON.
        trust: Whether to open pickles; otherwise they become :class:`Pickled`.

    Raises:
        InvalidStorage: If it is not what :func:`encode` makes.
    """
    if isinstance(value, list):
        return [decode(item, trust) for item in value]
    if not isinstance(value, Mapping):
        return value
    return unmarked({key: decode(item, trust) for key, item in value.items()}, trust)


def unmarked(value: dict[str, Any], trust: bool = False) -> Any:
    """What a dictionary stands for whose values have been decoded, as ``object_hook`` of ``json.loads`` gets it."""
    if len(value) != 1:
        return value
    key = next(iter(value))
    if not key.startswith(MARK):
        return value
    try:
        return _decoded(key, value[key], trust)
    except InvalidStorage:
        raise
    except (TypeError, ValueError, EOFError, MemoryError) as error:  # a checksum does not say that nobody tampered
        raise InvalidStorage(f"a stored value says that it is a {key!r}, and is none ({error})") from error


def _decoded(kind: str, content: Any, trust: bool) -> Any:
    """The object of a kind."""
    if kind == "$tuple":
        return tuple(content)
    if kind == "$dict":
        return dict(content)
    if kind == "$time":
        return datetime.datetime.fromisoformat(content)
    if kind == "$lost":
        return content
    if kind not in ("$bytes", "$array", "$pickle"):
        raise InvalidStorage(
            f"a stored value is of the kind {kind!r}, which this version of sparktune does not know: upgrade sparktune"
        )
    data = base64.b64decode(content, validate=True)
    if kind == "$bytes":
        return data
    if kind == "$array":
        return np.load(io.BytesIO(data), allow_pickle=False)
    return _opened(Pickled(data)) if trust else Pickled(data)


def _opened(pickled: Pickled) -> Any:
    """The object; the pickle itself if it does not open, as its module is not installed here for one."""
    try:
        return pickled.open()
    except Exception as error:  # unpickling calls code of any class
        logger.warning("a stored object cannot be loaded, and stays a pickle: %s: %s", type(error).__name__, error)
        return pickled


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _pickled(value: Any) -> Any:
    return {"$pickle": _text(value.data if type(value) is Pickled else _pickle(value))}


def _npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _pickle(value: Any) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:  # classes and functions of a notebook or a script
        try:
            import cloudpickle

            return cloudpickle.dumps(value)  # type: ignore[no-any-return]
        except Exception as error:  # pickling calls code of any class
            raise SerializationError(
                f"a {type(value).__name__} cannot be stored ({error}): return numbers, text, lists and dicts in results"
            ) from error
