"""Linear algebra in one thread, where matrices are small.

BLAS splits a product among all cores. A proposal makes hundreds of small ones: on a machine that is busy with trials
its threads wait for each other, and it takes several times as long, for everybody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_inside = threading.Lock()


@cache
def _libraries() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  (its BLAS has to be there when libraries are looked for)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def single_threaded() -> Iterator[None]:
    """A context, or decorator, in which BLAS uses one thread; afterwards as many as before.

    The number is the process's. So whoever comes while another thread is inside changes nothing: of two that set it to
    one and back, each on its own, the last would leave it at one.
    """
    libraries = _libraries()
    # Asking takes a tenth of the time of setting, and where many proposals are made the variable is often set.
    if all(library.num_threads == 1 for library in libraries.lib_controllers) or not _inside.acquire(blocking=False):
        yield
        return
    try:
        with libraries.limit(limits=1):
            yield
    finally:
        _inside.release()
