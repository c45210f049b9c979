"""Template tags: what they write into a page, for whom, and what they refuse."""

import json
import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, RequestContext, Template, TemplateSyntaxError
from django.test import RequestFactory, override_settings

from sse_app import IllegalTopic, UnknownTopic, current_cursor, publish, user_topic
from sse_app.models import Notification
from sse_app.notifications import mark_read, notify, notify_all
from tests.accounts import make_user

pytestmark = pytest.mark.django_db


class Elements(HTMLParser):
    """Collects the elements of a page: name and attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def rendered(source, user=None, **context):
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()
    return Template("{% load sse %}" + source).render(RequestContext(request, context))


@pytest.fixture
def ada():
    return make_user("ada")


# {% sse_stream %}


def test_a_stream_is_an_element_and_a_module_and_nothing_inline(ada):
    publish("notifications", "one")
    html = rendered('{% sse_stream "notifications" "demo.a" %}', ada)
    page = Elements(html)
    assert page.all("sse-stream") == [
        {
            "src": "/sse/events/",
            "topics": "notifications demo.a",
            "cursor": current_cursor("notifications", "demo.a"),
            "key": str(ada.pk),
        }
    ]
    assert page.all("script") == [{"type": "module", "src": "/static/sse_app/element.js"}]
    assert re.search(r"<script[^>]*></script>", html)


def test_a_stream_may_begin_at_a_cursor_of_the_view():
    page = Elements(rendered('{% sse_stream "notifications" cursor=cursor %}', cursor='a"b'))
    assert page.all("sse-stream")[0]["cursor"] == 'a"b'


def test_a_stream_needs_no_request():
    html = Template('{% load sse %}{% sse_stream "notifications" %}').render(Context())
    assert Elements(html).all("sse-stream")[0]["key"] == ""


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("{% sse_stream %}", TemplateSyntaxError),
        ('{% sse_stream "a b" %}', IllegalTopic),
        ('{% sse_stream "nowhere" %}', UnknownTopic),
    ],
)
def test_a_stream_that_could_not_be_opened_is_an_error(source, error):
    with pytest.raises(error):
        rendered(source)


# {% sse_notifications %}


def test_a_user_s_list_has_titles_links_and_what_is_unread(ada):
    mine = notify(ada, "Mine <b>", "Text", level="error", url="/a/?b=1&c=2")
    ours = notify_all("Ours")
    notify(make_user("bob"), "Theirs")
    mark_read(ada, [ours.pk])
    html = rendered("{% sse_notifications %}", ada)
    root = Elements(html).all("sse-notifications")[0]
    assert (root["data-stream"], root["data-list"], root["data-read"]) == (
        "/sse/events/",
        "/sse/notifications/",
        "/sse/notifications/read/",
    )
    assert root["data-topics"] == f"notifications {user_topic(ada)}"
    assert root["data-cursor"] == current_cursor("notifications", user_topic(ada))
    assert (root["data-unread"], root["data-count"], root["data-key"]) == (f"[{mine.pk}]", "1", str(ada.pk))
    assert json.loads(root["data-levels"])["error"] == "Error"
    items = [(item["data-id"], "data-unread" in item) for item in Elements(html).all("li")]
    assert items == [(str(ours.pk), False), (str(mine.pk), True), ("", False)]  # the last is the pattern
    assert '<a class="sse-title" data-sse="title" href="/a/?b=1&amp;c=2">Mine &lt;b&gt;</a>' in html
    assert "Theirs" not in html


def test_nothing_in_it_is_inline_or_from_elsewhere(ada):
    notify(ada, "Mine")
    html = rendered("{% sse_notifications %}", ada)
    page = Elements(html)
    assert page.all("script") == [{"type": "module", "src": "/static/sse_app/notifications.js"}]
    assert page.all("link") == [{"rel": "stylesheet", "href": "/static/sse_app/notifications.css"}]
    assert not any({"style", "onclick"} & attributes.keys() for _, attributes in page.found)
    assert "http" not in html


def test_a_visitor_sees_what_is_for_everyone_and_can_not_mark_it(ada):
    notify(ada, "Mine")
    notify_all("Ours")
    html = rendered("{% sse_notifications %}")
    root = Elements(html).all("sse-notifications")[0]
    assert root["data-topics"] == "notifications"
    assert not {"data-list", "data-read", "data-csrf", "data-unread"} & root.keys()
    assert "Ours" in html and "Mine" not in html and "csrf" not in html


@override_settings(SSE_TOPIC_POLICY="sse_app.permissions.TopicPolicy")
def test_a_visitor_who_may_read_nothing_sees_an_empty_list():
    notify_all("Ours")
    html = rendered("{% sse_notifications %}")
    assert Elements(html).all("sse-notifications")[0]["data-topics"] == ""
    assert "Ours" not in html


def test_the_list_may_stand_alone_and_be_short(ada):
    for number in range(3):
        notify(ada, f"number {number}")
    html = rendered("{% sse_notifications bell=False limit=2 %}", ada)
    assert "<details" not in html and "number 0" not in html and "number 1" in html


def test_the_time_is_local_and_exact(ada):
    notify(ada, "Mine")
    moment = Notification.objects.get().created_at
    html = rendered("{% sse_notifications %}", ada)
    assert Elements(html).all("time")[0]["datetime"] == moment.isoformat()


def test_without_a_request_one_is_told_what_is_missing():
    with pytest.raises(ImproperlyConfigured, match="sse_notifications needs the request"):
        Template("{% load sse %}{% sse_notifications %}").render(Context())


def test_a_project_s_own_template_wins(ada, settings, tmp_path):
    own = tmp_path / "sse_app" / "notifications.html"
    own.parent.mkdir()
    own.write_text("{{ unread }} of {{ notifications|length }}")
    notify(ada, "One")
    mark_read(ada)
    notify(ada, "Two")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    assert rendered("{% sse_notifications %}", ada) == "1 of 2"


def test_a_page_costs_few_queries_however_much_there_is(ada, django_assert_max_num_queries):
    for number in range(5):
        notify(ada, f"{number}", sender=ada)
    with django_assert_max_num_queries(4):
        rendered("{% sse_notifications %}", ada)
