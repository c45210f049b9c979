"""Settings of the pages: the demo's, with scripts of npm beside its own."""

import os
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import SSE_TOPICS as DEMO_TOPICS
from project.settings import TEMPLATES

ROOT_URLCONF = "tests.pages.urls"
ASGI_APPLICATION = "tests.pages.asgi.application"
TEMPLATES[0]["DIRS"] = [Path(__file__).parent / "templates"]
SSE_TOPICS = {**DEMO_TOPICS, "prices": {}}
SSE_TOPIC_POLICY = "tests.pages.urls.Open"
if "NPM" in os.environ:
    STATICFILES_DIRS = [("npm", os.environ["NPM"])]
