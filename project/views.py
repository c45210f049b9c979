"""Pages of the demo."""

import json
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.utils.dateparse import parse_datetime

from sse_app.models import Event, Notification, Topic

TOPIC = "notifications"
RECENT = 20
# The page's script listens to these; a plain message has no name.
SHOWN_EVENTS = ["", "message", "notification"]


def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the newest notifications, and where in the log the page stands: its stream begins there."""
    head = Topic.objects.filter(name=TOPIC).first() or Topic(name=TOPIC)
    newest = Event.objects.filter(topic__name=TOPIC, seq__lte=head.seq, event__in=SHOWN_EVENTS)
    context = {
        "topic": TOPIC,
        "cursor": f"{TOPIC}={head.seq}-{head.tag}",
        "recent": [_shown(event) for event in newest.order_by("-seq")[:RECENT]],
        "levels": Notification.Level.choices,
        "may_publish": request.user.has_perm("sse_app.publish_event"),
    }
    return render(request, "dashboard.html", context)


def favicon(request: HttpRequest) -> HttpResponse:
    """Send browsers to the icon: they ask for this address on pages that name none, as the admin's."""
    return redirect(static("project/favicon.svg"))


def _shown(event: Event) -> dict[str, Any]:
    """Give what the page shows of an event, as its script reads it: anyone may publish anything."""
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):  # deep nesting fits into an event
        data = None
    fields = data if isinstance(data, dict) else {}
    title, body, level, sender = (_text(fields.get(name)) for name in ("title", "body", "level", "sender"))
    return {
        "seq": event.seq,
        "title": title or ("" if body else event.data or "(empty)"),
        "body": body,
        "level": level or "info",
        "sender": sender,
        "timestamp": _moment(fields.get("timestamp")) or event.created_at,
    }


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _moment(value: object) -> datetime | None:
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        return moment.astimezone(UTC) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
