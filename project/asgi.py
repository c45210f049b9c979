"""The ASGI application of the demo, for any ASGI server."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

from sse_app.headers import lower_header_names

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

http = lower_header_names(get_asgi_application())  # first: it loads the apps that the routes need

from project.routing import websocket_urlpatterns  # noqa: E402

websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
application = ProtocolTypeRouter({"http": http, "websocket": websocket})
