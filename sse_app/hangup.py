"""The hanging up: a WebSocket is closed with its code and its reason, also by a server that knows neither.

What it does not know is taught to it here, when the first one is closed and only where it runs.
"""

import sys
from functools import cache
from typing import Any


def have_server_close() -> None:
    """Have the server send the code and the reason of a close, whichever server it is."""
    daphne = sys.modules.get("daphne.ws_protocol")
    if daphne is not None:
        _teach_daphne(daphne.WebSocketProtocol)


@cache
def _teach_daphne(protocol: Any) -> None:
    """Have daphne close with any code and reason.

    daphne (4.2.3) drops the reason, and autobahn, by which it closes, raises for the codes that RFC 6455,
    section 7.4.1, has for servers, such as 1009 for a message that is too large.
    """
    handle_reply = protocol.handle_reply

    def handle_reply_and_close(connection: Any, message: dict[str, Any]) -> None:
        if message.get("type") == "websocket.close" and connection.state == connection.STATE_OPEN:
            reason = message.get("reason") or ""
            connection.sendCloseFrame(code=message.get("code") or 1000, reasonUtf8=reason.encode())
        else:
            handle_reply(connection, message)

    protocol.handle_reply = handle_reply_and_close
