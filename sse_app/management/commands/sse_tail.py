"""Print events as they come."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sse_app.local import get_hub
from sse_app.subscribing import subscribe


class Command(BaseCommand):
    """``sse_tail TOPIC…``; it goes on after an outage, where it stopped."""

    help = "Print the events of one or more topics as they come, until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("topics", nargs="+", metavar="topic")
        parser.add_argument("--after", metavar="ID", help="start after this id instead of now")
        parser.add_argument("--count", type=int, metavar="N", help="end after N events of the topics")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print until Ctrl-C, or until there were enough."""
        if options["count"] is not None and options["count"] < 1:
            raise CommandError("--count must be at least 1")
        try:
            asyncio.run(self._tail(options["topics"], options["after"], options["count"]))
        except KeyboardInterrupt:
            return
        except (ValueError, LookupError) as error:
            raise CommandError(str(error)) from error

    async def _tail(self, topics: list[str], after: str | None, count: int | None) -> None:
        async with subscribe(topics, cursor=after) as messages:
            async for message in messages:
                name = message.event or "message"
                self.stdout.write(f"{message.id or ''}\t{name}\t{message.data}")
                self.stdout.flush()
                if count is not None and message.topic:  # a reset, for one, is none of the N
                    count -= 1
                if count == 0:
                    break
        await get_hub().close()
