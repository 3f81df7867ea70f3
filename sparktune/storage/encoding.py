"""Values as JSON and back. What is not JSON goes in as a pickle, marked as one, and is not opened unless trusted.

JSON's own types stay what they are. Everything else is a dictionary of one key that begins with ``$``: ``$tuple``,
``$time``, ``$bytes``, ``$array`` (of numbers, in numpy's format), ``$dict`` (keys that are not text), ``$pickle``, and
``$lost`` for the text of an object that could not be stored.
"""

from __future__ import annotations

import base64
import datetime
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparktune.exceptions import InvalidStorage, SerializationError

MARK = "$"


@dataclass(frozen=True)
class Pickled:
    """An object that was stored as a pickle, and was not opened: a pickle can run code of whoever wrote it."""

    data: bytes

    def open(self) -> Any:
        """The object. Only for studies that you trust."""
        return pickle.loads(self.data)

    def __repr__(self) -> str:
        return f"<a pickle of {len(self.data)} bytes; load the study with trust=True, or call .open(), if you trust it>"


def encode(value: Any) -> Any:
    """``value`` in JSON's types.

    Raises:
        SerializationError: If something in it is neither JSON nor can be pickled.
    """
    kind = type(value)
    if kind in (str, int, float, bool) or value is None:
        return value
    if kind is dict:
        if all(type(key) is str for key in value) and not (len(value) == 1 and next(iter(value)).startswith(MARK)):
            return {key: encode(item) for key, item in value.items()}
        return {"$dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if kind is list:
        return [encode(item) for item in value]
    if kind is tuple:
        return {"$tuple": [encode(item) for item in value]}
    if kind is datetime.datetime and value.tzinfo is None:
        return {"$time": value.isoformat()}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (np.bool_, np.integer, np.floating)):
        return value.item()
    if kind is np.ndarray and value.dtype.kind in "biufc":
        return {"$array": base64.b64encode(_npy(value)).decode()}
    if kind is Pickled:
        return {"$pickle": base64.b64encode(value.data).decode()}
    return {"$pickle": base64.b64encode(_pickle(value)).decode()}


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
    key = next(iter(value)) if len(value) == 1 else ""
    if not key.startswith(MARK):
        return {key: decode(item, trust) for key, item in value.items()}
    content = value[key]
    if key == "$tuple":
        return tuple(decode(item, trust) for item in content)
    if key == "$dict":
        return {decode(name, trust): decode(item, trust) for name, item in content}
    if key == "$time":
        return datetime.datetime.fromisoformat(content)
    if key == "$lost":
        return content
    if key not in ("$bytes", "$array", "$pickle"):
        raise InvalidStorage(f"a stored value is of the kind {key!r}, which this version of sparktune does not know")
    data = base64.b64decode(content)
    if key == "$bytes":
        return data
    if key == "$array":
        return np.load(io.BytesIO(data), allow_pickle=False)
    return Pickled(data).open() if trust else Pickled(data)


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
