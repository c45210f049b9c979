"""Routes of the demo's WebSockets."""

from typing import Any

from channels.routing import URLRouter
from django.urls import path, re_path

from project import chat, websocket
from sse_app import consumers, routing

websocket_urlpatterns: list[Any] = [
    path("ws/", websocket.echo),  # type: ignore[arg-type]
    path("ws/chat/<str:room>/", chat.chat),  # type: ignore[arg-type]
    path("sse/", URLRouter(routing.websocket_urlpatterns)),  # type: ignore[arg-type]
    re_path(r"", consumers.not_found),  # type: ignore[arg-type]
]
