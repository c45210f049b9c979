"""Admin: send notifications, and look at the event log."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.auth import get_user_model
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from sse_app.export import Fields, rows
from sse_app.models import Event, Notification, shared_topic
from sse_app.notifications import send, topic_of
from sse_app.publishing import listeners
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


class AudienceFilter(admin.SimpleListFilter):
    """To one user, or to everyone on a topic."""

    title = gettext_lazy("audience")
    parameter_name = "to"
    ONE_USER = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Offer what there is."""
        topics = Notification.objects.filter(recipient=None).order_by("topic")
        names = topics.values_list("topic", flat=True).distinct()
        return [(self.ONE_USER, _("one user")), *((f"topic:{name}", name) for name in names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Notification]) -> QuerySet[Notification]:
        """Give those of the audience."""
        chosen = self.value() or ""
        if chosen == self.ONE_USER:
            return queryset.exclude(recipient=None)
        if chosen.startswith("topic:"):
            return queryset.filter(recipient=None, topic=chosen.removeprefix("topic:"))
        return queryset


@admin.register(Notification)
class NotificationAdmin(NDJSONExportMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """Adding a notification sends it, once, when the transaction commits; editing does not."""

    list_display = ("title", "level", "audience", "sender", "created_at")
    list_filter = ("level", AudienceFilter, "created_at")
    search_fields = ("title", "body")
    fieldsets = (
        (None, {"fields": ("title", "body", "level", "url")}),
        (gettext_lazy("To"), {"fields": ("topic", "recipient", "listening")}),
    )
    raw_id_fields = ("recipient",)
    list_select_related = ("sender", "recipient")
    actions = ("send_again",)

    def get_fieldsets(self, request: HttpRequest, obj: Notification | None = None) -> Any:
        """Show what became of it, once it is sent."""
        sent = (gettext_lazy("Sent"), {"fields": ("sender", "created_at", "read_at")})
        return (*self.fieldsets, sent) if obj else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Notification | None = None) -> tuple[str, ...]:
        """Let nobody change to whom it was sent."""
        return ("listening", "sender", "created_at", "read_at", *(("topic", "recipient") if obj else ()))

    def get_autocomplete_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Let those search for the recipient who may look at users; the others write an id."""
        users = self.admin_site._registry.get(get_user_model())
        usable = users is not None and users.search_fields and users.has_view_permission(request)
        return ("recipient",) if usable else ()

    @admin.display(description=gettext_lazy("to"), ordering="topic")
    def audience(self, notification: Notification) -> str:
        """Give for whom it is."""
        recipient = notification.recipient
        return notification.topic if recipient is None else recipient.get_username()

    @admin.display(description=gettext_lazy("listening now"))
    def listening(self, notification: Notification) -> str:
        """Tell how many open streams would get it."""
        topic = topic_of(notification) if notification.pk else shared_topic()
        if not topic:
            return ""
        count = listeners(topic)
        told = ngettext(
            "%(count)d open stream of this process reads “%(topic)s”.",
            "%(count)d open streams of this process read “%(topic)s”.",
            count,
        )
        return told % {"count": count, "topic": topic}

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
        for notification in queryset.select_related("sender", "recipient").order_by("pk"):
            try:
                self._send(request, notification)
            except (ValueError, LookupError) as error:  # the settings have changed since it was added
                values = {"title": notification.title, "error": error}
                told = _("“%(title)s” was not sent: %(error)s.") % values
                self.message_user(request, told, messages.ERROR)

    def _send(self, request: HttpRequest, notification: Notification) -> None:
        count = send(notification).receivers
        recipient = notification.recipient
        name = f"“{notification.topic}”" if recipient is None else recipient.get_username()
        self.log_change(request, notification, _("Sent to %(name)s.") % {"name": name})
        told = ngettext(
            "“%(title)s” was sent to %(name)s: %(count)d open stream in this process.",
            "“%(title)s” was sent to %(name)s: %(count)d open streams in this process.",
            count,
        )
        values = {"title": notification.title, "name": name, "count": count}
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
