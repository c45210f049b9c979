"""Template tags of live pages: ``{% load sse %}``; docs/templates.md shows them."""

from typing import Any

from django import template
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template.context import RequestContext
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from sse_app.inbox import PAGE, inbox
from sse_app.models import Notification
from sse_app.payloads import to_text
from sse_app.permissions import User
from sse_app.subscribing import current_cursor

register = template.Library()

STREAM = (
    '<sse-stream src="{}" topics="{}" cursor="{}" key="{}"></sse-stream>\n'
    '<script type="module" src="{}"></script>'
)


@register.simple_tag
def sse_cursor(*topics: str) -> str:
    """Give the cursor of this moment: ``{% sse_cursor "orders" "alerts" %}``.

    Connect with it as ``last_event_id`` (``{% sse_cursor "orders" as cursor %}{{ cursor|urlencode }}``)
    and what happens between rendering and connecting is not missed. Place it before what reads the
    page's data, or take ``current_cursor`` in the view first.
    """
    return current_cursor(*topics)


@register.simple_tag(takes_context=True)
def sse_stream(context: RequestContext, *topics: str, cursor: str | None = None) -> SafeString:
    """Connect the page to topics, from this moment on: ``{% sse_stream "orders" "alerts" %}``.

    ``cursor``: from that of ``current_cursor`` on, taken before the page's data was read.
    """
    if not topics:
        raise template.TemplateSyntaxError(
            'sse_stream: name at least one topic, as in {% sse_stream "orders" %}'
        )
    user = getattr(context.get("request"), "user", None)
    return format_html(
        STREAM,
        reverse("sse:events"),
        " ".join(topics),
        current_cursor(*topics) if cursor is None else cursor,
        _key(user),
        static("sse_app/element.js"),
    )


@register.inclusion_tag("sse_app/notifications.html", takes_context=True)
def sse_notifications(context: RequestContext, *, bell: bool = True, limit: int = PAGE) -> dict[str, Any]:
    """Show the user's notifications, live: a bell with a list, or with ``bell=False`` the list alone."""
    request = context.get("request")
    if not isinstance(request, HttpRequest):
        raise ImproperlyConfigured(
            "sse_notifications needs the request: render with it, and have "
            "django.template.context_processors.request among the context processors"
        )
    user = getattr(request, "user", None) or AnonymousUser()
    found = inbox(user, getattr(request, "scope", {}))
    page, more = found.page(limit=limit)
    return {
        "bell": bell,
        "user": user,
        "key": _key(user),
        "topics": " ".join(found.topics),
        "cursor": found.cursor,
        "notifications": page,
        "more": more,
        "unread": found.unread(),
        "unread_ids": to_text(found.unread_ids()),
        "levels": to_text({level.value: level.label for level in Notification.Level}),
        "blank": Notification(),
    }


def _key(user: "User | None") -> str:
    """Give what keeps the connections of a browser's accounts apart."""
    return "" if user is None or user.pk is None else str(user.pk)
