"""What tests in several folders share."""

import gc
import os
import signal

import pytest

# A shell ignores Ctrl-C for what it starts in the background, and so would the tests that send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Java processes of tests end before the optimising compiler pays: without it starting Spark takes half the CPU time.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Finds the tests, and does not look for garbage among them meanwhile: what is found is there to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_is_no_garbage():
    """A process that a test forks would search all that earlier files have loaded, and so copy it, at each collection.

    A second of processor time for each such process, after some thousand tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def connect_server(tmp_path_factory):
    """A Spark Connect server with two cores, for all tests that do not end it; it takes ten seconds to start."""
    from connect_server import ConnectServer  # in here, for it imports pyspark, which most tests do without

    with ConnectServer(tmp_path_factory.mktemp("connect")) as server:
        yield server


@pytest.fixture
def passable(tmp_path):
    """Lets other users go through the folders above ``tmp_path``, and through itself."""
    modes = {folder: folder.stat().st_mode for folder in [tmp_path, *tmp_path.parents]}
    closed = {folder: mode for folder, mode in modes.items() if not mode & 0o001}
    for folder, mode in closed.items():
        folder.chmod(mode | 0o011)
    yield
    for folder, mode in closed.items():
        folder.chmod(mode)
