"""Addresses of the gallery, below ``demo/``: the pages, and each pattern's stream under its own name."""

from django.urls import path

from project.gallery import pages
from project.gallery.patterns import PATTERNS

urlpatterns = [
    path("", pages.index, name="gallery"),
    path("gallery/<slug:name>/", pages.page, name="pattern"),
    *[path(f"{pattern.name}/", pattern.view, name=f"demo-{pattern.name}") for pattern in PATTERNS.values()],
]
