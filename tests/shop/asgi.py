"""The ASGI application of the shop."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.shop.settings"

from django.core.asgi import get_asgi_application

application = get_asgi_application()
