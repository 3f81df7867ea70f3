"""Finding the attachments of one trial."""

import threading

from sparktune.storage.attached import AttachmentIndex


class Counting(dict):
    """Counts how many of its keys were looked at."""

    n_looked_at = 0

    def __reversed__(self):
        for key in super().__reversed__():
            self.n_looked_at += 1
            yield key


def test_attachments_are_found_under_their_names():
    """Names may have the separator in them, and ids may; one id may begin with another."""
    index = AttachmentIndex()
    everything = {"ATTACH::1::a": 1, "ATTACH::1::b::c": 2, "ATTACH::11::a": 3, "ATTACH::1::2::a": 4, "other": 5}
    assert index.of(everything, "ATTACH::1::") == {"a": 1, "b::c": 2, "2::a": 4}
    assert index.of(everything, "ATTACH::11::") == {"a": 3}
    assert index.of(everything, "ATTACH::1::2::") == {"a": 4}
    assert index.of(everything, "ATTACH::2::") == {}


def test_changes_are_seen():
    """Attachments that come, go, come again, or are replaced, in this dictionary or a new one."""
    index = AttachmentIndex()
    everything = {"ATTACH::1::a": 1, "ATTACH::1::b": 2}
    assert index.of(everything, "ATTACH::1::") == {"a": 1, "b": 2}
    everything["ATTACH::1::a"] = 3
    assert index.of(everything, "ATTACH::1::") == {"a": 3, "b": 2}
    del everything["ATTACH::1::b"]
    assert index.of(everything, "ATTACH::1::") == {"a": 3}
    everything["ATTACH::1::b"] = 4
    del everything["ATTACH::1::a"]
    everything["ATTACH::1::a"] = 5
    assert index.of(everything, "ATTACH::1::") == {"a": 5, "b": 4}
    assert index.of({}, "ATTACH::1::") == {}
    assert index.of({"ATTACH::1::z": 6}, "ATTACH::1::") == {"z": 6}


def test_each_key_is_looked_at_once():
    """The attachments of n trials cost n looks and not n squared."""
    index, everything, n = AttachmentIndex(), Counting(), 500
    for tid in range(n):
        everything[f"ATTACH::{tid}::model"] = tid
        assert index.of(everything, f"ATTACH::{tid}::") == {"model": tid}
    assert everything.n_looked_at <= 2 * n


def test_other_threads_may_attach_meanwhile():
    """Attaching from a thread while attachments are looked for raises nothing and loses nothing."""
    index, everything, n = AttachmentIndex(), {}, 20_000
    thread = threading.Thread(target=lambda: everything.update({}) or [attach(everything, i) for i in range(n)])
    thread.start()
    while thread.is_alive():
        index.of(everything, "ATTACH::1::")
    thread.join()
    assert len(index.of(everything, "ATTACH::1::")) == n // 10


def attach(everything, number):
    everything[f"ATTACH::{number % 10}::{number}"] = number
