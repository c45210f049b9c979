"""Views: subscribe and publish over HTTP, and health; every refusal is one line of JSON."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app.attendance import apresence
from sse_app.conf import conf, topic_rules
from sse_app.eventlog import get_event_log
from sse_app.history import NotContinued, history, parse_position
from sse_app.permissions import User
from sse_app.publishing import EventTooLarge, apublish, require_key
from sse_app.queries import make_subscription, named_topics, parameter, parse_moment
from sse_app.refusals import (
    Refused,
    admit_publisher,
    admit_replay,
    admit_stream,
    admit_watcher,
    door,
    json_line,
    json_of,
    require_asgi,
)
from sse_app.responses import EventSourceResponse, NDJSONResponse
from sse_app.resuming import last_event_id
from sse_app.topics import TopicKind, TopicRule

READY_SECONDS = 5.0
EXPORT_PARAMETERS = ("after", "since", "event", "limit")


@door("GET", "HEAD")
async def events(request: HttpRequest) -> HttpResponseBase:
    """Stream the topics of the query: ``?topic=a&topic=b``."""
    return await _stream(request, named_topics(request.GET))


@door("GET", "HEAD", "POST")
async def topic(request: HttpRequest, topic: str) -> HttpResponseBase:
    """Stream one topic, or publish to it with POST."""
    if request.method == "POST":
        return await _publish(request, topic)
    return await _stream(request, [topic])


@door("GET", "HEAD")
async def export(request: HttpRequest, topic: str) -> HttpResponseBase:
    """Give the kept events of a topic as NDJSON: ``?after=ID&since=TIME&event=NAME&limit=N``."""
    request = require_asgi(request)
    if _require_declared(topic).kind is TopicKind.EPHEMERAL:
        raise Refused(404, f"{topic!r} is ephemeral: none of its events are kept")
    for name in request.GET:
        if name not in EXPORT_PARAMETERS:
            raise Refused(400, f"unknown parameter {name!r}; known are {', '.join(EXPORT_PARAMETERS)}")
    options: dict[str, Any] = {
        "after": parameter(request.GET, "after", lambda text: parse_position(topic, text)),
        "since": parameter(request.GET, "since", parse_moment),
        "limit": parameter(request.GET, "limit", _parse_limit),
        "event": parameter(request.GET, "event", _parse_event),
    }
    user, options["gets"] = await admit_replay(request, topic)
    try:
        records = await history(topic, **options)
    except NotContinued as error:
        raise Refused(409, error.args[0]) from error
    return NDJSONResponse(records, request=request, filename=f"{topic}.ndjson", headers=_privacy(user))


@door("GET", "HEAD")
async def readers(request: HttpRequest, topic: str) -> HttpResponseBase:
    """Say who and how many read the topic, in all processes."""
    if not _require_declared(topic).presence:
        raise Refused(404, f"the presence of {topic!r} is not kept")
    await admit_watcher(request, topic)
    return json_line((await apresence(topic)).record)


@door("GET", "HEAD")
async def live(request: HttpRequest) -> HttpResponseBase:
    """Say that the process answers."""
    return json_line({"status": "live"})


@door("GET", "HEAD")
async def ready(request: HttpRequest) -> HttpResponseBase:
    """Say whether streams can be served: 503 while the log is out of reach."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            await get_event_log().check()
    except Exception:
        return json_line({"status": "unavailable", "error": "the event log is out of reach"}, 503)
    return json_line({"status": "ready"})


async def _stream(request: HttpRequest, topics: Iterable[str]) -> HttpResponseBase:
    request = require_asgi(request)
    if not request.accepts("text/event-stream"):
        raise Refused(406, "this address serves text/event-stream only")
    subscription = make_subscription(topics, request.GET, last_event_id(request))
    user = await admit_stream(request, subscription)
    blocks = subscription.blocks(conf.SSE_KEEP_ALIVE)
    return EventSourceResponse(blocks, keep_alive=None, headers=_privacy(user))


def _privacy(user: User) -> dict[str, str]:
    """What a user's own rights have opened is for no cache."""
    return {"Cache-Control": "no-store, no-transform"} if user.is_authenticated else {}


async def _publish(request: HttpRequest, name: str) -> HttpResponseBase:
    content = request.body
    _require_declared(name)
    user = await admit_publisher(request, name)
    body = _body(content)
    try:
        published = await apublish(
            name, body["data"], event=body.get("event"), idempotency_key=_idempotency_key(request, user)
        )
    except EventTooLarge:
        raise
    except ValueError as error:
        raise Refused(400, str(error)) from error
    answer = {"id": published.id, "topic": published.topic, "receivers": published.receivers}
    return json_line(answer, 201)


def _idempotency_key(request: HttpRequest, user: User) -> str | None:
    """Give the ``Idempotency-Key`` header, a quoted string in the IETF's draft of it, bare elsewhere.

    Each user's keys are hashed with the user's own: nobody can meet another's. Raises ValueError.
    """
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    key = header.encode("latin-1").decode(errors="replace")  # ASGI hands bytes on as Latin-1
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    require_key(key)
    return hashlib.sha256(f"{user.pk}\0{key}".encode()).hexdigest()


def _require_declared(topic: str) -> TopicRule:
    """Give the topic's rule: a policy is only asked about topics that exist."""
    try:
        return topic_rules().rule(topic)
    except ValueError as error:
        raise Refused(400, str(error)) from error


def _body(content: bytes) -> dict[str, Any]:
    body = json_of(content)
    if not isinstance(body, dict) or "data" not in body or body.keys() - {"data", "event"}:
        raise Refused(400, 'the body must be {"data": …} or {"data": …, "event": "name"}')
    return body


def _parse_limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 19 and int(text)):
        raise ValueError(f"limit: must be a whole number of at least 1, not {text!r}")
    return int(text)


def _parse_event(text: str) -> str:
    if not text:
        raise ValueError("event: must not be empty; 'message' stands for events without a name")
    return text
