"""Routes of the app's WebSockets, for channels' ``URLRouter``; the same place as that of the addresses.

``path("sse/", URLRouter(websocket_urlpatterns))`` mounts them at ``sse/``.
"""

from typing import Any

from django.urls import path

from sse_app import consumers

websocket_urlpatterns: list[Any] = [path("ws/", consumers.subscribe, name="ws")]  # type: ignore[arg-type]
