"""Addresses: /export/keyset/1000/ or /export/snapshot/1000/, and what the process holds at /held/."""

import asyncio
import threading

from django.http import JsonResponse
from django.urls import path

from sse_app import NDJSONResponse
from sse_app.export import rows
from tests.shop.models import Book


async def export(request, way, last):
    books = Book.objects.filter(pk__lte=last)
    return NDJSONResponse(rows(books, snapshot=way == "snapshot"), request=request)


async def held(request):
    threads = [thread.name for thread in threading.enumerate()]
    return JsonResponse(
        {"tasks": len(asyncio.all_tasks()), "snapshots": sum(name.startswith("sse-snap") for name in threads)}
    )


urlpatterns = [path("export/<str:way>/<int:last>/", export), path("held/", held)]
