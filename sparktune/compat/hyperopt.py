"""``import sparktune.compat.hyperopt``: from here on, ``import hyperopt`` means sparktune, see :func:`compat.install`.

The module has sparktune's names, so that ``import sparktune.compat.hyperopt as hyperopt`` does in one line.
"""

from typing import Any

import sparktune
from sparktune.compat.finder import install

install()


def __getattr__(name: str) -> Any:
    return getattr(sparktune, name)
