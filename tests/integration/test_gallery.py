"""Every address of the gallery over real HTTP, read with clients that this project did not write."""

import asyncio
import json
import os
import shutil
import subprocess
import time
import zlib
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import httpx_sse
import pytest

from project.gallery import raw, tokens
from tests.site import DEADLINE, Site, copy_database

NODE = shutil.which("node")
PARTIAL_FILE = 18
TIMED_OUT = 28
INJECTION = "\n\nevent:click\n\n"
# Those that take their time are read by curl while the other tests run.
SLOW = {
    "clock": ["clock/", 2.5],
    "ticker": ["ticker/", 2.5],
    "metrics": ["metrics/", 2.5],
    "heartbeat": ["heartbeat/?seconds=1.5", 30],
    "pings": ["updates/?every=60", 5.5],
    "logs": ["logs/", 60],
    "complete": ["failing/?after=100", 30],
}


@pytest.fixture(scope="module")
def demo(migrated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    site = Site(folder, DATABASE_URL=copy_database(migrated, folder))
    yield site
    site.close()


@pytest.fixture(scope="module")
def server(demo):
    return demo.serve("uvicorn")


@pytest.fixture(scope="module", autouse=True)
def slow(server):
    """What curl does with the slow ones, all at once."""
    running = {name: curl(server, address, seconds) for name, (address, seconds) in SLOW.items()}
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=f"{server.base}/demo/", timeout=DEADLINE) as client:
        yield client


def curl(server, address, seconds=DEADLINE, *options):
    command = ["curl", "-sN", "--max-time", str(seconds), *options, f"{server.base}/demo/{address}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def got(process):
    """Give what curl printed, and how it ended."""
    body, _ = process.communicate(timeout=90)
    return body, process.returncode


def parsed(body):
    """Give the events in a body, as httpx-sse sees them."""
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body)
    return list(httpx_sse.EventSource(answer).iter_sse())


@asynccontextmanager
async def events(client, address, *, last=None):
    """Read a stream with httpx-sse."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with httpx_sse.aconnect_sse(client, "GET", address, headers=headers) as source:
        source.response.raise_for_status()
        yield source.aiter_sse()


async def taken(client, address, most=1000, *, last=None):
    """Give the first events of a stream, or all of them."""
    found = []
    async with events(client, address, last=last) as stream:
        async for event in stream:
            found.append(event)
            if len(found) == most:
                break
    return found


async def test_launch_counts_down_and_lifts_off(client):
    found = await taken(client, "launch/")
    assert [(event.event, event.data) for event in found] == [
        ("message", "T-minus 3"),
        ("message", "T-minus 2"),
        ("message", "T-minus 1"),
        ("liftoff", "Liftoff!"),
    ]


async def test_the_steps_of_a_launch_are_150_ms_apart(client):
    moments = []
    async with events(client, "launch/") as stream:
        async for _ in stream:
            moments.append(time.monotonic())
    assert moments[-1] - moments[0] >= 3 * 0.15 - 0.05


def test_ticks_are_byte_for_byte_those_of_node(server):
    if NODE is None and not os.environ.get("CI"):
        pytest.skip("no node on the PATH: what it writes can't be compared")
    script = Path(__file__).with_name("ticks.js")
    with subprocess.Popen([NODE, script], stdout=subprocess.PIPE) as node:
        try:
            base = f"http://127.0.0.1:{int(node.stdout.readline())}"
            theirs = subprocess.run(["curl", "-sN", f"{base}/events"], capture_output=True, check=True).stdout
            assert httpx.get(f"{base}/").status_code == 404
        finally:
            node.kill()
    assert got(curl(server, "ticks/")) == (theirs, 0)
    assert theirs.count(b"event: tick\n") == 3
    assert httpx.get(f"{server.base}/demo/tick/").status_code == 404


async def test_the_feed_has_three_kinds_of_events_and_goes_on_after_the_last_id(client):
    plain, news, *rest = await taken(client, "feed/", last="41")
    assert (plain.event, plain.data, plain.id) == ("message", "a plain message", "")
    assert (news.event, news.data, news.id) == ("news", "item 42", "42")
    assert all(event.data == "" for event in rest)
    assert {event.retry for event in rest} <= {2000}
    first = await taken(client, "feed/", 2)
    assert first[1].id == "1"


async def test_a_retry_alone_is_a_block_without_data(client):
    answer = await client.get("feed/")
    assert answer.text.endswith("\n\nretry: 2000\n\n")


async def test_updates_are_a_hundred_and_resume(client):
    found = await taken(client, "updates/?every=0.01")
    expected = [("update", f"Message {number}", str(number)) for number in range(100)]
    assert [(event.event, event.data, event.id) for event in found] == expected
    rest = await taken(client, "updates/?every=0.01", last="96")
    assert [event.id for event in rest] == ["97", "98", "99"]
    asked = await taken(client, "updates/?every=0.01&last_event_id=97")
    assert [event.id for event in asked] == ["98", "99"]


@pytest.mark.parametrize("last", ["99", "100", "99999"])
async def test_who_has_all_updates_is_told_to_stay_away(client, last):
    answer = await client.get("updates/", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_metrics_resume_after_the_last_number(client):
    (event,) = await taken(client, "metrics/", 1, last="41")
    assert (event.event, event.id) == ("metrics", "42")


async def test_progress_survives_a_reload(client):
    seen = await taken(client, "progress/?duration=1", 5)
    assert [event.json() for event in seen] == [{"percent": number} for number in range(1, 6)]
    rest = await taken(client, "progress/?duration=600", last=seen[-1].id)
    percents = [event.json()["percent"] for event in rest]
    assert 6 <= percents[0] < percents[-1] == 100
    assert percents == sorted(set(percents))
    # The same job, not another one that would take ten minutes.
    assert {event.id.rpartition(".")[0] for event in seen + rest} == {seen[0].id.rpartition(".")[0]}
    answer = await client.get("progress/", headers={"Last-Event-ID": rest[-1].id})
    assert answer.status_code == 204


async def test_progress_goes_on_even_if_the_job_is_gone(client):
    (event,) = await taken(client, "progress/?duration=1", 1, last="gone.41")
    assert event.json() == {"percent": 42}
    assert not event.id.startswith("gone.")


async def test_two_pages_look_on_at_one_job(client):
    (first,) = await taken(client, "progress/?duration=2", 1)
    one, other = await asyncio.gather(
        *(taken(client, "progress/", 3, last=first.id) for _ in range(2)),
    )
    assert {event.id.rpartition(".")[0] for event in [*one, *other]} == {first.id.rpartition(".")[0]}


async def test_tokens_come_in_the_form_of_chat_completions(client):
    *frames, stop, done = await taken(client, "tokens/?pace=0.001")
    assert done.data == "[DONE]"
    assert {event.json()["object"] for event in frames} == {"chat.completion.chunk"}
    choices = [event.json()["choices"] for event in frames]
    assert "".join(choice["delta"]["content"] for (choice,) in choices) == tokens.TEXT
    assert {choice["finish_reason"] for (choice,) in choices} == {None}
    assert stop.json()["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    answer = await client.get("tokens/", headers={"Last-Event-ID": done.id})
    assert answer.status_code == 204


async def test_tokens_that_were_made_meanwhile_are_not_lost(client):
    seen = await taken(client, "tokens/?pace=0.01", 5)
    rest = await taken(client, "tokens/", last=seen[-1].id)
    text = [event.json()["choices"][0]["delta"].get("content", "") for event in [*seen, *rest[:-1]]]
    assert "".join(text) == tokens.TEXT
    assert rest[-1].data == "[DONE]"


async def test_whether_tokens_are_made_without_a_reader_is_a_setting(client):
    stays, goes = [await taken(client, f"tokens/?pace=1&linger={seconds}", 1) for seconds in (60, 0)]

    async def status(event):
        async with client.stream("GET", "tokens/", headers={"Last-Event-ID": event.id}) as answer:
            if answer.status_code != 200:
                await answer.aread()
            return answer

    async with asyncio.timeout(DEADLINE):
        while (answer := await status(goes[0])).status_code == 200:  # until the server has noticed
            await asyncio.sleep(0.05)
    assert answer.status_code == 410
    assert answer.json() == {"error": "that text is no longer being written; ask for a new one"}
    assert (await status(stays[0])).status_code == 200


async def test_of_a_fast_sensor_the_newest_reading_wins(client):
    found = await taken(client, "sensor/", 4)
    readings = [event.json()["reading"] for event in found]
    assert all(later - earlier > 5 for earlier, later in zip(readings, readings[1:], strict=False))


async def test_a_producer_stops_with_its_reader(client, server):
    found = await taken(client, "producer/", 50)
    assert [event.data for event in found] == [f"Event {number}" for number in range(50)]
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(
    ("query", "service", "level"),
    [
        ("", None, None),
        ("service=api&", "api", None),
        ("level=DEBUG&", None, "DEBUG"),
        ("service=worker&level=ERROR&", "worker", "ERROR"),
    ],
)
async def test_all_three_filters_of_the_logs_work(client, query, service, level):
    answer = await client.get(f"logs/?{query}limit=40")
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert len(records) == 40
    assert service in (None, *{record["service"] for record in records})
    assert {record["service"] for record in records} == ({service} if service else {"api", "web", "worker"})
    assert level is None or {record["level"] for record in records} == {level}
    assert all(record["message"] == f"Log entry #{record['id']}" for record in records)
    assert all((record["level"] == "ERROR") == (record["id"] % 10 == 0) for record in records)
    assert {datetime.fromisoformat(record["timestamp"]).utcoffset() for record in records} == {timedelta(0)}


async def test_logs_say_what_they_are(client):
    answer = await client.get("logs/?limit=1", headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-stream-format"] == "ndjson"
    assert answer.headers["cache-control"] == "no-cache, no-transform"


async def test_a_token_bucket_shapes_the_logs(client):
    began = time.monotonic()
    async with client.stream("GET", "logs/?limit=75") as answer:
        async for _ in answer.aiter_lines():
            pass
    assert time.monotonic() - began >= 0.24  # 25 more than a burst, at a hundred a second


async def test_compressed_lines_are_there_before_the_end(client):
    unpacking = zlib.decompressobj(31)
    text, whole = b"", 0
    async with client.stream("GET", "logs/?limit=150", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        async for packed in answer.aiter_raw():
            text += unpacking.decompress(packed)
            whole += not unpacking.eof and text.endswith(b"\n")
    assert whole > 3  # pieces that could be read at once, long before the last one
    assert unpacking.eof
    assert text.count(b"\n") == 150


def test_a_failing_export_does_not_look_complete(server):
    body, code = got(curl(server, "failing/?after=7"))
    assert code == PARTIAL_FILE
    assert [json.loads(line)["id"] for line in body.splitlines()] == list(range(1, 8))
    assert b"database" not in body


async def test_a_failing_export_is_an_error_in_python(client):
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("failing/?after=3")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("application/jsonl", "application/jsonl"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.5, text/event-stream;q=0.9", "text/event-stream"),
        ("application/*;q=0.2, application/json;q=0.9, text/*;q=0.5", "application/json"),
    ],
)
def test_one_generator_in_four_formats(server, accept, content_type):
    body, code = got(
        curl(server, "records/", DEADLINE, "-i", "-H", f"Accept: {accept}" if accept else "Accept:")
    )
    head, _, body = body.partition(b"\r\n\r\n")
    assert code == 0
    assert f"content-type: {content_type}\r\n".encode() in head + b"\r\n"
    assert b"Accept" in next(line for line in head.splitlines() if line.lower().startswith(b"vary:"))
    if content_type == "application/json":
        records = json.loads(body)
    elif content_type == "text/event-stream":
        found = parsed(body)
        assert [(event.event, event.id) for event in found] == [("record", str(n)) for n in range(1, 6)]
        records = [event.json() for event in found]
    else:
        records = [json.loads(line) for line in body.splitlines()]
    assert records == [{"id": number, "square": number**2} for number in range(1, 6)]


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=0"])
async def test_who_takes_none_of_the_formats_gets_406(client, accept):
    answer = await client.get("records/", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/json")
    assert answer.headers["vary"] == "Accept"
    assert answer.json()["available"][-1] == "text/event-stream"


def test_encoded_bytes_pass_through(server):
    assert got(curl(server, "raw/")) == (b"".join(raw.RECORDED), 0)
    found = parsed(b"".join(raw.RECORDED))
    assert [(event.event, event.data, event.id) for event in found if event.data] == [
        ("message", "a plain message", ""),
        ("greeting", "hello\nworld", "7"),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
async def test_data_and_comments_never_become_events(client, newline):
    injection = INJECTION.replace("\n", newline)
    query = httpx.QueryParams(data=injection, comment=injection, event="greeting", id="7")
    found = [event for event in await taken(client, f"echo/?{query}") if event.data]
    assert [(event.event, event.data, event.id) for event in found] == [
        ("greeting", INJECTION, "7"),
        ("message", "the end", "7"),
    ]


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
async def test_names_and_ids_of_several_lines_are_refused(client, field, newline):
    query = httpx.QueryParams({field: INJECTION.replace("\n", newline), "data": "x"})
    answer = await client.get(f"echo/?{query}")
    assert answer.status_code == 400
    assert answer.json() == {"error": f"{field}: must be one line, without CR or LF"}


@pytest.mark.parametrize("field", ["data", "comment", "event", "id"])
async def test_other_separators_of_lines_are_text(client, field):
    text = "a\u2028b\u0085c\vd\fe"
    query = httpx.QueryParams({"data": "x", field: text})
    answer = await client.get(f"echo/?{query}")
    assert f"{'' if field == 'comment' else field}: {text}\n" in answer.text


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("updates/?every=nan", {}),
        ("updates/", {"Last-Event-ID": "seven"}),
        ("metrics/", {"Last-Event-ID": "-7"}),
        ("feed/", {"Last-Event-ID": "\xb2"}),
        ("progress/?duration=-1", {}),
        ("progress/", {"Last-Event-ID": "a.101"}),
        ("tokens/?linger=forever", {}),
        ("heartbeat/?seconds=0", {}),
        ("logs/?level=LOUD", {}),
        ("logs/?limit=1e3", {}),
        ("logs/?sevice=api", {}),
        ("failing/?after=1000", {}),
        ("echo/?id=a%0Ab", {}),
    ],
)
def test_a_bad_parameter_never_breaks_a_stream(server, address, headers):
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    body, code = got(curl(server, address, DEADLINE, "-w", "\n%{http_code} %{content_type}", *options))
    line, _, status = body.decode().rpartition("\n")
    assert (code, status) == (0, "400 application/json")
    assert "\n" not in line
    assert json.loads(line).keys() == {"error"}


async def test_settings_that_are_published_change_open_streams_and_later_ones(demo, client):
    def publish(text):
        return asyncio.to_thread(demo.manage, "sse_publish", "config", text)

    async def changed(stream, every):
        async with asyncio.timeout(DEADLINE):
            while json.loads((await anext(stream)).data)["every"] != every:
                pass

    async with events(client, "config/") as stream:
        assert json.loads((await anext(stream)).data) == {"tick": 0, "every": 1.0}
        await publish('{"every": 0.05}')
        await changed(stream, 0.05)
        await publish("not a setting")
        await publish('{"every": 0.1}')
        await changed(stream, 0.1)
    later = await taken(client, "config/", 2)
    assert [json.loads(event.data)["every"] for event in later] == [1.0, 0.1]


@pytest.mark.parametrize("name", ["clock", "ticker", "ticks", "sensor", "producer", "raw", "records"])
async def test_streams_can_only_be_read(client, name):
    answer = await client.post(f"{name}/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


# What curl has read meanwhile.


def test_the_clock_counts_the_seconds(slow):
    body, code = got(slow["clock"])
    assert code == TIMED_OUT  # it would go on for ever
    counts = [event.data for event in parsed(body)]
    assert counts == [str(number) for number in range(len(counts))]
    assert len(counts) >= 2


def test_the_ticker_says_what_it_counts(slow):
    body, code = got(slow["ticker"])
    assert code == TIMED_OUT
    lines = [event.data for event in parsed(body)]
    assert lines == [f"tick: {number}" for number in range(len(lines))]
    assert len(lines) >= 2


def test_metrics_are_real_and_numbered(slow):
    body, code = got(slow["metrics"])
    assert code == TIMED_OUT
    found = parsed(body)
    assert len(found) >= 2
    assert [(event.event, event.id) for event in found] == [
        ("metrics", str(n + 1)) for n in range(len(found))
    ]
    for event in found:
        measured = event.json()
        assert measured.keys() == {"cpu", "memory", "at"}
        assert 0 <= measured["cpu"] <= 100
        assert 0 < measured["memory"] < 100
        assert datetime.fromisoformat(measured["at"]).utcoffset() == timedelta(0)
    assert any(event.json()["cpu"] > 0 for event in found)


def test_a_heartbeat_ends_with_its_lifetime(slow):
    body, code = got(slow["heartbeat"])
    assert code == 0
    moments = [datetime.fromisoformat(event.json()["time"]) for event in parsed(body)]
    assert len(moments) == 2
    assert moments[1] - moments[0] > timedelta(seconds=0.8)


def test_updates_send_pings_that_no_page_sees(slow):
    body, code = got(slow["pings"])
    assert code == TIMED_OUT
    assert body.count(b": ping\n") == 1
    assert [event.data for event in parsed(body.replace(b": ping\n", b""))] == ["Message 0"]


def test_an_export_that_did_not_fail_ends_with_its_count(slow):
    body, code = got(slow["complete"])
    *records, trailer = [json.loads(line) for line in body.splitlines()]
    assert code == 0
    assert [record["id"] for record in records] == list(range(1, 101))
    assert trailer == {"complete": True, "count": 100}


def test_logs_are_a_thousand_by_default(slow):
    body, code = got(slow["logs"])
    records = [json.loads(line) for line in body.splitlines()]
    assert code == 0
    assert [record["id"] for record in records] == list(range(1, 1001))
    assert sum(record["level"] == "ERROR" for record in records) == 100


def test_of_all_this_only_the_failing_exports_are_in_the_log(server):
    log = server.log.read_text().splitlines()
    assert {line for line in log if "Error" in line and not line.startswith(" ")} == {
        "ConnectionError: the database is gone"
    }
