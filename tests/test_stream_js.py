"""The file of the browser client: its size, that it stands alone, and how it reads the wire, in Node."""

import base64
import gzip
import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sse_app.events import EventDecoder, ServerSentEvent
from tests.test_events import BLOCKS, BOM, LINE_ENDS, MIXED, VECTORS, WHOLE

FILE = Path(__file__).parent.parent / "sse_app/static/sse_app/stream.js"
RUNNER = Path(__file__).parent / "decode.mjs"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None and not os.environ.get("CI"), reason="no node on the PATH")

MAX_GZIPPED = 6144


@pytest.fixture
def module(tmp_path):
    """The client under a name by which every Node knows that it is a module."""
    return shutil.copy(FILE, tmp_path / "stream.mjs")


def node(*arguments, **options):
    done = subprocess.run([NODE, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dispatched(module, cases):
    """Decode all cases in one Node: pairs of a stream and the size of its chunks."""
    asked = [{"stream": base64.b64encode(stream).decode(), "size": size} for stream, size in cases]
    answers = json.loads(node(RUNNER, module, input=json.dumps(asked)))
    assert len(answers) == len(cases)
    return answers


def as_a_browser(stream):
    """What this app's own decoder says that a browser dispatches of a stream, and remembers."""
    decoder, events, last_id = EventDecoder(), [], ""
    for event in decoder.feed(stream):
        last_id = last_id if event.id is None else event.id
        if event.data is not None:
            events.append([event.event or "message", event.data, last_id])
    return {"events": events, "lastEventId": last_id, "retry": decoder.retry}


def test_it_is_small():
    assert len(gzip.compress(FILE.read_bytes(), 9)) < MAX_GZIPPED


def test_it_stands_alone():
    source = FILE.read_text()
    assert re.findall(r"^\s*(?:import|export\s.*\sfrom)\b.*", source, re.M) == []
    assert re.findall(r"\bimport\(|https?://|\beval\(|\bnew Function\b|innerHTML", source) == []
    assert re.findall(r"^export (?:class|function) (\w+)", source, re.M) == ["EventDecoder", "connect"]


@needs_node
def test_node_can_read_it(module):
    node("--check", module)


@needs_node
def test_it_reads_streams_as_browsers_do(module):
    cases, expected = [], []
    for stream, events in VECTORS.values():
        for end in LINE_ENDS.values():
            for size in (1, 2, 3, WHOLE):
                cases.append((stream.replace("\n", end).encode(), size))
                expected.append([list(event) for event in events])
    for stream, data in MIXED.values():
        cases += [(stream, size) for size in (1, 2, WHOLE)]
        expected += [[["message", data, ""]]] * 3
    assert [answer["events"] for answer in dispatched(module, cases)] == expected


@needs_node
def test_it_reads_what_the_encoder_writes(module):
    blocks = [event.encode() for event, _ in BLOCKS.values()]
    stream = b"".join(blocks) + b"event: half\nid: half\ndata: half"
    cases = [(stream, size) for size in (1, 2, 3, 7, WHOLE)]
    assert dispatched(module, cases) == [as_a_browser(stream)] * len(cases)


@needs_node
def test_it_agrees_with_the_other_decoder_about_any_bytes(module):
    dice = random.Random(5)
    parts = [b"data", b"id", b"event", b"retry", b":", b" ", b"\r", b"\n", b"\r\n", b"1", b"30", b"\0", b"x"]
    parts += [BOM, "é…🚀".encode(), b"topic=a", b": ", b"\n\n"]
    cases = [
        (b"".join(dice.choices(parts, k=dice.randrange(60))), dice.choice([1, 2, 3, 5, WHOLE]))
        for _ in range(1500)
    ]
    answers = dispatched(module, cases)
    for (stream, _), answer in zip(cases, answers, strict=True):
        assert answer == as_a_browser(stream), stream


@needs_node
def test_a_cr_completes_an_event_without_waiting_for_what_follows(module):
    whole = ServerSentEvent("a", id="1").encode().replace(b"\n", b"\r")
    (answer,) = dispatched(module, [(whole, WHOLE)])
    assert answer["events"] == [["message", "a", "1"]]
