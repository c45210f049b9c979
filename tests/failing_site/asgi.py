"""The ASGI application of the failing site."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.failing_site.settings"

from django.core.asgi import get_asgi_application

application = get_asgi_application()
