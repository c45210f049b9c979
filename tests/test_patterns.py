"""The page of patterns: what it quotes is what runs, what it compares is complete, and its recipes work."""

import ast
import asyncio
import re
import textwrap
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from project.gallery.patterns import PATTERNS
from sse_app import apublish
from sse_app.models import Event, Notification
from sse_app.streams import throttle
from tests.asgi import poll, request
from tests.clock import run
from tests.recipes import Live, alarms, announce, polled
from tests.sources import Source

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/patterns.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
PLACE = re.compile(r"# (?P<file>\S+\.py): (?P<names>\w+(, \w+)*)\n\n*")
WAYS = ("Event stream", "WebSocket", "Long poll", "NDJSON")
SECTIONS = (
    "Event stream",
    "Named events",
    "Resumable stream",
    "Progress",
    "Tokens",
    "WebSocket",
    "Long poll",
    "NDJSON export",
    "Log streaming",
    "Backpressure",
    "Throttling",
    "Broadcast",
    "Latest as a watch",
    "Presence",
    "Production",
)
COMPARED = (
    "Direction",
    "Protocol",
    "Reconnects",
    "In a browser",
    "Carries",
    "Proxies and CDNs",
    "Cost of connecting",
    "Good for",
    "Memory",
    "Complexity",
)


def section(title):
    """Give what stands under a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"no heading {title!r}"
    return found[1]


def table(text):
    """Give the lines of the first table, without its head."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*$", text, re.M)
    ]
    return rows[0], rows[2:]


def sources(file):
    """Give the source of each function and class of a file, by name, decorators included."""
    text = (ROOT / file).read_text()
    lines = text.splitlines(keepends=True)
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name] = "".join(lines[first - 1 : node.end_lineno])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = "".join(lines[node.lineno - 1 : node.end_lineno])
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.partition("\n")[0])
def test_a_quote_is_what_stands_in_its_file(block):
    place = PLACE.match(block)
    assert place, f"a block begins with its file and the names in it: {block}"
    there = sources(place["file"])
    quoted = block[place.end() :].split("\n\n\n")
    for name, part in zip(place["names"].split(", "), quoted, strict=True):
        forms = [textwrap.indent(part.strip("\n"), " " * depth) for depth in (0, 4)]
        assert any(form in there[name] for form in forms), f"{name} has changed: {part}"


def test_every_pattern_has_a_section_with_its_lines():
    for title in SECTIONS:
        assert "```python\n" in section(title), title


def test_every_page_of_the_gallery_is_referred_to():
    assert [name for name in PATTERNS if f"/demo/{name}/" not in PAGE] == []


def test_the_comparison_says_all_of_all_four():
    head, rows = table(section("How do they compare?"))
    assert head == ["", *WAYS]
    assert [row[0] for row in rows] == list(COMPARED)
    assert [row[0] for row in rows if len(row) != 5 or not all(row)] == []


def test_the_decision_leads_to_all_four():
    decision = section("Which one do I take?")
    ends = re.findall(r"→ \*\*(.+?)\*\*", decision)
    assert set(ends) == set(WAYS)
    assert decision.count("?") >= 4


# The recipes.


@pytest.mark.django_db(transaction=True)
def test_what_is_announced_is_written_and_sent_or_neither(settings):
    announced = announce("Hello")
    assert Event.objects.get().data == f'{{"id":{announced.pk},"title":"Hello"}}'
    settings.SSE_MAX_EVENT_BYTES = 10
    with pytest.raises(ValueError, match="SSE_MAX_EVENT_BYTES"):
        announce("Hello again")
    assert (Event.objects.count(), Notification.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
async def test_settings_are_followed_while_the_process_runs(settings):
    settings.SSE_TOPICS = {"config": {"kind": "latest"}}
    await apublish("config", {"colour": "red"})
    live = Live()
    following = asyncio.create_task(live.follow("config"))
    await poll(lambda: live.value == {"colour": "red"})
    for colour in ("green", "blue"):
        await apublish("config", {"colour": colour})
    await poll(lambda: live.value == {"colour": "blue"})
    following.cancel()
    await asyncio.wait({following})


def test_closing_your_own_generator_closes_what_is_shaped_inside_it_and_only_with_aclosing():
    async def without(readings):
        async for reading in throttle(readings, 0.25):
            yield reading

    async def ends(generator):
        source = Source((0, {"level": 90}), (1000, {"level": 91}))
        async with aclosing(generator(source.items())) as stream:
            assert await anext(stream) == {"level": 90}
        return source.ended

    assert run(ends(alarms)) == "cancelled"
    assert run(ends(without)) is None


def test_alarms_are_the_high_ones_of_the_newest():
    source = Source(*[(0.1, {"level": level}) for level in (90, 95, 70, 99, 85)])

    async def levels():
        return [reading["level"] async for reading in alarms(source.items())]

    assert run(levels()) == [90, 85]


@pytest.mark.django_db(transaction=True)
async def test_polling_gives_every_event_once():
    answers = []

    async def answered(answer):
        answers.append(answer.status_code)

    options = {"base_url": "http://testserver", "event_hooks": {"response": [answered]}}
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(get_asgi_application()), **options) as client,
        aclosing(polled(client, "notifications")) as events,
    ):
        first = asyncio.ensure_future(anext(events))
        await poll(lambda: answers)
        for number in range(5):
            await apublish("notifications", number)
        seen = [await first, *[await anext(events) for _ in range(4)]]
    assert [event["data"] for event in seen] == list("01234")
    assert set(answers) == {200}


@pytest.mark.django_db(transaction=True)
async def test_the_address_of_a_topic_streams_what_was_announced():
    async with request(get_asgi_application(), "/sse/topics/notifications/") as stream:
        await stream.primed()
        announced = await sync_to_async(announce)("Hello")
        event = await stream.event("notification")
    assert event.data == f'{{"id":{announced.pk},"title":"Hello"}}'
