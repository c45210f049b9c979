"""Snapshots: what a new reader gets first, from where to where, and what happens when they fail."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from sse_app import TopicPolicy, apublish, publish
from sse_app.eventlog import get_event_log
from tests.accounts import signed_in
from tests.asgi import request
from tests.logs import wipe
from tests.snapshot_makers import KINDS, Maker, blocks, reset, shown

app = get_asgi_application()

MAKERS = "tests.snapshot_makers"
ORDERS = "/sse/events/?topic=orders"


class Open(TopicPolicy):
    def can_subscribe(self, user, scope, topic):
        return True


@pytest.fixture(autouse=True)
def declared(settings, monkeypatch):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPIC_POLICY = f"{__name__}.Open"
    Maker.begin(monkeypatch)


@pytest.fixture(params=KINDS)
def each_kind(request, settings):
    use(settings, request.param)


def use(settings, kind, **options):
    settings.SSE_TOPICS = {"orders": {"snapshot": f"{MAKERS}.{kind}", **options}}


@pytest.fixture
def one_kind(settings):
    use(settings, "async_generator")


async def test_a_new_reader_gets_the_snapshot_and_then_its_cursor(each_kind):
    head = (await apublish("orders", "old")).id
    async with request(app, ORDERS) as stream:
        assert await blocks(stream, 5) == [("cursor", "", None), *shown(), ("cursor", "", head)]
        live = (await apublish("orders", "live")).id
        assert await blocks(stream, 1) == [(None, "live", live)]


@pytest.mark.django_db(transaction=True)
async def test_the_function_is_told_user_scope_and_topic(each_kind):
    async with request(app, f"{ORDERS}&tab=7", headers=await signed_in("ann")) as stream:
        await blocks(stream, 5)
    ((user, scope, topic),) = Maker.calls
    assert (user.get_username(), scope["query_string"], topic) == ("ann", b"topic=orders&tab=7", "orders")


async def test_an_event_published_while_it_is_made_comes_after_it(each_kind):
    Maker.midway = lambda: publish("orders", "meanwhile")
    async with request(app, ORDERS) as stream:
        *_, cursor = await blocks(stream, 5)
        assert cursor == ("cursor", "", "orders=0-00000000")
        ((_, data, _),) = await blocks(stream, 1)
        assert data == "meanwhile"


async def test_a_reader_that_was_cut_in_the_middle_gets_it_again(one_kind, settings):
    use(settings, "slow")
    stopped = asyncio.Event()
    Maker.midway = stopped.wait
    async with request(app, ORDERS) as stream:
        assert await blocks(stream, 2) == [("cursor", "", None), (None, '{"order":1}', None)]
        assert stream.decoder.last_event_id == ""
    stopped.set()
    async with request(app, ORDERS, last_event_id="") as stream:
        assert (await blocks(stream, 5))[1:4] == shown()


async def test_a_reader_that_resumes_gets_none(each_kind):
    first = (await apublish("orders", "1")).id
    second = (await apublish("orders", "2")).id
    starts = [
        {"target": ORDERS, "last_event_id": first},
        {"target": f"{ORDERS}&last_event_id={first.replace('=', '%3D')}"},
        {"target": f"{ORDERS}&last_event_id=earliest"},
        {"target": f"{ORDERS}&since=2026-01-01T00:00:00Z"},
    ]
    for start in starts:
        async with request(app, **start) as stream:
            await stream.primed()
            event = await stream.event()
            while event.id != second:
                assert event.id == first
                event = await stream.event()
    assert Maker.calls == []


async def test_an_empty_snapshot_is_a_snapshot(each_kind):
    Maker.parts = []
    async with request(app, ORDERS) as stream:
        assert await blocks(stream, 2) == [
            ("cursor", "", None),
            ("cursor", "", "orders=0-00000000"),
        ]


async def ids_of(count, topic="orders"):
    return [(await apublish(topic, str(number))).id for number in range(count)]


async def test_after_a_reset_it_comes_again_and_the_id_only_at_the_end(each_kind):
    ids = await ids_of(5)
    await sync_to_async(get_event_log().trim)("orders", keep=1, before=None)
    for cursor, told in (
        (ids[0], reset("trimmed", 4)),
        ("orders=9-00000000", reset("rewound")),
        ("orders=5-00000000", reset("forked")),
    ):
        async with request(app, ORDERS, last_event_id=cursor) as stream:
            end = ("cursor", "", ids[4])
            assert await blocks(stream, 6) == [("cursor", "", cursor), told, *shown(), end]
    async with request(app, ORDERS, last_event_id="junk") as stream:
        assert await blocks(stream, 6) == [("cursor", "", None), reset("unknown"), *shown(), end]


async def test_after_a_reset_to_the_oldest_event_it_comes_before_that(one_kind, settings):
    use(settings, "async_generator", reset_to="oldest")
    ids = await ids_of(5)
    await sync_to_async(get_event_log().trim)("orders", keep=2, before=None)
    async with request(app, ORDERS, last_event_id=ids[0]) as stream:
        told = await blocks(stream, 8)
    assert told == [
        ("cursor", "", ids[0]),
        reset("trimmed", 2),
        *shown(),
        ("cursor", "", ids[2]),
        (None, "3", ids[3]),
        (None, "4", ids[4]),
    ]


async def test_a_reader_whose_log_is_wiped_under_it_is_reset_and_gets_it_again(each_kind, settings):
    await ids_of(3)
    async with request(app, ORDERS) as stream:
        await blocks(stream, 5)
        wipe(settings)
        await ids_of(1)
        (first, *rest) = await blocks(stream, 5)
    assert first[0] == "reset"
    assert rest[:3] == shown()
    assert rest[3][0] == "cursor"
