"""Settings of a site that has views alone."""

SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.failing_site.urls"
ASGI_APPLICATION = "tests.failing_site.asgi.application"
USE_TZ = True
