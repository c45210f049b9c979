"""Events on the wire: one table in both directions, the browsers' vectors, refusals, another parser."""

import re
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, time, timedelta

import httpx
import httpx_sse
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sse_app.events import KEEP_ALIVE, EventDecoder, ServerSentEvent, id_line

SSE = ServerSentEvent
BOM = b"\xef\xbb\xbf"
NOT_LINE_ENDS = "\u2028\u2029\x85\v\f\x1c\x1d\x1e"
LINE_ENDS = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}
WHOLE = 1 << 20
CHUNK_SIZES = [1, 2, WHOLE]


class Loud(str):
    """As an enum of strings does, it shows itself as something else."""

    def __str__(self):
        return "\n\nevent: click"

    __format__ = object.__format__


def pieces(stream, size):
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def decoded(*chunks):
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def dispatched(stream, size):
    """What a browser dispatches: type, data and last event id of every block that has data."""
    decoder = EventDecoder()
    seen, last_id = [], ""
    for event in (event for chunk in pieces(stream, size) for event in decoder.feed(chunk)):
        last_id = last_id if event.id is None else event.id
        if event.data is not None:
            seen.append((event.event or "message", event.data, last_id))
    assert decoder.last_event_id == last_id
    return seen


# One table, both ways.

BLOCKS = {
    "data": (SSE("a"), b"data: a\n\n"),
    "empty data": (SSE(""), b"data: \n\n"),
    "two lines": (SSE("a\nb"), b"data: a\ndata: b\n\n"),
    "a last newline": (SSE("a\n"), b"data: a\ndata: \n\n"),
    "a newline alone": (SSE("\n"), b"data: \ndata: \n\n"),
    "leading space": (SSE(" a"), b"data:  a\n\n"),
    "leading tab": (SSE("\ta"), b"data: \ta\n\n"),
    "leading colon": (SSE(":a"), b"data: :a\n\n"),
    "NUL in data": (SSE("\0"), b"data: \0\n\n"),
    "BOM in data": (SSE("\ufeffa"), b"data: \xef\xbb\xbfa\n\n"),
    "beyond the BMP": (SSE("é…🚀"), "data: é…🚀\n\n".encode()),
    "no line ends": (SSE(f"a{NOT_LINE_ENDS}b"), f"data: a{NOT_LINE_ENDS}b\n\n".encode()),
    "no line ends in a name": (SSE(event=f"a{NOT_LINE_ENDS}b"), f"event: a{NOT_LINE_ENDS}b\n\n".encode()),
    "no line ends in an id": (SSE(id=f"a{NOT_LINE_ENDS}b"), f"id: a{NOT_LINE_ENDS}b\n\n".encode()),
    "JSON on one line": (SSE({"a": [1, None, "é\n"]}), 'data: {"a":[1,null,"é\\n"]}\n\n'.encode()),
    "JSON's null": (SSE("null"), b"data: null\n\n"),
    "a name": (SSE("1", event="tick"), b"event: tick\ndata: 1\n\n"),
    "a name without data": (SSE(event="done"), b"event: done\n\n"),
    "an id": (SSE("1", id="a=1-00000000"), b"id: a=1-00000000\ndata: 1\n\n"),
    "an id alone": (SSE(id="7"), b"id: 7\n\n"),
    "an id that resets": (SSE(id=""), b"id: \n\n"),
    "retry": (SSE(retry=3000), b"retry: 3000\n\n"),
    "retry at once": (SSE(retry=0), b"retry: 0\n\n"),
    "a comment": (SSE(comment="hi"), b": hi\n\n"),
    "an empty comment": (SSE(comment=""), b": \n\n"),
    "a comment of two lines": (SSE(comment="a\nb"), b": a\n: b\n\n"),
    "a long comment": (SSE("1", comment="x" * 2048), b": " + b"x" * 2048 + b"\ndata: 1\n\n"),
    "everything": (
        SSE("a\nb", event="tick", id="7", retry=500, comment="hi"),
        b": hi\nevent: tick\nid: 7\nretry: 500\ndata: a\ndata: b\n\n",
    ),
}  # fmt: skip
both_ways = pytest.mark.parametrize(("event", "block"), BLOCKS.values(), ids=BLOCKS)


@both_ways
def test_an_event_is_encoded_as_its_block(event, block):
    assert event.encode() == block


@both_ways
@pytest.mark.parametrize("size", [1, 2, 3, WHOLE])
def test_a_block_is_decoded_as_its_event(event, block, size):
    assert decoded(*pieces(block, size)) == [event]


@both_ways
@pytest.mark.parametrize("size", CHUNK_SIZES)
def test_what_follows_a_block_does_not_change_it(event, block, size):
    decoder = EventDecoder()
    stream = block + block + b"event: half\nid: half\ndata: half"
    assert [event for chunk in pieces(stream, size) for event in decoder.feed(chunk)] == [event, event]
    assert decoder.last_event_id == (event.id or "")


@both_ways
def test_the_lines_around_the_id_make_up_the_same_block(event, block):
    head, tail = event.encode_around_id()
    assert head + (b"" if event.id is None else id_line(event.id)) + tail + b"\n" == block


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_every_line_end_in_data_is_one_break(end):
    assert SSE(f"a{end}b{end}", comment=f"a{end}b").encode() == b": a\n: b\ndata: a\ndata: b\ndata: \n\n"


@pytest.mark.parametrize(
    ("event", "block"),
    [
        (SSE(), b""),
        (SSE(event=""), b""),
        (SSE("a", event=""), b"data: a\n\n"),
        (SSE(b"\xc3\xa9"), b"data: \xc3\xa9\n\n"),
        (SSE(bytearray(b"a\nb")), b"data: a\ndata: b\n\n"),
        (SSE(memoryview(b"a")), b"data: a\n\n"),
        (SSE(0), b"data: 0\n\n"),
        (SSE(False), b"data: false\n\n"),
        (SSE([float("nan")]), b"data: [null]\n\n"),
        (SSE(retry=timedelta(seconds=1.5)), b"retry: 1500\n\n"),
        (SSE(retry=timedelta(0)), b"retry: 0\n\n"),
        (SSE(Loud("r"), event=Loud("r"), id=Loud("r")), b"event: r\nid: r\ndata: r\n\n"),
        (SSE(comment=Loud("r")), b": r\n\n"),
    ],
    ids=str,
)  # fmt: skip
def test_values_take_their_form_on_the_wire(event, block):
    assert event.encode() == block


def test_an_event_without_fields_writes_nothing():
    assert SSE().encode() == b""


def test_an_event_is_a_value():
    event = SSE({"a": 1}, id="7")
    assert event == SSE('{"a":1}', id="7")
    assert hash(event) == hash(SSE('{"a":1}', id="7"))
    with pytest.raises(FrozenInstanceError):
        event.id = "a\nb"


def test_only_data_goes_without_a_name():
    with pytest.raises(TypeError):
        SSE("data", "event")


def test_a_keep_alive_dispatches_nothing_and_ends_no_block():
    assert decoded(KEEP_ALIVE * 3) == []
    assert dispatched(b"data: a\n" + KEEP_ALIVE + b"data: b\n\n", WHOLE) == [("message", "a\nb", "")]


# The vectors of the web-platform tests, each after its description in the suite of the browsers.

LONG = "x" * 2048
VECTORS = {
    "event-data": (
        "data:msg\ndata: msg\n\nfalsefield:msg\n\nData: msg\n\ndata\n\ndata:end\n\n",
        [("message", "msg\nmsg", ""), ("message", "", ""), ("message", "end", "")],
    ),
    "format-bom": (
        "\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n",
        [("message", "1", ""), ("message", "3", "")],
    ),
    "format-bom-2": ("\ufeff\ufeffdata:1\n\ndata:2\n\n", [("message", "2", "")]),
    "format-comments": (
        f"data:1\n:\0\n:\ndata:2\n:{LONG}\ndata:3\n:data:fail\n:{LONG}\ndata:4\n\n",
        [("message", "1\n2\n3\n4", "")],
    ),
    "format-data-before-final-empty-line": (
        "retry:1000\ndata:whole\n\nid:half\ndata:half\n",
        [("message", "whole", "")],
    ),
    "format-field-data": (
        "data:\n\ndata\ndata\n\ndata:test\n\n",
        [("message", "", ""), ("message", "\n", ""), ("message", "test", "")],
    ),
    "format-field-event": (
        "event:test\ndata:a\n\ndata:b\n\n",
        [("test", "a", ""), ("message", "b", "")],
    ),
    "format-field-event-empty": ("event: \ndata:a\n\n", [("message", "a", "")]),
    "format-field-id": ("id:…\ndata:a\n\n", [("message", "a", "…")]),
    "format-field-id-2": (
        "id:…\ndata:a\n\ndata:b\n\ndata:c\n\n",
        [("message", "a", "…"), ("message", "b", "…"), ("message", "c", "…")],
    ),
    "format-field-id-3, persisting": (
        "id:1\ndata:a\n\ndata:b\n\nid:2\ndata:c\n\n",
        [("message", "a", "1"), ("message", "b", "1"), ("message", "c", "2")],
    ),
    "format-field-id-3, reset by id:": (
        "id:1\ndata:a\n\nid:\ndata:b\n\ndata:c\n\n",
        [("message", "a", "1"), ("message", "b", ""), ("message", "c", "")],
    ),
    "format-field-id-3, reset by id": (
        "id:1\ndata:a\n\nid\ndata:b\n\ndata:c\n\n",
        [("message", "a", "1"), ("message", "b", ""), ("message", "c", "")],
    ),
    **{
        f"format-field-id-null {value!r}": (f"id:{value}\ndata:a\n\n", [("message", "a", "")])
        for value in ("\0\0", "x\0", "\0x", "x\0x", " \0")
    },
    "format-field-id-null after an id": (
        "id:1\ndata:a\n\nid:2\0\ndata:b\n\n",
        [("message", "a", "1"), ("message", "b", "1")],
    ),
    "format-field-parsing": (
        "data:\0\ndata:  2\nData:no\ndata\0:no\ndata:3\n\0data:no\nda-ta:no\n"
        "data_5\ndata:6\n data:no\ndata:\n\n",
        [("message", "\0\n 2\n3\n6\n", "")],
    ),
    "format-field-retry": ("retry:03000\ndata:a\n\n", [("message", "a", "")]),
    "format-field-retry-bogus": ("retry:3000\nretry:1000x\ndata:a\n\n", [("message", "a", "")]),
    "format-field-retry-empty": ("retry\ndata:a\n\n", [("message", "a", "")]),
    "format-field-unknown": (
        "data:a\n data\ndata\nunknown:x\njustsometext\n:comment\ndata:b\n\n",
        [("message", "a\n\nb", "")],
    ),
    "format-leading-space": ("data:\ta\ndata: \ndata:b\n\n", [("message", "\ta\n\nb", "")]),
    "format-newlines": ("data:a\ndata\ndata:b\n\n", [("message", "a\n\nb", "")]),
    "format-null-character": ("data:\0\n\n\n", [("message", "\0", "")]),
    "format-utf-8": ("data:ok…\n\n", [("message", "ok…", "")]),
}


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize(("stream", "events"), VECTORS.values(), ids=VECTORS)
def test_streams_are_read_as_browsers_read_them(stream, events, end, size):
    assert dispatched(stream.replace("\n", end).encode(), size) == events


MIXED = {
    "format-newlines": (b"data:a\r\ndata\ndata:b\r\n\r", "a\n\nb"),
    "format-leading-space": (b"data:\ta\rdata: \ndata:b\n\n", "\ta\n\nb"),
    "format-comments": (b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n\r\n", "1\n2\n3"),
    "format-field-parsing": (b"data:1\r\0data:no\nda-ta:no\rdata:\r\n data:no\ndata:4\n\n", "1\n\n4"),
    "LF and CR": (b"data:1\n\r", "1"),
    "CR and CRLF": (b"data:1\r\r\n", "1"),
}


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize(("stream", "data"), MIXED.values(), ids=MIXED)
def test_line_ends_may_be_mixed(stream, data, size):
    assert dispatched(stream, size) == [("message", data, "")]


# How a stream comes in.


def test_a_crlf_may_come_in_two_chunks():
    stream = b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"
    for cut in range(len(stream) + 1):
        assert decoded(stream[:cut], stream[cut:]) == [SSE("a\nb"), SSE("c")], cut
        assert decoded(stream[:cut], b"", stream[cut:]) == [SSE("a\nb"), SSE("c")], cut


def test_a_cr_completes_an_event_without_waiting_for_what_follows():
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\r\r") == [SSE("a")]
    assert decoder.feed(b"\ndata: b\r\n\r") == [SSE("b")]
    assert decoder.feed(b"\n") == []


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (BOM + b"data:1\n\n", ["1"]),
        (BOM, []),
        (BOM + b"\ndata:1\n\n", ["1"]),
        (BOM + BOM + b"data:1\n\n", []),
        (BOM[:2] + b"data:1\n\ndata:2\n\n", ["2"]),
        (b"\n" + BOM + b"data:1\n\n", []),
        (b"data:1\n\n" + BOM + b"data:2\n\n", ["1"]),
    ],
)
@pytest.mark.parametrize("size", CHUNK_SIZES)
def test_a_bom_is_taken_off_the_very_start_only(stream, data, size):
    assert [event.data for event in decoded(*pieces(stream, size))] == data


@pytest.mark.parametrize("size", CHUNK_SIZES)
@pytest.mark.parametrize("half", [b"id: 2\ndata: b", b"id: 2\ndata: b\n", b"id: 2\ndata: b\r\n", b"id: 2"])
def test_half_an_event_at_the_end_is_nothing_nor_is_its_id(half, size):
    decoder = EventDecoder()
    stream = b"id: 1\ndata: a\n\n" + half
    assert [event for chunk in pieces(stream, size) for event in decoder.feed(chunk)] == [SSE("a", id="1")]
    assert decoder.last_event_id == "1"


def test_an_id_without_data_still_moves_the_last_id():
    decoder = EventDecoder()
    assert decoder.feed(b"id: 1\ndata: a\n\nid: 2\n\n") == [SSE("a", id="1"), SSE(id="2")]
    assert decoder.last_event_id == "2"


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        (b"retry:3000", 3000),
        (b"retry: 03000", 3000),
        (b"retry:0", 0),
        (b"retry:1000x", 7),
        (b"retry:", 7),
        (b"retry", 7),
        (b"retry:  5", 7),
        (b"retry:5 ", 7),
        (b"retry:-1", 7),
        (b"retry:+1", 7),
        (b"retry:1.5", 7),
        (b"retry:1_000", 7),
        ("retry:\u0663".encode(), 7),
        ("retry:\u00b2".encode(), 7),
        (b"Retry:5", 7),
        (b"retry:" + b"9" * 5000, 7),
    ],
)
def test_retry_takes_ascii_digits_only_and_needs_no_data(line, retry):
    decoder = EventDecoder()
    assert decoder.feed(b"retry: 7\n\n") == [SSE(retry=7)]
    assert decoder.feed(line + b"\n\n") == ([SSE(retry=retry)] if retry != 7 else [])
    assert decoder.retry == retry


@pytest.mark.parametrize("letter", NOT_LINE_ENDS)
def test_no_other_character_ends_a_line(letter):
    assert decoded(f"data: a{letter}data: b\n\n".encode()) == [SSE(f"a{letter}data: b")]


def test_bytes_that_are_not_utf8_are_replaced():
    assert decoded(b"data: a\xffb\n\n") == [SSE("a\ufffdb")]


def test_a_character_may_come_in_pieces():
    assert decoded(*pieces("data: 🚀…é\n\n".encode(), 1)) == [SSE("🚀…é")]


# Whatever is sent arrives.

texts = st.text() | st.text("a :\r\n\0\ufeff\u2028\x85\v")
lines = texts.map(lambda text: re.sub(r"[\r\n]", "", text))
names = lines.filter(lambda name: name not in ("open", "error"))
events = st.builds(
    SSE,
    st.none() | texts,
    event=st.none() | names,
    id=st.none() | lines.map(lambda text: text.replace("\0", "")),
    retry=st.none() | st.integers(0, 10**12),
    comment=st.none() | texts,
)


def normalised(text):
    return None if text is None else re.sub(r"\r\n|\r", "\n", text)


@given(st.lists(events, max_size=4))
def test_what_is_encoded_is_decoded_with_its_newlines_normalised(sent):
    stream = b"".join(event.encode() for event in sent)
    expected = [
        replace(event, data=normalised(event.data), comment=normalised(event.comment))
        for event in sent
        if event != SSE()
    ]
    assert decoded(stream) == expected
    assert decoded(*pieces(stream, 1)) == expected


@given(st.binary() | st.text("adt:i \r\n\0\ufeff").map(str.encode), st.integers(1, 5))
def test_any_bytes_are_decoded_alike_however_they_are_cut(stream, size):
    assert decoded(*pieces(stream, size)) == decoded(stream)


def read_by_httpx_sse(stream, size):
    response = httpx.Response(
        200, headers={"Content-Type": "text/event-stream"}, content=iter(pieces(stream, size))
    )
    return [(event.event, event.data, event.id) for event in httpx_sse.EventSource(response).iter_sse()]


@given(st.lists(events.filter(lambda event: event.data is not None), max_size=4))
def test_another_parser_reads_the_same(sent):
    stream = b"".join(event.encode() for event in sent)
    assert read_by_httpx_sse(stream, WHOLE) == dispatched(stream, WHOLE)
    assert read_by_httpx_sse(stream, 7) == dispatched(stream, WHOLE)


@pytest.mark.parametrize(
    ("event", "block"),
    [pair for pair in BLOCKS.values() if pair[0].data is not None],
    ids=[name for name, pair in BLOCKS.items() if pair[0].data is not None],
)
def test_another_parser_reads_each_block_as_its_event(event, block):
    assert read_by_httpx_sse(block, WHOLE) == [(event.event or "message", event.data, event.id or "")]


# What can't be sent.


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_data_and_comments_can_not_smuggle_in_an_event(end):
    inside = "\n\nevent:click\n\n"
    text = inside.replace("\n", end)
    assert decoded(SSE(text).encode()) == [SSE(inside)]
    assert decoded(SSE("a", comment=text).encode()) == [SSE("a", comment=inside)]
    assert dispatched(SSE("a", comment=text).encode(), WHOLE) == [("message", "a", "")]


ONE_LINE = "must be one line, without CR or LF"
SURROGATE = "must not contain a lone surrogate"
NOT_A_WAIT = "retry: must be milliseconds as an int, or a timedelta, not"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"event": "\n\nevent:click\n\n"}, f"event: {ONE_LINE}"),
        ({"event": "a\nb"}, f"event: {ONE_LINE}"),
        ({"event": "a\r"}, f"event: {ONE_LINE}"),
        ({"event": "\r\n"}, f"event: {ONE_LINE}"),
        ({"event": "\ud800"}, f"event: {SURROGATE}"),
        ({"event": 1}, "event: must be a str, not int"),
        ({"event": b"a"}, "event: must be a str, not bytes"),
        ({"id": "\n\nevent:click\n\n"}, f"id: {ONE_LINE}"),
        ({"id": "a\nb"}, f"id: {ONE_LINE}"),
        ({"id": "\ra"}, f"id: {ONE_LINE}"),
        ({"id": "a\0"}, "id: must not contain NUL; clients ignore such an id"),
        ({"id": "\udfff"}, f"id: {SURROGATE}"),
        ({"id": 7}, "id: must be a str, not int"),
        ({"comment": "a\ud800"}, f"comment: {SURROGATE}"),
        ({"comment": 1}, "comment: must be a str, not int"),
        ({"retry": True}, f"{NOT_A_WAIT} True"),
        ({"retry": 1.0}, f"{NOT_A_WAIT} 1.0"),
        ({"retry": "3000"}, f"{NOT_A_WAIT} '3000'"),
        ({"retry": -1}, "retry: must not be negative, not -1"),
        ({"retry": timedelta(seconds=-1)}, "retry: must not be negative, not -1000"),
        ({"data": "\ud83d"}, f"data: {SURROGATE}"),
        ({"data": b"\xff"}, "data: bytes must be UTF-8; send binary data as base64"),
        ({"data": b"\xed\xa0\x80"}, "data: bytes must be UTF-8; send binary data as base64"),
        ({"data": object()}, "data: not JSON: object has no JSON form"),
        ({"data": {"a": [{1}]}}, "data: not JSON: set has no JSON form"),
        ({"data": [b"a"]}, "data: not JSON: bytes has no JSON form"),
        ({"data": time(1, tzinfo=UTC)}, "data: not JSON: a time with a zone has no JSON form"),
        ({"data": ["\ud800"]}, "data: not JSON: str is not valid UTF-8: surrogates not allowed"),
        ({"data": 2**64}, "data: not JSON: Integer exceeds 64-bit range"),
    ],
)
def test_what_can_not_be_sent_is_refused_with_the_field_and_the_rule(fields, text):
    with pytest.raises(ValueError) as refusal:
        SSE(**fields)
    assert str(refusal.value) == text


@pytest.mark.parametrize("name", ["open", "error"])
def test_a_name_of_the_browser_s_own_events_is_warned_of_where_it_is_used(name):
    with pytest.warns(UserWarning) as warned:
        event = SSE("x", event=name)
    (warning,) = warned
    assert str(warning.message) == (
        f"event '{name}' also reaches on{name} of an EventSource; choose another name"
    )
    assert warning.filename == __file__
    assert event.encode() == f"event: {name}\ndata: x\n\n".encode()


def test_reading_such_a_name_warns_of_nothing():
    assert [event.event for event in decoded(b"event: error\ndata: x\n\n")] == ["error"]
