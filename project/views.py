"""Pages of the demo."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from sse_app.models import Event, Topic

RECENT = 20


def dashboard(request: HttpRequest) -> HttpResponse:
    """Show the newest notifications, and where in the log the page stands: its stream begins there."""
    head = Topic.objects.filter(name="notifications").first() or Topic(name="notifications")
    newest = Event.objects.filter(topic__name=head.name, seq__lte=head.seq).order_by("-seq")[:RECENT]
    context = {
        "cursor": f"{head.name}={head.seq}-{head.tag}",
        "recent": [_shown(event) for event in newest],
        "may_publish": request.user.has_perm("sse_app.publish_event"),
    }
    return render(request, "dashboard.html", context)


def _shown(event: Event) -> dict[str, Any]:
    """Give what the page needs of an event; anyone may publish anything to the topic."""
    try:
        data = json.loads(event.data)
    except ValueError:
        data = event.data
    fields = data if isinstance(data, dict) else {"title": event.data}
    return {"timestamp": event.created_at.isoformat(), "level": "info", **fields, "seq": event.seq}
