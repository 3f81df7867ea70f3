"""A process with more open files than ``select`` can tell apart."""

import contextlib
import os
import resource

#: ``select`` takes descriptors below 1024.
N_FILES = 1100


@contextlib.contextmanager
def many_open_files():
    """Within it, whatever is opened has a number above 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = 2 * N_FILES
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    with contextlib.ExitStack() as files:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(N_FILES):
            files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        yield
