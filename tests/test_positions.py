"""Positions and cursors: what is written is read back, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_app.positions import GENESIS, LONGEST_POSITION, Position, decode_cursor, encode_cursor

# The bytes that make browsers ask first before they send the header to another origin.
UNSAFE = {*'"():<>?@[\\]{}', "\x7f", *map(chr, range(32))}
# 4 KiB: servers refuse headers from about 16 KiB.
LONGEST = 4096
CURSOR = "orders=431-9f3a2c1b&alerts=7-11aa22bb"

topics = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True)
positions = st.builds(Position, st.integers(0, 2**63 - 1), st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
cursors = st.dictionaries(topics, st.none() | positions, min_size=1, max_size=20)


@given(cursors)
def test_a_cursor_is_read_as_it_was_written(cursor):
    text = encode_cursor(cursor)
    assert decode_cursor(text) == cursor
    assert list(decode_cursor(text)) == list(cursor)
    assert not UNSAFE & set(text)
    assert text.isascii()
    assert len(text) <= LONGEST


@given(cursors, st.data())
def test_the_topic_of_the_block_comes_first_and_the_others_keep_their_order(cursor, data):
    first = data.draw(st.sampled_from(list(cursor)))
    others = [topic for topic in cursor if topic != first]
    assert list(decode_cursor(encode_cursor(cursor, first))) == [first, *others]


@pytest.mark.parametrize(
    ("cursor", "first", "text"),
    [
        ({"orders": Position(431, "9f3a2c1b"), "alerts": Position(7, "11aa22bb")}, None, CURSOR),
        ({"alerts": Position(7, "11aa22bb"), "orders": Position(431, "9f3a2c1b")}, "orders", CURSOR),
        ({"orders": GENESIS}, "orders", "orders=0-00000000"),
        ({"orders": GENESIS, "ticks": None}, "ticks", "ticks=&orders=0-00000000"),
        ({"orders": GENESIS}, "elsewhere", "orders=0-00000000"),
        ({"ticks": None}, None, "ticks="),
        ({}, None, ""),
    ],
)
def test_a_cursor_is_written_as_a_query_string(cursor, first, text):
    assert encode_cursor(cursor, first) == text


def test_four_ordinary_topics_fit_where_a_header_needs_no_preflight():
    ordinary = ["notifications", "user.123456", "room.general", "orders"]
    cursor = dict.fromkeys(ordinary, Position(12_345_678, "9f3a2c1b"))
    assert len(encode_cursor(cursor)) <= 128


def test_no_topic_takes_more_than_its_name_and_the_longest_position():
    largest = Position(2**63 - 1, "ffffffff")
    text = encode_cursor({"orders": largest, "alerts": largest})
    assert len(f"{text}&") == len("orders" + "alerts") + 2 * LONGEST_POSITION


def test_the_largest_seq_is_read():
    assert decode_cursor(f"a={2**63 - 1}-00000000") == {"a": Position(2**63 - 1, "00000000")}


@pytest.mark.parametrize("end", range(len(CURSOR)))
def test_a_cursor_that_was_cut_off_has_no_position_that_was_not_written(end):
    cut, whole = decode_cursor(CURSOR[:end]), decode_cursor(CURSOR)
    assert cut != whole
    assert cut is None or all(position in (None, whole[topic]) for topic, position in cut.items())


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_never_goes_unnoticed(bit):
    for place in range(len(CURSOR)):
        flipped = bytearray(CURSOR.encode())
        flipped[place] ^= 1 << bit
        cursor = decode_cursor(flipped.decode("latin-1"))
        assert cursor != decode_cursor(CURSOR)
        assert cursor is None or bit < 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "orders=4",
        "orders=431-",
        "orders=431-9f3a2c1",
        "orders=431-9f3a2c1b0",
        "orders=-9f3a2c1b",
        "orders=-1-9f3a2c1b",
        "orders=+1-9f3a2c1b",
        "orders=1.0-9f3a2c1b",
        "orders=1_0-9f3a2c1b",
        "orders= 1-9f3a2c1b",
        "orders=431:9f3a2c1b",
        "orders=431-9F3A2C1B",
        "orders=431-9f3a2c1g",
        "orders=\u0661-9f3a2c1b",
        "orders=\u00b2-9f3a2c1b",
        "orders=\uff11-9f3a2c1b",
        "ord\u00e9rs=431-9f3a2c1b",
        "=431-9f3a2c1b",
        ".orders=431-9f3a2c1b",
        f"{'o' * 101}=431-9f3a2c1b",
        f"orders={2**63}-9f3a2c1b",
        "orders=99999999999999999999-9f3a2c1b",
        "orders=431-9f3a2c1b\n",
        "orders=431-9f3a2c1b\0",
        "ord\0ers=431-9f3a2c1b",
        "\0",
        "orders=431-9f3a2c1b&",
        "&orders=431-9f3a2c1b",
        "orders=431-9f3a2c1b&&alerts=7-11aa22bb",
        "orders=431-9f3a2c1b;alerts=7-11aa22bb",
        "orders=431-9f3a2c1b&orders=431-9f3a2c1b",
        "orders=&orders=431-9f3a2c1b",
        "orders%3D431-9f3a2c1b",
        "\ufffd\ufffd",
        "orders=431-9f3a2c1b" * 3449,
        "a" * 65536,
        "&".join(f"topic{number}={number}-9f3a2c1b" for number in range(2700)),
    ],
    ids=lambda text: repr(text[:50]),
)
def test_anything_else_is_unreadable(text):
    assert decode_cursor(text) is None


def test_a_cursor_of_the_longest_size_is_read_and_one_more_character_is_not():
    text = "&".join(f"{number:0100}=1-9f3a2c1b" for number in range(36))
    padding = LONGEST - len(text) - len("&=1-9f3a2c1b")
    longest = f"{text}&{'x' * padding}=1-9f3a2c1b"
    assert len(longest) == LONGEST
    assert len(decode_cursor(longest)) == 37
    assert decode_cursor(longest.replace("=1-", "=12-", 1)) is None


@given(st.text())
def test_no_text_makes_the_reader_of_cursors_fail(text):
    cursor = decode_cursor(text)
    assert cursor is None or all(topic in text for topic in cursor)
