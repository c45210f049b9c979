"""Template tags of live pages: ``{% load sse %}``."""

from django import template

from sse_app.subscribing import current_cursor

register = template.Library()


@register.simple_tag
def sse_cursor(*topics: str) -> str:
    """Give the cursor of this moment: ``{% sse_cursor "orders" "alerts" %}``.

    Connect with it as ``last_event_id`` (``{% sse_cursor "orders" as cursor %}{{ cursor|urlencode }}``)
    and what happens between rendering and connecting is not missed. Place it before what reads the
    page's data, or take ``current_cursor`` in the view first.
    """
    return current_cursor(*topics)
