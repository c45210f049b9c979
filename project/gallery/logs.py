"""Logs: newline-delimited JSON, filtered and shaped by a token bucket.

Fifty entries come at once, then a hundred a second: nothing is dropped, the source waits. The lines
go out in batches, as gzip where the client takes it, flushed after each one, so that they are there
as soon as they would be without it.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from project.gallery.parameters import choice, number, only
from sse_app import NDJSONResponse
from sse_app.refusals import door
from sse_app.streams import rate_limit

SERVICES = ("api", "web", "worker")
LEVELS = ("ERROR", "INFO", "DEBUG", "INFO", "INFO", "WARNING", "INFO", "DEBUG", "INFO", "INFO")


@door("GET", "HEAD")
async def logs(request: HttpRequest) -> HttpResponseBase:
    """Give some entries: ``?service=&level=&limit=``."""
    only(request, "service", "level", "limit")
    service = choice(request, "service", SERVICES)
    level = choice(request, "level", sorted(set(LEVELS)))
    limit = number(request, "limit", default=1000, least=1, most=100_000)
    shaped = rate_limit(entries(service, level, limit), max_per_second=100, burst=50)
    return NDJSONResponse(shaped, request=request)


async def entries(service: str | None, level: str | None, limit: int) -> AsyncIterator[dict[str, Any]]:
    """Give entries, every tenth an ERROR, of which some are looked for."""
    found = (n for n in count(1) if service in (None, SERVICES[n % 3]) and level in (None, LEVELS[n % 10]))
    for n in islice(found, limit):
        yield {
            "id": n,
            "level": LEVELS[n % 10],
            "message": f"Log entry #{n}",
            "timestamp": datetime.now(UTC),
            "service": SERVICES[n % 3],
        }
