"""What the report counts, and how the readers' own parts work."""

import math
from contextlib import closing

import pytest

from tests.faults.readers import Dechunker
from tests.faults.records import Follower, Recorder
from tests.faults.report import Healing, Round, merged, percentile, table
from tests.faults.topics import EPHEMERAL, GAP, QUIET


def delivered(t, at, topic="notifications", reader=1, payload="x"):
    return {
        "kind": "block",
        "t": t,
        "reader": reader,
        "name": None,
        "id": f"{topic}=1-a",
        "payload": payload,
        "at": at,
    }


def test_the_99th_of_a_hundred_is_the_second_longest():
    assert percentile(range(100), 0.99) == 98
    assert percentile([7], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


def test_a_round_tells_waits_and_the_longest_silence_of_ordinary_readers():
    done = Round("none", ordinary=frozenset([1]), since=10.0, until=20.0)
    for record in (
        delivered(11.0, at=10.5),
        delivered(15.0, at=14.0),
        delivered(15.5, at=15.5, topic=EPHEMERAL),  # which promises nothing
        delivered(19.0, at=11.0, reader=2),
    ):
        done.feed(record)
    assert (done.delivered, done.waits, done.silence) == (4, [0.5, 1.0], 4.0)
    assert done.listeners == {1}


def test_rounds_of_the_same_fault_are_one_row():
    first = Round("a", since=0.0, until=5.0, published=2, settled=0.1, waits=[1.0])
    again = Round("a", since=9.0, until=12.0, published=3, settled=0.3, waits=[3.0])
    both, other = merged([first, Round("b", since=0.0, until=1.0, settled=0.0), again])
    assert (both.seconds, both.published, both.settled, both.waits) == (8.0, 5, 0.3, [1.0, 3.0])
    assert [line.split(" | ")[0] for line in table([both, other]).splitlines()[2:]] == ["| a", "| b"]
    assert first.published == 2


def test_what_never_came_is_healed_never():
    healing = Healing()
    healing.feed({"kind": "last bell lost", "id": "a", "at": 1.0})
    assert healing.lasts() == [math.inf]
    healing.feed(delivered(2.5, at=1.0, topic=QUIET, payload="a"))
    assert healing.lasts() == [1.5]


def test_a_gap_is_healed_when_both_events_are_there():
    healing = Healing()
    healing.feed(delivered(1.2, at=0.9, topic=GAP, payload="first"))
    healing.feed(delivered(1.3, at=1.0, topic=GAP, payload="second"))
    healing.feed({"kind": "bell lost", "ids": ["first", "second"], "at": 1.0})
    assert healing.gaps() == pytest.approx([0.2, 0.3])


def test_a_chunked_body_is_read_whatever_the_pieces():
    body = b"4\r\nabcd\r\n" + b"1a\r\n" + 26 * b"x" + b"\r\n" + b"0\r\n\r\n"
    for size in range(1, len(body) + 1):
        dechunker = Dechunker()
        pieces = [dechunker.feed(body[start : start + size]) for start in range(0, len(body), size)]
        assert b"".join(pieces) == b"abcd" + 26 * b"x"
        assert dechunker.ended


def test_a_line_that_was_cut_is_not_a_record(tmp_path):
    follower = Follower(tmp_path)
    with closing(Recorder(tmp_path / "a.jsonl")) as out:
        out.write("intent", id="1")
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b'{"kind": "in')
    assert [record["id"] for record in follower.new()] == ["1"]
    assert list(follower.new()) == []
