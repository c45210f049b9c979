"""Pages of the gallery: all patterns, and one page for each."""

import re

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from project.gallery.listing import listing
from project.gallery.patterns import GROUPS, PATTERNS


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show all patterns, by groups."""
    return render(request, "gallery.html", {"groups": GROUPS})


@require_safe
def page(request: HttpRequest, name: str) -> HttpResponse:
    """Show one pattern: what it shows, the stream as it runs, and the lines behind it."""
    if name not in PATTERNS:
        raise Http404(f"there is no pattern {name!r}")
    pattern = PATTERNS[name]
    names = list(PATTERNS)
    place = names.index(name)
    context = {
        "pattern": pattern,
        "shows": [_marked(paragraph) for paragraph in pattern.shows],
        "listing": listing(pattern.code),
        "previous": PATTERNS[names[place - 1]] if place else None,
        "next": PATTERNS[names[place + 1]] if place + 1 < len(names) else None,
    }
    return render(request, "pattern.html", context)


def _marked(text: str) -> SafeString:
    """Give a paragraph as HTML: what stands in backticks is code."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))
