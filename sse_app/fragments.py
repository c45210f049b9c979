"""Fragments: events whose data is HTML, rendered from a template."""

from collections.abc import Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.template.loader import render_to_string

from sse_app.events import ServerSentEvent
from sse_app.publishing import Published, publish

Context = Mapping[str, Any]


def render_event(
    template: str,
    context: Context | None = None,
    *,
    event: str | None = None,
    request: HttpRequest | None = None,
) -> ServerSentEvent:
    """Give an event whose data is the rendered template, on as many lines as it has.

    With ``request`` the context processors take part, and what they know of that one user is in the
    HTML: never publish such an event to others.
    """
    return ServerSentEvent(_rendered(template, context, request), event=event)


def publish_template(
    topic: str, template: str, context: Context | None = None, *, event: str | None = None
) -> Published:
    """Publish a rendered template; ``publish`` says what that means and raises."""
    return publish(topic, _rendered(template, context, None), event=event)


async def apublish_template(
    topic: str, template: str, context: Context | None = None, *, event: str | None = None
) -> Published:
    """Do what ``publish_template`` does, from asynchronous code."""
    return await sync_to_async(publish_template)(topic, template, context, event=event)


def _rendered(template: str, context: Context | None, request: HttpRequest | None) -> str:
    return render_to_string(template, dict(context or {}), request).strip()
