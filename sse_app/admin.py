"""Admin: send notifications, and look at the event log."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sse_app.export import Fields, rows
from sse_app.models import Event, Notification
from sse_app.publishing import publish
from sse_app.responses import ASGI_NEEDED, NDJSONResponse


class NDJSONExportMixin:
    """Gives any ``ModelAdmin`` the action "Export as NDJSON"; name it before ``ModelAdmin``.

    ``export_fields``: as the ``fields`` of ``export.rows``; all columns by default.
    """

    export_fields: Fields | None = None

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Offer the action to all who may see the rows."""
        actions: dict[str, Any] = super().get_actions(request)  # type: ignore[misc]
        if self.has_view_permission(request) and IS_POPUP_VAR not in request.GET:  # type: ignore[attr-defined]
            actions["export_as_ndjson"] = self.get_action("export_as_ndjson")  # type: ignore[attr-defined]
        return actions

    @admin.action(description=gettext_lazy("Export as NDJSON"))
    def export_as_ndjson(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        """Stream the chosen rows, by primary key, however many they are."""
        if not isinstance(request, ASGIRequest):
            self.message_user(request, ASGI_NEEDED, messages.ERROR)  # type: ignore[attr-defined]
            return None
        exported = rows(queryset.order_by("pk"), self.export_fields)
        name = queryset.model._meta.model_name
        return NDJSONResponse(exported, request=request, filename=f"{name}.ndjson")


@admin.register(Notification)
class NotificationAdmin(NDJSONExportMixin, admin.ModelAdmin):  # type: ignore[type-arg]
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

    @admin.action(description=gettext_lazy("Send again"), permissions=["change"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        """Send the chosen notifications to those who read their topics now."""
        for notification in queryset.select_related("sender").order_by("pk"):
            try:
                self._send(request, notification)
            except (ValueError, LookupError) as error:  # the settings have changed since it was added
                values = {"title": notification.title, "error": error}
                told = _("“%(title)s” was not sent: %(error)s.") % values
                self.message_user(request, told, messages.ERROR)

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
class EventAdmin(NDJSONExportMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """The event log, for reading only: changing it would break the readers' positions."""

    list_display = ("created_at", "topic", "seq", "event", "shortened")
    list_filter = ("topic", "event", "created_at")
    search_fields = ("data",)
    list_select_related = ("topic",)
    show_full_result_count = False
    export_fields = ("topic__name", "seq", "tag", "event", "data", "created_at")

    @admin.display(description=gettext_lazy("data"))
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
