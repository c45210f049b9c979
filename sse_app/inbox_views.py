"""Views of a user's notifications: the list, and what marks them as read."""

from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import urlencode

from sse_app.inbox import PAGE, Inbox, ainbox, as_json
from sse_app.notifications import mark_read
from sse_app.refusals import Refused, admit_user, door, json_line, json_of

LARGEST_PAGE = 100
MOST_IDS = 1000
LARGEST_ID = 2**63 - 1
LIST_PARAMETERS = ("before", "limit")


@door("GET", "HEAD")
async def notifications(request: HttpRequest) -> HttpResponseBase:
    """List the user's notifications, newest first: ``?before=ID&limit=N``."""
    user = await admit_user(request)
    for name in request.GET:
        if name not in LIST_PARAMETERS:
            raise Refused(400, f"unknown parameter {name!r}; known are {', '.join(LIST_PARAMETERS)}")
    before = _number(request, "before", LARGEST_ID)
    limit = _number(request, "limit", LARGEST_PAGE) or PAGE
    inbox = await ainbox(user, getattr(request, "scope", {}))
    return json_line(await sync_to_async(_listed)(inbox, before, limit))


@door("POST")
async def read(request: HttpRequest) -> HttpResponseBase:
    """Mark notifications as read: ``{"ids": [1, 2]}`` or ``{"all": true}``."""
    content = request.body
    user = await admit_user(request)
    ids = _ids(json_of(content))
    inbox = await ainbox(user, getattr(request, "scope", {}))
    newly = await sync_to_async(mark_read)(user, ids, among=inbox.notifications)
    return json_line({"read": len(newly), "unread": await sync_to_async(inbox.unread)()})


def _listed(inbox: Inbox, before: int | None, limit: int) -> dict[str, Any]:
    page, more = inbox.page(before, limit)
    return {
        "notifications": [as_json(notification) for notification in page],
        "next": _address(page[-1].pk, limit) if more else None,
        "unread": inbox.unread(),
        "unread_ids": inbox.unread_ids(),
        "topics": inbox.topics,
        "last_event_id": inbox.cursor,
    }


def _address(before: int, limit: int) -> str:
    return f"{reverse('sse:notifications')}?{urlencode({'before': before, 'limit': limit})}"


def _number(request: HttpRequest, name: str, most: int) -> int | None:
    text = request.GET.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= most):
        raise Refused(400, f"{name}: must be a whole number from 1 to {most}, not {text!r}")
    return int(text)


def _ids(body: Any) -> list[int] | None:
    """Give the ids of the body; None for all."""
    match body:
        case {"all": True, **rest} if not rest:
            return None
        case {"ids": [*ids], **rest} if not rest and all(_is_id(id) for id in ids):
            if len(ids) > MOST_IDS:
                raise Refused(400, f"ids: {len(ids)} are more than the {MOST_IDS} of one request")
            return ids
    raise Refused(400, 'the body must be {"ids": [1, 2, …]} or {"all": true}')


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST_ID
