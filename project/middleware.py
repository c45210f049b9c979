"""Middleware of the demo site: static files without blocking the loop, and a strict CSP."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

GetResponse = Callable[[HttpRequest], Any]

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise, whose responses iterate synchronously, which Django reads to the end under ASGI."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        """Answer with the whole file: those of the demo are small."""
        answer = static_file.get_response(request.method, request.META)
        with answer.file or _Nothing() as file:
            response = HttpResponse(file.read(), status=int(answer.status))
        del response["Content-Type"]
        for name, value in answer.headers:
            response[name] = value
        return response


class _Nothing:
    """A file without content, as a 304 has it."""

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *exc: object) -> None:
        """Close nothing."""

    def read(self) -> bytes:
        """Read nothing."""
        return b""


def content_security_policy(get_response: GetResponse) -> GetResponse:
    """Allow scripts, styles and connections of this site only, and nothing inline."""
    if iscoroutinefunction(get_response):

        async def policed_async(request: HttpRequest) -> HttpResponseBase:
            return _with_policy(await get_response(request))

        return markcoroutinefunction(policed_async)

    def policed(request: HttpRequest) -> HttpResponseBase:
        return _with_policy(get_response(request))

    return policed


content_security_policy.async_capable = content_security_policy.sync_capable = True  # type: ignore[attr-defined]


def _with_policy(response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    return response
