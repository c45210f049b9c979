"""Settings of the suite: the demo's, on a database file of its own."""

import os
import tempfile
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import DATABASES, INSTALLED_APPS

DEBUG = False
SECRET_KEY = "only-for-tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [*INSTALLED_APPS, "tests.shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file: the log is read in other threads, which an in-memory database would lock out.
    path = Path(tempfile.gettempdir()) / f"sse-suite-{os.getpid()}.sqlite3"
    DATABASES["default"]["TEST"] = {"NAME": str(path)}
