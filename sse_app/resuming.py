"""Resuming: where the client of a stream wants to go on."""

from urllib.parse import unquote_plus, unquote_to_bytes

from django.http import HttpRequest

PARAMETER = "last_event_id"


def last_event_id(request: HttpRequest) -> str | None:
    """Give the id of the last event that the client has, without spaces around it; None if it has none.

    The ``Last-Event-ID`` header wins over ``last_event_id`` in the query, which is for a first
    connection: a browser repeats the old address when it reconnects. Bytes that are not UTF-8 become
    U+FFFD, so that what never was an id of yours doesn't look like one.
    """
    found = last_event_id_bytes(request)
    return None if found is None else found.decode(errors="replace")


def last_event_id_bytes(request: HttpRequest) -> bytes | None:
    """Give the same id as the bytes that were sent, for ids that are not text."""
    header: str = request.META.get("HTTP_LAST_EVENT_ID", "")
    # Servers hand the bytes of a header on as Latin-1.
    found = header.encode("latin-1").strip() or _parameter(request.META.get("QUERY_STRING", "")).strip()
    return found or None


def _parameter(query: str) -> bytes:
    """Give the last value of that name, as Django's ``GET`` does, but before it is decoded."""
    for pair in reversed(query.split("&")):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == PARAMETER:
            return unquote_to_bytes(value.replace("+", " "))
    return b""
