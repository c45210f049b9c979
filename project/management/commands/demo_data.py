"""Make the demo's account and its first notification; only in debug mode."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from sse_app.models import Notification
from sse_app.notifications import notify_all

USERNAME = PASSWORD = "admin"


class Command(BaseCommand):
    """``demo_data``; harmless when it runs again."""

    help = "Make the demo's admin account and a first notification."

    def handle(self, *args: Any, **options: Any) -> None:
        """Make what is missing."""
        if not settings.DEBUG:
            raise CommandError("The demo's account has a well-known password: DJANGO_DEBUG=1 only.")
        users = get_user_model().objects
        user = users.filter(username=USERNAME).first()
        if user is None:
            user = users.create_superuser(USERNAME, "admin@example.com", PASSWORD)
        if not Notification.objects.exists():
            text = "Send another one from the admin: it arrives here at once."
            notify_all("Welcome", text, level="success", sender=user)
