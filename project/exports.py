"""The export of the demo: a page that downloads a table, and the table as NDJSON."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from project.models import Measurement
from sse_app.export import PAGE_ROWS, Rows, rows
from sse_app.responses import NDJSONResponse

FILENAME = "measurements.ndjson"
LARGEST_ID = 2**63 - 1
FASTEST = 1_000_000
SLOWLY = 10_000  # rows a second, as the page asks for where one wants to watch


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the page that downloads the table."""
    newest = Measurement.objects.order_by("-pk").first()
    context = {
        "total": Measurement.objects.count(),
        "near_end": max(0, newest.pk - 3) if newest else 0,
        "pace": SLOWLY,
        "filename": FILENAME,
    }
    return render(request, "export.html", context)


@require_safe
async def measurements(request: HttpRequest) -> HttpResponseBase:
    """Give the table as NDJSON, in the order of the ids: ``?after=ID&pace=ROWS_A_SECOND``.

    ``X-Total-Count`` tells how many rows follow: those after ``after``.
    """
    try:
        after = _number(request, "after", 0, LARGEST_ID)
        pace = _number(request, "pace", 1, FASTEST)
    except ValueError as error:
        return JsonResponse({"error": str(error)}, status=400)
    size = PAGE_ROWS if pace is None else max(1, min(PAGE_ROWS, pace // 10))
    exported = rows(Measurement.objects.all(), after=after, page=size)
    return NDJSONResponse(
        exported if pace is None else _paced(exported, pace),
        request=request,
        trailer=True,
        filename=FILENAME,
        headers={"X-Total-Count": str(await Measurement.objects.filter(pk__gt=after or 0).acount())},
    )


async def _paced(exported: Rows, pace: int) -> AsyncIterator[bytes]:
    """Give the lines at no more than ``pace`` a second, as a slow line would."""
    clock = asyncio.get_running_loop()
    due = clock.time()
    async with aclosing(exported.blocks()) as blocks:  # type: ignore[type-var]
        async for lines in blocks:
            yield lines
            due += lines.count(b"\n") / pace
            await asyncio.sleep(due - clock.time())


def _number(request: HttpRequest, name: str, least: int, most: int) -> int | None:
    """Give a whole number from the query; raises ValueError for anything else."""
    text = request.GET.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ValueError(f"{name}: must be a whole number from {least} to {most}, not {text!r}")
    return int(text)
