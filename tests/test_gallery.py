"""The gallery: its pages, the lines that they show, and what each address refuses."""

import html
import inspect
import json
import re

import pytest
from django.core.asgi import get_asgi_application
from django.test import RequestFactory

from project.gallery import parameters
from project.gallery.listing import listing
from project.gallery.patterns import GROUPS, PATTERNS
from sse_app.events import KEEP_ALIVE
from sse_app.jobs import Jobs
from sse_app.refusals import Refused
from tests.asgi import fetch
from tests.clock import run
from tests.sources import timed

each_pattern = pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)

app = get_asgi_application()

LINES = 40  # of a view that someone copies


async def text_of(target):
    answer = await fetch(app, target)
    assert answer.status == 200
    return answer.content.decode()


async def test_the_gallery_leads_to_every_pattern():
    page = await text_of("/demo/")
    for group in GROUPS:
        assert html.escape(group.title) in page
    for name, pattern in PATTERNS.items():
        assert f'href="/demo/gallery/{name}/"' in page
        assert html.escape(pattern.lead) in page


@each_pattern
async def test_a_page_says_what_it_shows(pattern):
    page = await text_of(f"/demo/gallery/{pattern.name}/")
    assert f"<h1>{pattern.title}</h1>" in page
    assert html.escape(pattern.lead) in page
    assert pattern.shows
    shown = re.sub("</?code>", "`", html.unescape(page))
    for paragraph in pattern.shows:
        assert paragraph in shown
    assert f'data-stream="/demo/{pattern.name}/"' in page


@each_pattern
async def test_a_page_shows_the_lines_that_run(pattern):
    page = await text_of(f"/demo/gallery/{pattern.name}/")
    section = page[page.index('id="lines"') :]
    shown = html.unescape(re.sub("<[^>]+>", "", section[section.index("<code>") : section.index("</code>")]))
    source = inspect.getsource(pattern.module)
    assert shown.strip() in source
    assert inspect.getsource(pattern.view) in shown
    assert source.removesuffix(shown).endswith('"""\n\n')  # all but the docstring


@each_pattern
def test_a_view_is_small_enough_to_copy(pattern):
    assert len(inspect.getsource(pattern.view).splitlines()) <= LINES


async def test_the_pages_lead_from_the_first_to_the_last():
    names = list(PATTERNS)
    for name, following in zip(names, names[1:], strict=False):
        page = await text_of(f"/demo/gallery/{name}/")
        assert f'<a href="/demo/gallery/{following}/" rel="next">' in page
    assert 'rel="next"' not in await text_of(f"/demo/gallery/{names[-1]}/")
    assert 'rel="prev"' not in await text_of(f"/demo/gallery/{names[0]}/")


async def test_a_page_that_names_no_icon_has_that_of_the_site():
    answer = await fetch(app, "/favicon.ico")
    assert (answer.status, answer.headers["location"]) == (302, "/static/project/favicon.svg")
    assert (await fetch(app, answer.headers["location"])).headers["content-type"] == "image/svg+xml"


async def test_there_is_no_page_of_what_is_no_pattern():
    answer = await fetch(app, "/demo/gallery/nothing/")
    assert answer.status == 404


async def test_pages_need_no_inline_script_or_style():
    page = await text_of("/demo/gallery/tokens/")
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page)


def test_a_listing_is_the_source_with_the_kinds_of_its_words():
    source = 'async def f(x):  # why\n    """Say."""\n    return f"{x!r} < {1}" if x else None\n'
    shown = listing(source)
    assert html.unescape(re.sub("<[^>]+>", "", shown)) == source
    for kind, word in [("keyword", "async"), ("name", "f"), ("comment", "# why"), ("keyword", "None")]:
        assert f'<span class="{kind}">{word}</span>' in shown
    assert f'<span class="string">{html.escape(chr(34) * 3 + "Say." + chr(34) * 3)}</span>' in shown


@pytest.mark.parametrize("source", ["", "x = '<b>&amp;</b>'\n", "é = 'ü'  # ö\n\n\nx = (\n    1,\n)\n"])
def test_a_listing_is_the_source_character_by_character(source):
    assert html.unescape(re.sub("<[^>]+>", "", listing(source))) == source


BAD = {
    "updates": [
        "every=0",
        "every=61",
        "every=x",
        "every=nan",
        "every=inf",
        "every=",
        "evry=1",
        "last_event_id=x",
    ],
    "metrics": ["last_event_id=x", "last_event_id=-1", "last_event_id=1.5", f"last_event_id={10**16}"],
    "feed": ["last_event_id=x", "last_event_id=%C2%B2"],
    "progress": ["duration=0", "duration=9999", "last_event_id=x", "last_event_id=a.101", "speed=1"],
    "tokens": ["linger=-1", "linger=601", "pace=0", "pace=x", "steps=1"],
    "heartbeat": ["seconds=0", "seconds=3601", "seconds=x", "lifetime=3"],
    "logs": [
        "service=nobody",
        "service=",
        "level=error",
        "level=",
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=100001",
        "limit=x",
        "limit=",
        "limit=%D9%A3",
        "sevice=api",
    ],
    "failing": ["after=-1", "after=101", "after=x", "before=1"],
    "echo": ["event=a%0Ab", "event=a%0Db", "id=a%0Ab", "id=a%00b", "name=x"],
}


@pytest.mark.parametrize(("name", "query"), [(name, query) for name in BAD for query in BAD[name]])
async def test_a_bad_parameter_is_refused_with_one_line_of_json(name, query):
    answer = await fetch(app, f"/demo/{name}/?{query}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert answer.content.count(b"\n") == 0
    error = json.loads(answer.content)["error"]
    parameter = query.partition("=")[0].replace("_", " ")
    assert parameter in error.replace("_", " ")


@each_pattern
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_streams_are_only_read(pattern, method):
    answer = await fetch(app, f"/demo/{pattern.name}/", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert "error" in json.loads(answer.content)


@each_pattern
async def test_head_gives_the_headers_alone(pattern):
    answer = await fetch(app, f"/demo/{pattern.name}/", method="HEAD")
    assert (answer.status, answer.content) == (200, b"")
    assert answer.headers["content-type"] in ("text/event-stream", "application/x-ndjson")


@pytest.mark.parametrize("name", ["progress", "tokens"])
async def test_there_are_only_so_many_jobs(name, monkeypatch):
    monkeypatch.setattr(PATTERNS[name].module, "jobs", Jobs(most=0))
    answer = await fetch(app, f"/demo/{name}/")
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert json.loads(answer.content) == {"error": "there are 0 jobs already"}


def blocks_of(name):
    """Read a pattern's stream to its end on virtual time: when each block came, the first one left out."""

    async def read():
        return await timed(await PATTERNS[name].view(RequestFactory().get("/")), 20_000)

    first, *blocks = run(read())
    assert first == (0, KEEP_ALIVE)
    return blocks


def test_a_heartbeat_lives_for_an_hour_at_most_and_for_nine_tenths_of_it_at_least():
    for _ in range(3):
        blocks = blocks_of("heartbeat")
        assert [at for at, _ in blocks] == list(range(len(blocks)))
        assert 3240 <= len(blocks) <= 3600


def test_the_producer_makes_ten_thousand_events_ten_milliseconds_apart():
    blocks = blocks_of("producer")
    assert [block for _, block in blocks] == [b"data: Event %d\n\n" % number for number in range(10_000)]
    assert [at for at, _ in blocks] == pytest.approx([number / 100 for number in range(10_000)])


class Request:
    def __init__(self, **query):
        self.GET = query


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("007", 7), ("10", 10)])
def test_a_number_is_whole(text, value):
    assert parameters.number(Request(n=text), "n", default=3, least=0, most=10) == value
    assert parameters.number(Request(), "n", default=3, least=0, most=10) == 3


@pytest.mark.parametrize("text", ["", "-1", "11", "1e1", " 1", "1_0", "٣", "²", "9" * 5000])
def test_what_is_no_such_number_is_refused(text):
    with pytest.raises(Refused, match="n: must be a whole number from 0 to 10, not"):
        parameters.number(Request(n=text), "n", default=3, least=0, most=10)
