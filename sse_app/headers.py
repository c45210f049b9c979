"""Header names in lower case, as ASGI and HTTP/3 (RFC 9114, section 4.2) demand it; Django has capitals.

Servers make up for it over HTTP/1.1 and HTTP/2. hypercorn (0.18) does not over HTTP/3, where a client has
to take such a response for malformed.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

Message = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def lower_header_names(application: Application) -> Application:
    """Wrap an ASGI application that is served over HTTP/3; other requests pass it by."""

    @wraps(application, updated=())
    async def lowered(scope: Any, receive: Any, send: Any) -> None:
        async def send_lowered(message: Message) -> None:
            if "headers" in message:
                names = [(bytes(name).lower(), value) for name, value in message["headers"]]
                message = {**message, "headers": names}
            await send(message)

        await application(scope, receive, send_lowered if scope.get("http_version") == "3" else send)

    return lowered
