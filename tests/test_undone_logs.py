"""Logs that were trimmed or emptied: a reset tells it to every reader, and then everything comes again."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from sse_app import apublish
from sse_app.eventlog import get_event_log
from tests.asgi import request
from tests.logs import LOGS, assert_complete, choose_log, take, wipe

app = get_asgi_application()

STREAM = "/sse/topics/orders/"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {"orders": {}}
    settings.SSE_TOPIC_POLICY = "tests.test_start.Open"


@pytest.fixture(params=LOGS)
def log(request, settings):
    return choose_log(request, settings)


def told(event):
    (reset,) = json.loads(event.data)["topics"]
    return reset["reason"], reset["missed"]


async def publish_numbers(count):
    return [(await apublish("orders", number)).id for number in range(count)]


async def test_a_reader_behind_a_trimmed_log_is_told_what_it_missed(log):
    ids = await publish_numbers(9)
    await sync_to_async(get_event_log().trim)("orders", keep=3, before=None)
    async with request(app, STREAM, last_event_id=ids[1]) as stream:
        reset = await stream.event("reset")
        assert (told(reset), reset.id) == (("trimmed", 7), ids[-1])
        await assert_complete(stream, reset.id)
    async with request(app, STREAM, last_event_id=ids[5]) as stream:  # what follows it is all there
        await assert_complete(stream, ids[5])


@pytest.mark.parametrize(("grown", "reason"), [(0, "rewound"), (2, "rewound"), (3, "forked"), (5, "forked")])
async def test_a_reader_that_comes_back_to_an_emptied_log_is_reset(log, settings, grown, reason):
    ids = await publish_numbers(3)
    await sync_to_async(wipe)(settings)
    head = [f"orders=0-{'0' * 8}", *await publish_numbers(grown)][-1]
    async with request(app, STREAM, last_event_id=ids[-1]) as stream:
        reset = await stream.event("reset")
        assert (told(reset), reset.id) == ((reason, None), head)
        await assert_complete(stream, head)


async def test_a_reader_under_which_the_log_is_emptied_is_reset_and_goes_on(log, settings):
    async with request(app, STREAM) as stream:
        await stream.primed()
        await publish_numbers(3)
        await take(stream, 3)
        await sync_to_async(wipe)(settings)
        await apublish("orders", "first of the new log")
        reset = await stream.event("reset")
        assert told(reset) in (("rewound", None), ("forked", None))
        await assert_complete(stream, reset.id)
