"""Patterns that the demo has no page for, as ``docs/patterns.md`` quotes them."""

import json
from contextlib import aclosing

from django.db import transaction

from sse_app import publish, subscribe
from sse_app.models import Notification
from sse_app.streams import throttle


def announce(title):
    """Write something and tell everyone, both or neither."""
    with transaction.atomic():
        notification = Notification.objects.create(topic="notifications", title=title)
        publish("notifications", {"id": notification.pk, "title": title}, event="notification")
    return notification


class Live:
    """Settings that change while the process runs: the newest value of a latest topic."""

    def __init__(self):
        self.value = {}

    async def follow(self, topic):
        """Begin as a task, and let it run as long as the process does."""
        async with subscribe(topic) as messages:
            async for message in messages:
                if message.topic:  # resets have none
                    self.value = json.loads(message.data)


async def alarms(readings):
    """Give the readings that are too high, of at most four a second."""
    async with aclosing(throttle(readings, 0.25)) as newest:
        async for reading in newest:
            if reading["level"] > 80:
                yield reading


async def polled(client, topic):
    """Give the events of a topic to a client that has no streams; the cursor goes along."""
    cursor = ""
    while True:
        query = {"topic": topic, "last_event_id": cursor}
        answer = await client.get("/sse/poll/", params=query, timeout=60)
        found = answer.raise_for_status().json()
        cursor = found["last_event_id"]
        for event in found["events"]:
            yield event
