"""Fragments: templates as the data of events, for streams of one's own, for topics, and for Datastar."""

import re
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.template import TemplateDoesNotExist
from django.test import RequestFactory, override_settings

from sse_app import EventTooLarge
from sse_app.events import EventDecoder
from sse_app.fragments import apublish_template, publish_template, render_event
from sse_app.models import Event
from tests.asgi import request

DOCS = Path(__file__).parent.parent / "docs" / "templates.md"
TEMPLATES = {
    "price.html": "\n<b>\n  {{ price }}\r\n</b>\n\n<i>new</i>\n",
    "who.html": "<p>{{ request.path }}</p>",
    "card.html": '<div id="{{ id }}">\n  {{ text }}\n</div>\n',
}
pytestmark = [pytest.mark.usefixtures("templates")]


@pytest.fixture
def templates(settings):
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", TEMPLATES)],
                "context_processors": ["django.template.context_processors.request"],
            },
        }
    ]


def decoded(event):
    (found,) = EventDecoder().feed(event.encode())
    return found.event, found.data


def test_html_of_many_lines_comes_back_as_it_was():
    event = render_event("price.html", {"price": "<7>"}, event="price")
    assert event.encode() == (
        b"event: price\ndata: <b>\ndata:   &lt;7&gt;\ndata: </b>\ndata: \ndata: <i>new</i>\n\n"
    )
    assert decoded(event) == ("price", "<b>\n  &lt;7&gt;\n</b>\n\n<i>new</i>")


def test_an_event_without_a_name_is_a_message():
    assert decoded(render_event("who.html")) == (None, "<p></p>")


def test_with_a_request_the_context_processors_take_part():
    request = RequestFactory().get("/prices/")
    assert render_event("who.html", request=request).data == "<p>/prices/</p>"


def test_a_template_that_is_missing_is_an_error():
    with pytest.raises(TemplateDoesNotExist):
        render_event("missing.html")


@pytest.mark.django_db(transaction=True)
def test_a_published_template_is_an_event_as_any_other():
    published = publish_template("notifications", "price.html", {"price": 7}, event="price")
    event = Event.objects.get()
    assert (event.event, event.data) == ("price", "<b>\n  7\r\n</b>\n\n<i>new</i>")
    assert published.position.seq == event.seq


@pytest.mark.django_db(transaction=True)
@override_settings(SSE_MAX_EVENT_BYTES=10)
def test_html_may_be_too_large():
    with pytest.raises(EventTooLarge):
        publish_template("notifications", "price.html")


@pytest.mark.django_db(transaction=True)
async def test_a_stream_gets_it_line_by_line():
    async with request(get_asgi_application(), "/sse/topics/notifications/") as stream:
        await stream.primed()
        await apublish_template("notifications", "price.html", {"price": 7}, event="price")
        assert (await stream.event("price")).data == "<b>\n  7\n</b>\n\n<i>new</i>"


def documented(name):
    """Give a function that the docs define."""
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.M | re.S)
    (block,) = [block for block in blocks if f"def {name}(" in block]
    names = {}
    exec(block, names)
    return names[name]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda: documented("patch_elements")("notifications", "card.html", {"id": "a", "text": "<7>"}),
            b"event: datastar-patch-elements\n"
            b'data: elements <div id="a">\ndata: elements   &lt;7&gt;\ndata: elements </div>\n\n',
        ),
        (
            lambda: documented("patch_elements")(
                "notifications", "card.html", {"id": "a"}, mode="prepend", selector="#cards"
            ),
            b"event: datastar-patch-elements\ndata: mode prepend\ndata: selector #cards\n"
            b'data: elements <div id="a">\ndata: elements   \ndata: elements </div>\n\n',
        ),
        (
            lambda: documented("patch_signals")("notifications", {"count": 3, "user": None}),
            b'event: datastar-patch-signals\ndata: signals {"count": 3, "user": null}\n\n',
        ),
    ],
)
async def test_what_the_docs_say_of_datastar_is_what_goes_over_the_wire(call, expected):
    async with request(get_asgi_application(), "/sse/topics/notifications/") as stream:
        await stream.primed()
        await sync_to_async(call)()
        await stream.event()
    sent = b"".join(stream.chunks)
    block = sent[sent.index(b"event: datastar") :].split(b"\n\n")[0] + b"\n\n"
    assert re.sub(rb"id: .*\n", b"", block) == expected
