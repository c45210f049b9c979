"""Refusals: every answer other than the one that was asked for, as one line of JSON."""

import json
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from sse_app.attendance import keep_presence
from sse_app.lease import lease
from sse_app.permissions import (
    EventFilter,
    Scope,
    User,
    event_filters,
    may_publish,
    may_replay,
    may_see_presence,
    may_subscribe,
)
from sse_app.publishing import EventTooLarge
from sse_app.responses import ASGI_NEEDED
from sse_app.snapshots import snapshot_sources
from sse_app.start import Start
from sse_app.subscription import Subscription
from sse_app.topics import ResetTo, TopicKind, UnknownTopic

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


class Refused(Exception):
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, error: str, **headers: str) -> None:
        super().__init__(error)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


REFUSED = (
    Refused,
    UnknownTopic,
    EventTooLarge,
    RequestDataTooBig,
    BadRequest,
    SuspiciousOperation,
    MultiPartParserError,
)


def as_refusal(error: Exception) -> Refused:
    """Give the answer to a client whose request has raised one of ``REFUSED``."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UnknownTopic):
        return Refused(404, error.args[0])
    if isinstance(error, (EventTooLarge, RequestDataTooBig)):
        return Refused(413, str(error))
    return Refused(400, str(error))


def door(*methods: str) -> Callable[[View], View]:
    """Make a view that answers refusals as JSON, asks for no login page and needs no transaction."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method not in methods:
                    allowed = ", ".join(methods)
                    raise Refused(405, f"{request.method} is not allowed here", Allow=allowed)
                return await view(request, *args, **kwargs)
            except REFUSED as error:
                refused = as_refusal(error)
                return json_line({"error": str(refused)}, refused.status, refused.headers)

        # Django refuses async views under ATOMIC_REQUESTS unless they opt out for each database.
        guarded._non_atomic_requests = set(connections)  # type: ignore[attr-defined]
        # Django's CSRF middleware would refuse first, and in HTML: ``admit_publisher`` asks it itself.
        guarded.csrf_exempt = True  # type: ignore[attr-defined]
        return login_not_required(guarded)

    return decorate


def require_asgi(request: HttpRequest) -> ASGIRequest:
    """Refuse a request that came over WSGI, where a stream can't be served."""
    if not isinstance(request, ASGIRequest):
        raise Refused(501, ASGI_NEEDED)
    return request


async def admit_readers(user: User, scope: Scope, topics: Iterable[str]) -> None:
    """Refuse a user who may not read all of the topics."""
    for topic in topics:
        if not await may_subscribe(user, scope, topic):
            raise _denied(user, f"you may not read {topic!r}")


async def admit_stream(request: ASGIRequest, subscription: Subscription) -> User:
    """Give the user of a stream over HTTP, or refuse."""
    async with lease():
        user = await _user(request)
        await admit_subscription(user, request.scope, subscription)
    return user


async def admit_subscription(user: User, scope: Scope, subscription: Subscription) -> None:
    """Let the policy have its say in a subscription, whichever way it came in; or refuse it."""
    await admit_readers(user, scope, subscription.rules)
    for topic in _replayed(subscription):
        if not await may_replay(user, scope, topic):
            if subscription.starts[topic].since is not None:
                raise _denied(user, f"you may not read the past of {topic!r}")
            _close_past(subscription, topic)
    subscription.reader.name = user.get_username() if user.is_authenticated else ""
    if any(rule.presence for rule in subscription.rules.values()):
        keep_presence()
    subscription.filters = await event_filters(user, scope, subscription.rules)
    subscription.snapshots = snapshot_sources(subscription.rules, user, scope)


def _replayed(subscription: Subscription) -> list[str]:
    """Give the topics of which the reader may be shown events from before it came."""
    return [
        topic
        for topic, rule in subscription.rules.items()
        if rule.kind is TopicKind.DURABLE
        and (subscription.starts[topic].is_unproven or rule.reset_to is ResetTo.OLDEST)
    ]


def _close_past(subscription: Subscription, topic: str) -> None:
    """Let no reset lead into the past, nor a cursor from before the first event, which proves nothing."""
    subscription.rules[topic] = replace(subscription.rules[topic], reset_to=ResetTo.HEAD)
    if subscription.starts[topic].is_unproven:
        subscription.starts[topic] = Start(unknown=True)


async def admit_replay(request: ASGIRequest, topic: str) -> tuple[User, EventFilter | None]:
    """Give the user and which events the user gets, or refuse one who may not read the past."""
    async with lease():
        user = await _user(request)
        await admit_readers(user, request.scope, [topic])
        if not await may_replay(user, request.scope, topic):
            raise _denied(user, f"you may not read the past of {topic!r}")
        filters = await event_filters(user, request.scope, [topic])
    return user, filters.get(topic)


async def admit_watcher(request: HttpRequest, topic: str) -> None:
    """Refuse a user who may not see who reads the topic."""
    user = await _user(request)
    if not await may_see_presence(user, getattr(request, "scope", {}), topic):
        raise _denied(user, f"you may not see who reads {topic!r}")


async def admit_publisher(request: HttpRequest, topic: str) -> User:
    """Give the user, or refuse one who may not publish, and what another site has made a browser send."""
    user = await _user(request)
    if request.COOKIES or user.is_authenticated:
        await sync_to_async(_check_csrf)(request)
    if not await may_publish(user, getattr(request, "scope", {}), topic):
        raise _denied(user, f"you may not publish to {topic!r}")
    return user


async def admit_user(request: HttpRequest) -> "AbstractBaseUser":
    """Give the user who has signed in, or refuse; also what another site has made a browser send."""
    user = await _user(request)
    if not user.is_authenticated:
        raise Refused(401, "notifications are for users; sign in first")
    if request.method == "POST":
        await sync_to_async(_check_csrf)(request)
    return user


def _check_csrf(request: HttpRequest) -> None:
    """Refuse what another site may have made a browser send with its user's authority."""
    check = CsrfViewMiddleware(_accepted)
    check.process_request(request)
    if check.process_view(request, _accepted, (), {}) is not None:  # it has logged the reason
        raise Refused(403, "the CSRF check failed: send this site's token in the X-CSRFToken header")


def _accepted(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def _user(request: HttpRequest) -> User:
    if not hasattr(request, "auser"):
        raise Refused(501, "django.contrib.auth's AuthenticationMiddleware is missing")
    user: User = await request.auser()
    return user


def _denied(user: User, error: str) -> Refused:
    # Never a redirect to a login page: an EventSource would follow it and give up.
    return Refused(403, error) if user.is_authenticated else Refused(401, f"{error}; sign in first")


def json_of(content: bytes) -> Any:
    """Read a request's body, or refuse one that is not JSON."""
    try:
        return json.loads(content)
    except RecursionError as error:
        raise Refused(400, "the body is not JSON: it is nested too deeply") from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error


def json_line(
    value: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> HttpResponse:
    """Answer with JSON on one line, which no cache keeps."""
    return JsonResponse(value, status=status, headers={"Cache-Control": "no-store", **(headers or {})})
