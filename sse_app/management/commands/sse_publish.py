"""Publish an event from the shell."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sse_app.publishing import publish


class Command(BaseCommand):
    """``sse_publish TOPIC DATA [--event NAME] [--idempotency-key KEY]``."""

    help = "Publish an event to everyone who reads a topic."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("topic")
        parser.add_argument("data", help="sent as it is; write JSON if readers expect JSON")
        parser.add_argument("--event", help="the event's name; without it, a plain message")
        parser.add_argument("--idempotency-key", metavar="KEY", help="publish once, however often it is run")

    def handle(self, *args: Any, **options: Any) -> None:
        """Publish, and print the position."""
        try:
            published = publish(
                options["topic"],
                options["data"],
                event=options["event"],
                idempotency_key=options["idempotency_key"],
            )
        except (ValueError, LookupError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(published.id or f"{published.topic} (no position)")
