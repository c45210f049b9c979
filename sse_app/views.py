"""Views: subscribe and publish over HTTP, and health; every refusal is one line of JSON."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from sse_app.conf import conf
from sse_app.eventlog import get_event_log
from sse_app.lease import lease
from sse_app.permissions import User, may_publish, may_subscribe
from sse_app.publishing import EventTooLarge, apublish
from sse_app.responses import ASGI_NEEDED, EventSourceResponse
from sse_app.subscribing import Subscription
from sse_app.topics import UnknownTopic

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]

READY_SECONDS = 5.0


class Refused(Exception):
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, error: str, **headers: str) -> None:
        super().__init__(error)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def _door(*methods: str) -> Callable[[View], View]:
    """Make a view that answers refusals as JSON, asks for no login page and needs no transaction."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method not in methods:
                    allowed = ", ".join(methods)
                    raise Refused(405, f"{request.method} is not allowed here", Allow=allowed)
                return await view(request, *args, **kwargs)
            except Refused as refused:
                return _json({"error": str(refused)}, refused.status, refused.headers)
            except UnknownTopic as error:
                return _json({"error": error.args[0]}, 404)
            except (EventTooLarge, RequestDataTooBig) as error:
                return _json({"error": str(error)}, 413)
            except (SuspiciousOperation, MultiPartParserError) as error:  # Django would answer in HTML
                return _json({"error": str(error)}, 400)

        # Django refuses async views under ATOMIC_REQUESTS unless they opt out for each database.
        guarded._non_atomic_requests = set(connections)  # type: ignore[attr-defined]
        # Its middleware refuses in HTML, and every method but GET and HEAD; _publish asks it itself.
        guarded.csrf_exempt = True  # type: ignore[attr-defined]
        return login_not_required(guarded)

    return decorate


@_door("GET", "HEAD")
async def events(request: HttpRequest) -> HttpResponseBase:
    """Stream the topics of the query: ``?topic=a&topic=b``."""
    topics = request.GET.getlist("topic")
    if not topics:
        raise Refused(400, "name at least one topic, as in ?topic=notifications")
    return await _stream(request, topics)


@_door("GET", "HEAD", "POST")
async def topic(request: HttpRequest, topic: str) -> HttpResponseBase:
    """Stream one topic, or publish to it with POST."""
    if request.method == "POST":
        return await _publish(request, topic)
    return await _stream(request, [topic])


@_door("GET", "HEAD")
async def live(request: HttpRequest) -> HttpResponseBase:
    """Say that the process answers."""
    return _json({"status": "live"})


@_door("GET", "HEAD")
async def ready(request: HttpRequest) -> HttpResponseBase:
    """Say whether streams can be served: 503 while the log is out of reach."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            await get_event_log().check()
    except Exception:
        return _json({"status": "unavailable", "error": "the event log is out of reach"}, 503)
    return _json({"status": "ready"})


def last_event_id(request: HttpRequest) -> str | None:
    """Give where the client wants to go on: the ``Last-Event-ID`` header, or ``last_event_id``.

    The header wins: a browser repeats the old address when it reconnects.
    """
    header: str = request.META.get("HTTP_LAST_EVENT_ID", "")
    if header:
        return header.encode("latin-1").decode(errors="replace")  # ASGI hands bytes on as Latin-1
    return request.GET.get("last_event_id") or None


async def _stream(request: HttpRequest, topics: Iterable[str]) -> HttpResponseBase:
    if not isinstance(request, ASGIRequest):
        raise Refused(501, ASGI_NEEDED)
    if not request.accepts("text/event-stream"):
        raise Refused(406, "this address serves text/event-stream only")
    try:
        subscription = Subscription(topics, cursor=last_event_id(request))
    except ValueError as error:
        raise Refused(400, str(error)) from error
    async with lease():
        user = await _user(request)
        for name in subscription.rules:
            if not await may_subscribe(user, request.scope, name):
                raise _denied(user, f"you may not read {name!r}")
    headers = {"Cache-Control": "no-store, no-transform"} if user.is_authenticated else {}
    return EventSourceResponse(subscription.blocks(conf.SSE_KEEP_ALIVE), keep_alive=None, headers=headers)


async def _publish(request: HttpRequest, name: str) -> HttpResponseBase:
    content = request.body
    user = await _user(request)
    if request.COOKIES or user.is_authenticated:
        await sync_to_async(_check_csrf)(request)
    if not await may_publish(user, getattr(request, "scope", {}), name):
        raise _denied(user, f"you may not publish to {name!r}")
    body = _body(content)
    try:
        published = await apublish(name, body["data"], event=body.get("event"))
    except EventTooLarge:
        raise
    except ValueError as error:
        raise Refused(400, str(error)) from error
    answer = {"id": published.id, "topic": published.topic, "receivers": published.receivers}
    return _json(answer, 201)


def _check_csrf(request: HttpRequest) -> None:
    """Refuse what another site may have made a browser send with its user's authority."""
    check = CsrfViewMiddleware(_accepted)
    check.process_request(request)
    if check.process_view(request, _accepted, (), {}) is not None:  # it has logged the reason
        raise Refused(403, "the CSRF check failed: send this site's token in the X-CSRFToken header")


def _accepted(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _body(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except RecursionError as error:
        raise Refused(400, "the body is not JSON: it is nested too deeply") from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict) or "data" not in body or body.keys() - {"data", "event"}:
        raise Refused(400, 'the body must be {"data": …} or {"data": …, "event": "name"}')
    return body


async def _user(request: HttpRequest) -> User:
    if not hasattr(request, "auser"):
        raise Refused(501, "django.contrib.auth's AuthenticationMiddleware is missing")
    user: User = await request.auser()
    return user


def _denied(user: User, error: str) -> Refused:
    # Never a redirect to a login page: an EventSource would follow it and give up.
    return Refused(403, error) if user.is_authenticated else Refused(401, f"{error}; sign in first")


def _json(value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    return JsonResponse(value, status=status, headers={"Cache-Control": "no-store", **(headers or {})})
