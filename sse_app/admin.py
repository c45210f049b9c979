"""Admin: send notifications, and look at the event log."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from sse_app.models import Event, Notification
from sse_app.publishing import publish


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Adding a notification sends it, once, when the transaction commits; editing does not."""

    list_display = ("title", "level", "topic", "sender", "created_at")
    list_filter = ("level", "topic", "created_at")
    search_fields = ("title", "body")
    readonly_fields = ("sender", "created_at")
    list_select_related = ("sender",)
    actions = ("send_again",)

    def save_model(self, request: HttpRequest, obj: Notification, form: Any, change: bool) -> None:
        """Save it, and send it if it is new."""
        if not change:
            obj.sender = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
        if not change:
            self._send(request, obj)

    @admin.action(description=_("Send again"), permissions=["change"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        """Send the chosen notifications to those who read their topics now."""
        for notification in queryset.select_related("sender").order_by("pk"):
            self._send(request, notification)

    def _send(self, request: HttpRequest, notification: Notification) -> None:
        topic = notification.topic
        published = publish(topic, notification.payload(), event="notification")
        self.log_change(request, notification, _("Sent to “%(topic)s”.") % {"topic": topic})
        count = published.receivers
        told = ngettext(
            "“%(title)s” was sent to “%(topic)s”: %(count)d open stream in this process.",
            "“%(title)s” was sent to “%(topic)s”: %(count)d open streams in this process.",
            count,
        )
        values = {"title": notification.title, "topic": topic, "count": count}
        self.message_user(request, told % values, messages.SUCCESS)


@admin.register(Event)
class EventAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The event log, for reading only: changing it would break the readers' positions."""

    list_display = ("created_at", "topic", "seq", "event", "shortened")
    list_filter = ("topic", "event", "created_at")
    search_fields = ("data",)
    list_select_related = ("topic",)
    show_full_result_count = False

    @admin.display(description=_("data"))
    def shortened(self, event: Event) -> str:
        """Give the start of the data."""
        return event.data if len(event.data) <= 80 else f"{event.data[:79]}…"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Events are published."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Events are facts."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Event | None = None) -> bool:
        """Readers would meet a gap."""
        return False
