"""The cursor in a page: what happens between rendering and connecting is delivered, and nothing else."""

import html
import re

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.http import HttpResponse
from django.template import Context, Template
from django.urls import path

from project.urls import urlpatterns as addresses
from sse_app import IllegalTopic, UnknownTopic, acurrent_cursor, apublish, current_cursor, publish
from sse_app.positions import decode_cursor
from tests.asgi import fetch, request
from tests.logs import choose_log

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

EVENTS = "/sse/events/?topic=orders&topic=alerts"
GENESIS = "0-00000000"
LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"
PAGE = """{% load sse %}<body data-cursor="{% sse_cursor "orders" "alerts" %}">
{% sse_cursor "orders" "alerts" as cursor %}
<a href="/sse/events/?topic=orders&amp;topic=alerts&amp;last_event_id={{ cursor|urlencode }}">follow</a>"""


def page(request):
    return HttpResponse(Template(PAGE).render(Context()))


async def async_page(request):
    return HttpResponse(await acurrent_cursor("orders", "alerts"))


urlpatterns = [path("page/", page), path("async-page/", async_page), *addresses]


@pytest.fixture(autouse=True)
def declared(settings):
    settings.ROOT_URLCONF = __name__
    settings.SSE_TOPIC_POLICY = "tests.test_start.Open"
    settings.SSE_TOPICS = {
        "orders": {},
        "alerts": {},
        "config": {"kind": "latest"},
        "ticks": {"kind": "ephemeral"},
    }


@pytest.fixture(params=["orm", "memory", "redis"])
def log(request, settings):
    return choose_log(request, settings)


def rendered(text, **context):
    return Template("{% load sse %}" + text).render(Context(context))


render = sync_to_async(rendered)


async def get(address):
    answer = await fetch(app, address)
    assert answer.status == 200
    return answer.content.decode()


async def until_now(stream, topics=("orders", "alerts")):
    """Give what comes before what is published from now on."""
    await stream.primed()
    for topic in topics:
        await apublish(topic, f"end of {topic}")
    ends, given = len(topics), []
    while ends:
        event = await stream.event()
        assert event.event is None, event
        if event.data.startswith("end of"):
            ends -= 1
        else:
            given.append(event.data)
    return sorted(given)


# In a page.


async def test_a_page_misses_nothing_between_being_rendered_and_connecting(log):
    await apublish("orders", "before")
    content = await get("/page/")
    for number in range(3):
        await apublish("orders", f"order {number}")
        await apublish("alerts", f"alert {number}")
    link = html.unescape(re.search('href="([^"]+)"', content)[1])
    cursor = html.unescape(re.search('data-cursor="([^"]+)"', content)[1])
    expected = [f"alert {n}" for n in range(3)] + [f"order {n}" for n in range(3)]
    async with request(app, link) as stream:
        assert await until_now(stream) == expected
    async with request(app, EVENTS, last_event_id=cursor) as stream:
        ends = ["end of alerts", "end of orders"]
        assert sorted([(await stream.event()).data for _ in range(8)]) == sorted(expected + ends)


async def test_a_page_that_connects_at_once_gets_nothing_of_the_past(log):
    await apublish("orders", "before")
    cursor = await get("/async-page/")
    async with request(app, EVENTS, last_event_id=cursor) as stream:
        assert await until_now(stream) == []


async def test_it_is_escaped_where_the_page_is_and_not_where_it_is_a_variable(log):
    order = (await apublish("orders", 1)).id
    assert await render('{% sse_cursor "orders" "alerts" %}') == f"{order}&amp;alerts={GENESIS}"
    plain = f"{order}&alerts={GENESIS}"
    off = '{% autoescape off %}{% sse_cursor "orders" "alerts" %}{% endautoescape %}'
    assert await render(off) == plain
    escaped = plain.replace("=", "%3D").replace("&", "%26")
    assert await render('{% sse_cursor "orders" "alerts" as c %}{{ c|urlencode }}') == escaped
    assert await render('{% sse_cursor "orders" "alerts" as c %}{{ c }}') == plain.replace("&", "&amp;")


async def test_topics_may_be_variables_and_come_in_their_order():
    cursor = await render("{% sse_cursor first 'orders' first as c %}{{ c|safe }}", first="alerts")
    assert cursor == f"alerts={GENESIS}&orders={GENESIS}"


# Topics of all kinds.


async def test_from_the_cursor_of_a_topic_never_written_comes_everything(log):
    cursor = await acurrent_cursor("orders")
    assert cursor == f"orders={GENESIS}"
    await apublish("orders", "first")
    await apublish("orders", "second")
    async with request(app, "/sse/topics/orders/", last_event_id=cursor) as stream:
        assert await until_now(stream, ["orders"]) == ["first", "second"]


async def test_ephemeral_and_latest_topics_stand_in_it_too(log):
    order, value = (await apublish("orders", 1)).position, (await apublish("config", "old")).position
    topics = ["ticks", "orders", "config"]
    cursor = await acurrent_cursor(*topics)
    assert cursor == f"ticks=&orders={order}&config={value}"
    assert decode_cursor(cursor) == {"ticks": None, "orders": order, "config": value}
    address = "/sse/events/?" + "&".join(f"topic={topic}" for topic in topics)
    async with request(app, address, last_event_id=cursor) as stream:
        assert await until_now(stream, topics) == []  # not even the value, which the page has
    cursor = await acurrent_cursor(*topics)
    for data in ("newer", "newest"):
        for topic in topics:
            await apublish(topic, data)
    async with request(app, address, last_event_id=cursor) as stream:
        assert await until_now(stream, topics) == ["newer", "newest", "newest"]


async def test_a_stream_may_have_fewer_topics_than_the_cursor_of_its_page_or_more():
    cursor = await acurrent_cursor("orders", "config")
    await apublish("orders", "order")
    await apublish("alerts", "alert")
    async with request(app, EVENTS, last_event_id=cursor) as stream:
        assert await until_now(stream) == ["order"]


def test_no_topics_are_no_cursor():
    assert current_cursor() == rendered("{% sse_cursor %}") == ""


# Topics at fault.

WRONG = {
    "nothing": (UnknownTopic, "no topic 'nothing' is declared"),
    "a b": (IllegalTopic, f"illegal topic 'a b': {LEGAL}"),
    "": (IllegalTopic, f"illegal topic '': {LEGAL}"),
    "x" * 101: (IllegalTopic, f"illegal topic of 101 characters: {LEGAL}"),
    None: (IllegalTopic, f"illegal topic None: {LEGAL}"),  # as a variable of a template may be
}


@pytest.mark.parametrize(("topic", "error", "text"), [(topic, *told) for topic, told in WRONG.items()])
def test_a_topic_that_is_none_is_named(topic, error, text):
    for call in (current_cursor, lambda *topics: rendered('{% sse_cursor "orders" t %}', t=topics[-1])):
        with pytest.raises(error) as refusal:
            call("orders", topic)
        assert refusal.value.args == (text,)


def test_a_variable_that_the_page_does_not_have_is_no_topic():
    with pytest.raises(IllegalTopic, match="illegal topic ''"):
        rendered('{% sse_cursor "orders" missing %}')


# Transactions and loops.


def test_inside_a_transaction_it_sees_what_the_transaction_sees(log):
    with transaction.atomic():
        published = publish("orders", "inside")
        cursor = current_cursor("orders")
    after = current_cursor("orders")
    assert cursor == (published.id if log == "orm" else f"orders={GENESIS}")
    assert after.startswith("orders=1-")


async def test_the_cursor_of_a_transaction_that_was_rolled_back_is_answered_by_a_reset():
    def roll_back():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish("orders", "never")
            cursors.append(current_cursor("orders"))
            1 / 0  # noqa: B018

    cursors = []
    await sync_to_async(roll_back)()
    async with request(app, "/sse/topics/orders/", last_event_id=cursors[0]) as stream:
        assert '"rewound"' in (await stream.event("reset")).data


async def test_in_a_loop_the_plain_function_says_what_to_do():
    with pytest.raises(SynchronousOnlyOperation) as refusal:
        current_cursor("orders")
    assert "You cannot call this from an async context - use a thread or sync_to_async" in str(refusal.value)
    assert await acurrent_cursor("orders") == f"orders={GENESIS}"
