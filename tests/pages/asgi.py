"""The ASGI application of the pages."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.pages.settings"

from django.core.asgi import get_asgi_application

application = get_asgi_application()
