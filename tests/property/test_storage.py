"""What holds of a stored study for all values and all histories."""

import contextlib
import json
import math
import zlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparktune import STATUS_OK, Study, Trials, hp, rand
from sparktune.exceptions import InvalidStorage
from sparktune.storage.encoding import decode, encode
from sparktune.storage.journal import Journal
from sparktune.storage.lines import from_line, header, to_line, to_lines

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.text() | st.integers() | st.sampled_from(["$tuple", "$dict", "$pickle", "$lost", "$"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner) | st.dictionaries(st.text(), inner)
    ),
    max_leaves=20,
)
SLOW_DISK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_same(one, other):
    """Equal, and of the same types all the way down; true is not one here, nor 0.0 the same as -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    return one == other and (not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other))


@given(VALUES)
@settings(deadline=None)
def test_values_come_back(value):
    """Whatever a result is made of, it is the same after a way through JSON, read at once or afterwards."""
    assert is_same(decode(json.loads(json.dumps(encode(value)))), value)
    event = from_line(to_line({"event": "x", "value": encode(value)})[:-1])
    assert event is not None
    assert is_same(event["value"], value)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_an_event_or_none_or_our_error(data):
    """Nothing that a file may hold raises anything else."""
    assert from_line(data) is None
    with contextlib.suppress(InvalidStorage):
        from_line(b'{"crc":"%08x",%s' % (zlib.crc32(data), data))


@given(st.lists(VALUES, max_size=6), st.data())
@SLOW_DISK
def test_a_torn_or_damaged_journal_gives_what_is_whole(tmp_path, values, data):
    """Cut and changed anywhere, a journal gives the events of its whole lines and nothing else, or is refused."""
    path = tmp_path / "study"
    events = [{"event": "x", "value": encode(value)} for value in values]
    lines = [to_line(event) for event in [header(), *events]]
    content = bytearray(b"".join(lines)[: data.draw(st.integers(0, len(b"".join(lines))))])
    n_whole = bytes(content).count(b"\n")
    damaged = data.draw(st.none() | st.integers(0, max(0, n_whole - 1)))
    if damaged is not None and n_whole:
        content[sum(map(len, lines[:damaged])) + 20] ^= 1
    path.write_bytes(bytes(content))
    expected = [value for n, value in enumerate(values, start=1) if n < n_whole and n != damaged]
    try:
        found = Journal(path).read()
    except InvalidStorage:
        assert damaged == 0
        assert not expected
        return
    assert is_same([event["value"] for event in found], expected)


@given(st.lists(st.sampled_from(["ask", "tell", "fail", "give up", "reopen", "crash"]), max_size=25))
@SLOW_DISK
def test_a_study_is_in_its_storage_what_it_is_in_memory(tmp_path_factory, steps):
    """Whatever is asked and told, closed and killed, what is loaded is what the study has."""
    path = tmp_path_factory.mktemp("study") / "journal"
    space = hp.uniform("x", 0, 1)
    study = Study(space, rand.suggest, storage=path, rstate=0)
    study.ask()
    ended = {}
    for step in steps:
        running = study.open_trials
        if step == "ask":
            study.ask()
        elif step == "reopen":
            study.close()
            study = Study(space, rand.suggest, storage=path, rstate=0)
        elif step == "crash":  # the file is as it would be, and nobody has closed it
            copy = path.with_name(f"{path.name}.{len(list(path.parent.iterdir()))}")
            copy.write_bytes(path.read_bytes())
            study.close()
            path = copy
            study = Study(space, rand.suggest, storage=path, rstate=0)
        elif running:
            result = {"tell": {"status": STATUS_OK, "loss": 1.0}, "fail": ValueError("no"), "give up": None}[step]
            study.tell(running[0], result)
            ended[running[0].tid] = running[0].document["state"]
        loaded = Trials.load(path)
        assert loaded._dynamic_trials == study.trials._dynamic_trials
        states = {document["tid"]: document["state"] for document in loaded._dynamic_trials}
        assert ended.items() <= states.items()
    study.close()


def test_a_header_alone_is_an_empty_study(tmp_path):
    """A driver that died before its first event leaves what can be gone on with."""
    (tmp_path / "study").write_bytes(to_lines([header()]))
    study = Study(hp.uniform("x", 0, 1), rand.suggest, storage=tmp_path / "study")
    assert study.ask().tid == 0
    study.close()
