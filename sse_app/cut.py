"""The cut: a body that failed must not look like one that ended.

An ASGI application has no word for it but to raise, and most servers then close the connection. For one
that does not, it is taught here, when the first body fails and only where that server runs.
"""

import sys
from functools import cache
from typing import Any


def have_server_cut() -> None:
    """Have the server close the connection of a body that fails, whichever server it is."""
    daphne = sys.modules.get("daphne.http_protocol")
    if daphne is not None:
        _teach_daphne(daphne.WebRequest)


@cache
def _teach_daphne(web_request: Any) -> None:
    """Have daphne close the connection of an application that fails after its response has begun.

    daphne (4.2.3) would try to send an error page, which raises within its check for ended applications
    and stops that for good: this client and later ones would wait for ever.
    """
    send_error_page = web_request.handle_exception

    def handle_exception(request: Any, exception: BaseException) -> None:
        if not request._response_started:
            send_error_page(request, exception)
        elif request.channel is not None:  # over HTTP/2 a stream, whose loss would look like its end
            getattr(request.channel, "abortConnection", request.channel.loseConnection)()

    web_request.handle_exception = handle_exception
