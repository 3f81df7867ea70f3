"""Which of several connections can be read: whatever their numbers, and for however long."""

import os
import selectors
import socket

import pytest
from descriptors import N_FILES, many_open_files

from sparktune.worker import readiness
from sparktune.worker.readiness import readable


@pytest.fixture
def pair():
    """Two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_those_with_something_to_read_are_named(pair):
    """Sockets and descriptors come back as they were given, those that wait do not."""
    ours, theirs = pair
    reader, writer = os.pipe()
    try:
        assert readable([ours, reader], 0.0) == []
        os.write(writer, b"x")
        assert readable([ours, reader], 60.0) == [reader]
        theirs.send(b"x")
        assert set(readable([ours, reader])) == {ours, reader}
    finally:
        os.close(reader)
        os.close(writer)


def test_an_end_is_something_to_read(pair):
    """A connection that the other side has closed is named."""
    ours, theirs = pair
    theirs.close()
    assert readable([ours], 60.0) == [ours]


@pytest.mark.skipif(not hasattr(selectors, "PollSelector"), reason="nothing takes such numbers there")
def test_numbers_that_select_refuses(pair):
    """Connections of a process with a thousand open files are looked at as all others."""
    with many_open_files():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert ours.fileno() > N_FILES
            theirs.send(b"x")
            assert readable([ours], 60.0) == [ours]


def test_a_time_longer_than_a_system_counts(pair):
    """A limit of a hundred days is one, although poll counts milliseconds up to 24 days."""
    ours, theirs = pair
    theirs.send(b"x")
    assert readable([ours], 100 * 86_400.0) == [ours]


def test_systems_without_poll(pair, monkeypatch):
    """Where there is no poll, select does."""
    monkeypatch.setattr(readiness, "Selector", selectors.SelectSelector)
    ours, theirs = pair
    theirs.send(b"x")
    assert readable([ours], 60.0) == [ours]
