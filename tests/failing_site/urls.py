"""Addresses of the failing site: /export/complete/10/, /export/failing/10/, …/gzip/ too."""

from django.http import HttpResponse
from django.urls import path

from sse_app import NDJSONResponse


async def records(count, fails):
    for number in range(count):
        yield {"number": number, "text": "x" * 100}
    if fails:
        raise RuntimeError("a secret")


async def export(request, end, count):
    return NDJSONResponse(records(count, end == "failing"), request=request)


async def live(request):
    return HttpResponse("live")


urlpatterns = [path("live/", live), path("export/<str:end>/<int:count>/", export)]
