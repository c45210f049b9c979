"""Remove old events from the log; run it from cron, beside live readers."""

import re
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from sse_app.conf import topic_rules
from sse_app.eventlog import get_event_log
from sse_app.topics import TopicRule, UnknownTopic

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_age(text: str) -> float:
    """Give the seconds of an age such as 90s, 15m, 12h, 7d or 4w."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if found is None:
        raise CommandError(f"--older-than: {text!r} is no age, such as 90s, 15m, 12h, 7d or 4w")
    return int(found[1]) * UNITS[found[2]]


class Command(BaseCommand):
    """``sse_trim [TOPIC…] [--keep N] [--older-than AGE]``."""

    help = (
        "Remove the oldest events of the topics, or of all topics, beyond --keep or --older-than; without "
        "them, as the topics' own options in SSE_TOPICS say (keep: a number, max_age: seconds)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("topics", nargs="*", metavar="topic")
        parser.add_argument("--keep", type=int, metavar="N", help="leave the newest N events")
        parser.add_argument(
            "--older-than", metavar="AGE", help="remove events older than 90s, 15m, 12h, 7d, 4w"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Trim one topic after the other, and say what was removed."""
        keep, text = options["keep"], options["older_than"]
        if keep is not None and keep < 0:
            raise CommandError("--keep must not be negative")
        age = None if text is None else parse_age(text)
        log = get_event_log()
        named: list[str] = options["topics"]
        rules = {topic: self._rule(topic, named=bool(named)) for topic in named or log.topics()}
        total = 0
        for topic, rule in rules.items():
            if keep is None and age is None and rule is not None:
                limits = rule.keep, moment_before(rule.max_age)
            else:
                limits = keep, moment_before(age)
            if limits != (None, None):
                removed = log.trim(topic, keep=limits[0], before=limits[1])
                total += removed
                if removed:
                    self.stdout.write(f"{topic}: {removed} removed")
        log.forget_keys()
        self.stdout.write(f"{total} events removed")

    def _rule(self, topic: str, *, named: bool) -> TopicRule | None:
        """Give the rule of a topic; one that is in the log alone has none any more."""
        try:
            return topic_rules().rule(topic)
        except (ValueError, UnknownTopic) as error:
            if named:
                raise CommandError(str(error.args[0])) from error
            return None


def moment_before(age: float | None) -> datetime | None:
    """Give the moment so many seconds ago."""
    try:
        return None if age is None else timezone.now() - timedelta(seconds=age)
    except OverflowError:  # before all time: nothing is that old
        return None
