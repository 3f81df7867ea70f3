"""Lines with checksums."""

import pytest

from sparktune.exceptions import InvalidStorage
from sparktune.storage.lines import check_beginning, events_of, from_line, header, is_whole, to_line, to_lines

EVENT = {"event": "end", "tid": 3, "result": {"loss": 0.5}}


def test_a_line_comes_back():
    """What was written is read."""
    line = to_line(EVENT)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert from_line(line[:-1]) == EVENT


def test_text_with_ends_of_lines_stays_one_line():
    """Ends of lines inside texts do not end the line."""
    assert to_line({"event": "x", "text": "a\nb\r\n\u2028c"}).count(b"\n") == 1


def test_any_changed_byte_is_recognised():
    """A line with any one byte changed, or cut anywhere, is none."""
    line = to_line(EVENT)[:-1]
    for place in range(len(line)):
        assert from_line(line[:place]) is None
        changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        assert from_line(changed) is None, changed


@pytest.mark.parametrize("body", [b"]}", b'"a":NaN}', b'"event":5}', b'"event":"x","a":{"$array":"?"}}'])
def test_a_line_with_a_right_checksum_and_no_event_is_refused(body):
    """Who makes the checksum fit can still not have anything else raised than our error."""
    import zlib

    with pytest.raises(InvalidStorage):
        from_line(b'{"crc":"%08x",%s' % (zlib.crc32(body), body))


def test_damaged_lines_are_left_out_and_named(caplog):
    """A damaged line in the middle costs itself; the warning has its number."""
    lines = [to_line(header()), to_line(EVENT), to_line(EVENT | {"tid": 4})]
    lines[1] = lines[1].replace(b"0.5", b"0.6")
    events = list(events_of(b"".join(lines), "here"))
    assert [event.get("tid") for event in events] == [None, 4]
    assert "line 2 of here is left out: it is damaged" in caplog.text


def test_a_damaged_header_does_not_cost_the_study():
    """A study whose first line is damaged is still read."""
    data = b"x" + to_lines([header(), EVENT])
    assert list(events_of(data, "here")) == [EVENT]


@pytest.mark.parametrize("n", range(len(to_line(header()))))
def test_a_torn_header_is_the_beginning_of_a_study(n):
    """Whatever a crash has left of the header, the file is ours."""
    data = to_line(header())[:n]
    check_beginning(data, "here")
    assert list(events_of(data, "here")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"hello",
        b"a,b\n1,2\n",
        b'{"crc":"abc"}',
        b'{"crc": 5}\n',
        b'{"crc":"00000000","event":"x"',
        b"\x00" * 100,
    ],
)
def test_a_file_of_somebody_else_is_refused(data):
    """What has no whole line, and is no torn header, is no study."""
    with pytest.raises(InvalidStorage, match="here is no study of sparktune, and is left alone"):
        check_beginning(data, "here")


def test_a_study_that_was_copied_as_text_is_told_from_a_file_of_somebody_else():
    """With CRLF at the ends of its lines no line is whole; the error says that, and how to undo it."""
    data = to_lines([header(), EVENT]).replace(b"\n", b"\r\n")
    with pytest.raises(InvalidStorage, match=r"here is a study whose lines end in CRLF.*dos2unix"):
        check_beginning(data, "here")
    with pytest.raises(InvalidStorage, match="here is no study of sparktune"):
        check_beginning(b"a,b\r\n1,2\r\n", "here")


@pytest.mark.parametrize("version", [2, 99, "1", None])
def test_a_newer_format_is_refused_with_the_version_that_wrote_it(version):
    """The error names both versions, and the way out."""
    line = to_line(header() | {"format": version, "sparktune": "9.9"})
    with pytest.raises(InvalidStorage, match=rf"format {version}, written by sparktune 9\.9.*upgrade sparktune"):
        check_beginning(line, "here")


def test_a_whole_line_is_told_without_reading_it():
    """The checksum is enough."""
    assert is_whole(to_line(EVENT)[:-1])
    assert not is_whole(to_line(EVENT)[:-2])
    assert not is_whole(b"")
