"""Remove old notifications; run it from cron, beside ``sse_trim``."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import Q

from sse_app.management.commands.sse_trim import moment_before, parse_age
from sse_app.models import Notification

# Deleted at once, with their read marks.
ROWS_PER_STEP = 500


class Command(BaseCommand):
    """``sse_trim_notifications --older-than AGE [--unread]``."""

    help = (
        "Remove notifications older than --older-than: those for everyone, and those of one user that were "
        "read, or, with --unread, all of them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--older-than", metavar="AGE", required=True, help="90s, 15m, 12h, 7d or 4w")
        parser.add_argument("--unread", action="store_true", help="also what its recipient has not read")

    def handle(self, *args: Any, **options: Any) -> None:
        """Remove them in short steps, and say how many they were."""
        before = moment_before(parse_age(options["older_than"]))
        old = Notification.objects.filter(created_at__lt=before) if before else Notification.objects.none()
        if not options["unread"]:
            old = old.filter(Q(recipient=None) | Q(read_at__isnull=False))
        removed = 0
        while step := list(old.order_by("pk").values_list("pk", flat=True)[:ROWS_PER_STEP]):
            removed += Notification.objects.filter(pk__in=step).delete()[1].get("sse_app.Notification", 0)
        self.stdout.write(f"{removed} notifications removed")
