"""The addresses, driven through ASGI: streams, publishing, refusals."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.db import transaction
from django.test import override_settings

from sse_app import apublish, publish
from tests.asgi import request

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()


async def test_a_stream_opens_with_its_cursor_and_delivers_what_is_published():
    async with request(app, "/sse/events/?topic=notifications") as stream:
        assert await stream.primed() == "notifications=0-00000000"
        assert stream.status == 200
        published = await apublish("notifications", {"title": "Hello"}, event="notification")
        event = await stream.event("notification")
    assert published.receivers == 1
    assert json.loads(event.data) == {"title": "Hello"}
    assert event.id == published.id == f"notifications={published.position}"


async def test_a_client_that_comes_back_gets_exactly_what_it_missed():
    async with request(app, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await apublish("notifications", "first")
        last = (await stream.event()).id
    for number in range(300):
        await apublish("notifications", str(number))
    async with request(app, "/sse/topics/notifications/", last_event_id=last) as stream:
        assert [(await stream.event()).data for _ in range(300)] == [str(n) for n in range(300)]
        await apublish("notifications", "live again")
        assert (await stream.event()).data == "live again"


async def test_what_is_rolled_back_is_never_sent():
    def roll_back():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish("notifications", "never")
            1 / 0  # noqa: B018

    async with request(app, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await sync_to_async(roll_back)()
        await apublish("notifications", "after")
        event = await stream.event()
    assert event.data == "after"
    assert event.id.startswith("notifications=1-")


@override_settings(SSE_TICK=None)
async def test_without_the_tick_the_doorbell_alone_delivers():
    async with request(app, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await apublish("notifications", "rung")
        assert (await stream.event()).data == "rung"
