"""Parameters: what a request asks for, checked; anything else is refused with 400 and one line of JSON."""

import math
from collections.abc import Sequence

from django.http import HttpRequest

from sse_app import last_event_id
from sse_app.refusals import Refused

LARGEST = 10**15  # what a script reads exactly


def only(request: HttpRequest, *names: str) -> None:
    """Refuse a parameter that is not one of these, so that a slip of the pen isn't ignored."""
    for name in request.GET:
        if name not in names:
            raise Refused(400, f"unknown parameter {name!r}; known are {', '.join(names)}")


def number(request: HttpRequest, name: str, *, default: int, least: int, most: int) -> int:
    """Give a whole number from the query."""
    text = request.GET.get(name, str(default))
    if not _is_number(text) or not least <= int(text) <= most:
        raise Refused(400, f"{name}: must be a whole number from {least} to {most}, not {text!r}")
    return int(text)


def seconds(request: HttpRequest, name: str, *, default: float, least: float = 0.01, most: float) -> float:
    """Give a time in seconds from the query."""
    text = request.GET.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise Refused(400, f"{name}: must be from {least:g} to {most:g} seconds, not {text!r}")
    return value


def choice(request: HttpRequest, name: str, choices: Sequence[str]) -> str | None:
    """Give one of some words from the query; None if there is none."""
    text = request.GET.get(name)
    if text is not None and text not in choices:
        raise Refused(400, f"{name}: must be one of {', '.join(choices)}, not {text!r}")
    return text


def last_number(request: HttpRequest, *, none: int = 0) -> int:
    """Give the id of the last event that the client has, where ids are whole numbers."""
    text = last_event_id(request)
    if text is None:
        return none
    if not _is_number(text) or int(text) > LARGEST:
        raise Refused(400, f"last event id: must be a whole number, not {text!r}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
