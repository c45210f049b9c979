"""Fill the table that the demo exports."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from project.models import Measurement

COUNT = 100_000
BATCH = 10_000
SENSORS = [f"{room}-{number}" for room in ("boiler", "cellar", "kitchen", "roof") for number in range(1, 6)]
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Command(BaseCommand):
    """``demo_rows [COUNT]``; adds what is missing and removes what is too much."""

    help = "Make the rows of the table that the demo exports: exactly COUNT, whatever was there before."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("count", nargs="?", type=int, default=COUNT, help=f"{COUNT} unless given")
        parser.add_argument("--if-empty", action="store_true", help="leave a table with rows as it is")

    def handle(self, *args: Any, **options: Any) -> None:
        """Bring the table to its size, and say what was done."""
        count = options["count"]
        if count < 0:
            raise CommandError(f"COUNT must not be negative, but it is {count}")
        there = Measurement.objects.count()
        if there and options["if_empty"]:
            count = there
        for start in range(there, count, BATCH):
            new = [measurement(number) for number in range(start, min(start + BATCH, count))]
            Measurement.objects.bulk_create(new)
        if there > count:
            surplus = Measurement.objects.order_by("pk")[count]
            Measurement.objects.filter(pk__gte=surplus.pk).delete()
        self.stdout.write(f"{count} rows to export ({told(count - there)})")


def measurement(number: int) -> Measurement:
    """Give the row of a number, always the same: 20 sensors take turns, one reading a second."""
    wave = abs(number * 37 % 4000 - 2000)
    status = Measurement.Status
    return Measurement(
        sensor=SENSORS[number % len(SENSORS)],
        value=Decimal(500 + wave) / 100,
        taken_at=BEGINNING + timedelta(seconds=number),
        status=status.LOW if wave < 100 else status.HIGH if wave > 1900 else status.OK,
    )


def told(change: int) -> str:
    """Say how many were added or removed."""
    if change == 0:
        return "all were there"
    return f"{change} added" if change > 0 else f"{-change} removed"
