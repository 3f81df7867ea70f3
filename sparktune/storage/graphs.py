"""Search spaces as JSON and back."""

from __future__ import annotations

from typing import Any

from sparktune.exceptions import BadSearchSpace, InvalidStorage
from sparktune.space.compile import Space
from sparktune.space.graph import dfs
from sparktune.space.nodes import INFO, Apply, Literal
from sparktune.storage.encoding import Pickled, decode, encode

#: Functions of which no arguments make anything run that is not data. With others, such as ``getattr`` and ``call``, a
#: space is a program, which runs when it is evaluated at a point.
HARMLESS = frozenset(
    "abs add array_union array_union1 asarray bincount categorical cos curtime dict eq exp float floordiv ge getitem "
    "gt hyperopt_param identity int le len list log log10 log2 lognormal loguniform lt max maximum min minimum mod mul "
    "ne neg normal pos_args pow qlognormal qloguniform qnormal quniform randint randint_via_categorical range repeat "
    "round sin sqrt str str_join sub sum switch tan truediv tuple uniform".split()
)


def encode_space(space: Space) -> Any:
    """A space in JSON's types: its nodes, each after its arguments, which it names by their numbers.

    Raises:
        SerializationError: If a constant of it can neither be JSON nor be pickled.
    """
    order = dfs(space.expr)
    number = {node: n for n, node in enumerate(order)}
    return [
        {"literal": encode(node.obj)}
        if isinstance(node, Literal)
        else {
            "name": node.name,
            "args": [number[child] for child in node.pos_args],
            "kwargs": {key: number[child] for key, child in node.named_args},
        }
        for node in order
    ]


def decode_space(nodes: Any, trust: bool = False) -> Space:
    """The space that :func:`encode_space` has made this of.

    Args:
        nodes: JSON.
        trust: Whether to open pickles, which constants of a space may be; otherwise they are
            :class:`~sparktune.storage.encoding.Pickled` in the space, too. And whether it may call any function that is
            registered, and not only harmless ones.

    Raises:
        InvalidStorage: If it is not what :func:`encode_space` makes, or calls what only trusted spaces may.
    """
    made: list[Apply] = []
    try:
        for node in nodes:
            if "literal" in node:
                made.append(Literal(decode(node["literal"], trust)))
                continue
            name = node["name"]
            if not trust and name not in HARMLESS:
                raise InvalidStorage(
                    f"the space of a stored study calls {name!r}, by which a space can run any code: load the study "
                    "with trust=True if you trust whoever wrote it"
                )
            named = [[key, made[n]] for key, n in node["kwargs"].items()]
            made.append(Apply(name, [made[n] for n in node["args"]], named, *INFO.get(name, (None, False))))
        return Space(made[-1])
    except (KeyError, IndexError, TypeError, AttributeError, BadSearchSpace) as error:
        raise InvalidStorage(f"the space of a stored study cannot be read ({error!r})") from error


def is_whole(space: Space) -> bool:
    """Whether nothing in a space that was read is a pickle that was not opened."""
    return not any(isinstance(node, Literal) and isinstance(node.obj, Pickled) for node in dfs(space.expr))
