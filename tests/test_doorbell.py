"""The doorbell: there and back as plain values, small events inside, garbage refused."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_app.doorbell import MAX_INLINE_CHARACTERS, Doorbell
from sse_app.entries import Entry
from sse_app.positions import Position

AT = Position(7, "0000002a")


def of(data, event=None):
    return Doorbell.of(Entry("orders", AT, "00000029", event, data))


positions = st.builds(Position, st.integers(0, 2**63 - 1), st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
optional = st.none() | st.text()
bells = st.builds(Doorbell, st.text(), positions, st.text(), optional, optional) | st.builds(
    Doorbell, st.text(), event=optional, data=st.text()
)


@given(bells)
def test_a_bell_comes_through_a_channel_layer_as_it_was(bell):
    packed = msgpack.packb({"type": "sse.bell", "sender": "x", **bell.to_message()})
    assert Doorbell.from_message(msgpack.unpackb(packed)) == bell


def test_a_message_holds_plain_values_and_nothing_that_is_absent():
    assert of("{}", "paid").to_message() == {
        "topic": "orders",
        "seq": 7,
        "tag": "0000002a",
        "prev": "00000029",
        "event": "paid",
        "data": "{}",
    }
    assert Doorbell("ticks", data="").to_message() == {"topic": "ticks", "prev": "", "data": ""}
    assert all(type(value) in (int, str) for value in of("{}", "paid").to_message().values())


@pytest.mark.parametrize("data", ["", "a", "x" * MAX_INLINE_CHARACTERS])
@pytest.mark.parametrize("event", [None, "paid"])
def test_a_small_event_rides_along(data, event):
    entry = Doorbell.from_message(of(data, event).to_message()).entry()
    assert (entry.topic, entry.position, entry.prev) == ("orders", AT, "00000029")
    assert (entry.event, entry.data) == (event, data)


def test_a_large_event_is_left_to_the_log():
    bell = of("x" * (MAX_INLINE_CHARACTERS + 1), "paid")
    assert bell == Doorbell("orders", AT, "00000029")
    assert bell.entry() is None
    assert Doorbell.from_message(bell.to_message()) == bell


def test_a_bell_of_a_topic_without_a_log_has_no_entry():
    assert Doorbell("ticks", data="1").entry() is None


def test_keys_of_the_relay_are_passed_over():
    assert Doorbell.from_message({"type": "sse.bell", "sender": "me", **of("a").to_message()}) == of("a")


GARBAGE = {
    "nothing": {},
    "another message": {"type": "chat.message", "text": "hi"},
    "no topic": {"seq": 7, "tag": "0000002a", "prev": "00000029"},
    "no prev": {"topic": "orders", "seq": 7, "tag": "0000002a"},
    "no tag": {"topic": "orders", "seq": 7, "prev": "00000029"},
    "neither position nor data": {"topic": "ticks", "prev": ""},
    "topic of another type": {"topic": ["orders"], "prev": "", "data": "a"},
    "topic in bytes": {"topic": b"orders", "prev": "", "data": "a"},
    "topic None": {"topic": None, "prev": "", "data": "a"},
    "seq as text": {"topic": "orders", "seq": "7", "tag": "0000002a", "prev": "00000029"},
    "seq as a fraction": {"topic": "orders", "seq": 7.5, "tag": "0000002a", "prev": "00000029"},
    "seq as a bool": {"topic": "orders", "seq": True, "tag": "0000002a", "prev": "00000029"},
    "tag of another type": {"topic": "orders", "seq": 7, "tag": 42, "prev": "00000029"},
    "prev of another type": {"topic": "orders", "seq": 7, "tag": "0000002a", "prev": None},
    "event of another type": {"topic": "ticks", "prev": "", "event": 1, "data": "a"},
    "data in bytes": {"topic": "ticks", "prev": "", "data": b"a"},
    "data of another type": {"topic": "orders", "seq": 7, "tag": "0000002a", "prev": "00000029", "data": 5},
}


@pytest.mark.parametrize("message", GARBAGE.values(), ids=GARBAGE)
def test_anything_else_is_refused(message):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Doorbell.from_message(message)
