"""The browser client against a real server, in a real Chromium: each event once, in every tab."""

import itertools
import signal
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.client import BLANK, INSECURE_HOST, Tab, new_tab, publish
from tests.site import DEADLINE, send_from_admin

numbers = itertools.count()


@pytest.fixture
def topic():
    """A topic that no other test reads."""
    return f"open.{next(numbers)}"


def until_shared(tab):
    """Wait until the tab needs no connection of its own."""
    deadline = time.monotonic() + DEADLINE
    while (told := tab.read())["transport"] == "own" or told["state"] != "live" or not told["cursor"]:
        assert time.monotonic() < deadline, (told, tab.states)
        time.sleep(0.02)


@contextmanager
def publishing(server, topic):
    """Publish all the time; gives the list of what was published."""
    published, stopped = [], threading.Event()

    def run():
        with httpx.Client(timeout=DEADLINE) as client:
            while not stopped.wait(0.005):
                number = len(published)
                answer = client.post(f"{server.base}/sse/topics/{topic}/", json={"data": number})
                assert answer.status_code == 201
                published.append(number)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield published
    finally:
        stopped.set()
        thread.join()


def until_published(published, more):
    enough, deadline = len(published) + more, time.monotonic() + DEADLINE
    while len(published) < enough:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_staff_send_in_the_admin_is_there_within_a_second(context, house):
    tab = new_tab(context, house, "open.admin", blank="/demo/export/")  # a page with the strict policy
    tab.until(state="live")
    admin = house.sign_in()
    tab.page.evaluate("() => { stream.on('notification', () => (window.at = Date.now())); }")
    sent = time.time()
    send_from_admin(admin, "Hello", topic="open.admin")
    admin.close()
    tab.until(received=1)
    assert tab.page.evaluate("at") / 1000 - sent < 1
    assert tab.seen[0]["value"]["title"] == "Hello"


def test_events_come_parsed_and_typed_to_those_who_listen(context, house, topic):
    other = f"{topic}.x".replace("open", "many")
    tab = new_tab(context, house, topic, other)
    tab.page.evaluate(
        """(topic) => {
          window.heard = [];
          window.end = stream.on("order", (data) => heard.push(["order", data.id]));
          stream.on("order", (data) => heard.push(["of the topic", data.id]), { topic });
          stream.on("message", (data, event) => heard.push(["message", data, event.data]));
        }""",
        topic,
    )
    tab.until(state="live")
    publish(house, topic, {"id": 1}, event="order")
    publish(house, other, {"id": 2}, event="order")
    publish(house, topic, "not {json")
    publish(house, topic, 5)
    tab.until(received=4)
    tab.page.evaluate("end()")
    publish(house, topic, {"id": 3}, event="order")
    tab.until(received=5)
    assert tab.page.evaluate("heard") == [
        ["order", 1],
        ["of the topic", 1],
        ["order", 2],
        ["message", "not {json", "not {json"],
        ["message", 5, "5"],
        ["of the topic", 3],
    ]


def test_after_a_restart_exactly_what_was_missed_comes_back(context, house, open_site):
    server = open_site.serve()
    tabs = [new_tab(context, server, "open.restart") for _ in range(2)]
    tabs[0].until(state="live", transport="leader")
    tabs[1].until(state="live", transport="follower")
    publish(server, "open.restart", "before")
    for tab in tabs:
        tab.until_data("before")
    server.kill()
    for tab in tabs:
        tab.until(state="waiting")
    for number in range(20):
        publish(house, "open.restart", number)
    open_site.serve(port=server.port)
    for tab in tabs:
        told = tab.until(state="live", received=21)
        assert (told["reconnects"], told["recovered"], told["missed"]) == (1, 20, 0)
        assert tab.data == ["before", *range(20)]


def test_seven_tabs_share_one_connection(context, house, topic):
    tabs = [new_tab(context, house, topic) for _ in range(7)]
    for tab in tabs:
        tab.until(state="live")
    assert [tab.until(state="live")["transport"] for tab in tabs].count("leader") == 1
    for tab in tabs[1:]:
        tab.until(transport="follower")
    assert publish(house, topic, "to all") == 1
    for tab in tabs:
        tab.until_data("to all")
    # The eighth page of the origin still loads, which with seven connections it would not.
    tabs[0].page.context.new_page().goto(house.base)


def test_seven_tabs_that_open_at_once_with_topics_of_their_own_share_it_as_well(context, house, topic):
    pages = [context.new_page() for _ in range(7)]
    for page in pages:
        page.goto(house.base + BLANK)
    tabs = [Tab(page).connect(topic, f"many.at-once.{number}") for number, page in enumerate(pages)]
    for tab in tabs:
        until_shared(tab)
    assert publish(house, topic, "to all") == 1
    assert publish(house, "many.at-once.3", "to one") == 1
    tabs[3].until_data("to all", "to one")
    publish(house, topic, "to all again")
    tabs[4].until_data("to all", "to all again")


@pytest.mark.parametrize("way", ["closed", "navigated", "frozen", "crashed"])
def test_when_the_leader_goes_nothing_is_lost_and_nothing_comes_twice(context, house, topic, way):
    leader = new_tab(context, house, topic)
    leader.until(state="live", transport="leader")
    tabs = [new_tab(context, house, topic) for _ in range(2)]
    for tab in tabs:
        tab.until(state="live", transport="follower")
    with publishing(house, topic) as published:
        until_published(published, 20)
        if way == "closed":
            leader.close()
        elif way == "navigated":
            leader.page.goto(house.base)
        elif way == "frozen":
            leader.page.evaluate("() => { document.dispatchEvent(new Event('freeze')); }")
        else:
            with pytest.raises(Exception, match="crash"):
                leader.page.goto("chrome://crash")
        until_published(published, 20)
        newcomer = new_tab(context, house, topic)
        until_published(published, 20)
    for tab in tabs:
        tab.until_data(*published)
    assert sorted(tab.read()["transport"] for tab in tabs) == ["follower", "leader"]
    deadline = time.monotonic() + DEADLINE
    while (came := newcomer.data)[-1:] != published[-1:]:
        assert time.monotonic() < deadline, came
        time.sleep(0.02)
    assert came == published[-len(came) :]


def test_a_page_that_comes_back_from_the_cache_gets_what_it_missed(context, house, topic):
    tab = new_tab(context, house, topic)
    other = new_tab(context, house, topic)
    tab.until(state="live", transport="leader")
    other.until(state="live", transport="follower")
    publish(house, topic, 1)
    tab.until_data(1)
    tab.page.goto(house.base + "/sse/health/live/")
    other.until(state="live", transport="leader")
    assert publish(house, topic, 2) == 1
    other.until_data(1, 2)
    # The page has no load event then: it is the old one.
    tab.page.go_back(wait_until="commit")
    tab.until(state="live", transport="follower")
    publish(house, topic, 3)
    for each in (tab, other):
        each.until_data(1, 2, 3)


def test_a_tab_whose_leader_has_been_suspended_goes_on_alone_and_comes_back(context, house, topic):
    leader = new_tab(context, house, topic)
    leader.until(state="live", transport="leader")
    tab = new_tab(context, house, topic)
    tab.until(state="live", transport="follower")
    busy = "setTimeout(() => { const end = Date.now() + 4000; while (Date.now() < end); })"
    leader.page.evaluate(f"() => {{ {busy}; }}")
    publish(house, topic, 1)
    tab.hide()
    tab.hide(False)
    tab.until(transport="own")
    tab.until_data(1)
    tab.until(transport="follower")
    publish(house, topic, 2)
    for each in (leader, tab):
        each.until_data(1, 2)


def test_a_reload_goes_on_where_the_page_was(context, house, topic):
    tab = new_tab(context, house, topic)
    tab.until(state="live")
    publish(house, topic, 1)
    tab.until_data(1)
    tab.page.goto("about:blank")
    assert publish(house, topic, 2) == 0
    tab.page.goto(house.base + BLANK)
    tab.connect(topic)
    tab.until_data(2)
    tab.page.evaluate("stream.close()")
    publish(house, topic, 3)
    for options in ({}, {"key": "another user"}, {"resume": 0}):
        tab.page.goto(house.base + BLANK)
        tab.connect(topic, **options)
        tab.until(state="live")
        publish(house, topic, "new")
        tab.until_data("new")


def test_a_page_begins_at_the_cursor_it_was_made_with(context, house, topic):
    publish(house, topic, 0)
    tab = new_tab(context, house, topic)
    until_shared(tab)
    cursor = tab.read()["cursor"]
    for number in (1, 2, 3):
        publish(house, topic, number)
    tab.until_data(1, 2, 3)
    address = f"/sse/events/?topic={topic}&last_event_id={cursor}"
    for tab in (new_tab(context, house, address=address), new_tab(context, house, topic, cursor=cursor)):
        assert tab.until(state="live", transport="follower", received=3)["recovered"] == 3
        tab.until_data(1, 2, 3)
    earliest = new_tab(context, house, topic, cursor="earliest")
    earliest.until_data(0, 1, 2, 3)


def test_the_address_may_name_the_topic(context, house, topic):
    tabs = [new_tab(context, house, address=f"/sse/topics/{topic}/") for _ in range(2)]
    for tab in tabs:
        until_shared(tab)
    assert publish(house, topic, 1) == 1
    for tab in tabs:
        tab.until_data(1)
    assert tabs[0].seen[0]["topic"] == topic


def test_topics_come_and_go(context, house, topic):
    other = topic.replace("open.", "many.other.")
    leader = new_tab(context, house, topic)
    leader.until(state="live", transport="leader")
    tab = new_tab(context, house, topic)
    tab.until(state="live", transport="follower")
    for each in (tab, leader):
        each.page.evaluate("(topic) => stream.add(topic)", other)
        each.until(transport="own")
        until_shared(each)
    assert publish(house, other, 1) == publish(house, topic, 2) == 1
    for each in (tab, leader):
        each.until_data(1, 2)
    tab.page.evaluate("(topic) => stream.remove(topic)", other)
    publish(house, other, 3)
    leader.until_data(1, 2, 3)
    leader.page.evaluate("(topic) => stream.remove(topic)", other)
    deadline = time.monotonic() + DEADLINE
    while publish(house, other, 4):
        assert time.monotonic() < deadline
    publish(house, topic, 5)
    tab.until_data(1, 2, 5)
    assert leader.until(state="live")["topics"] == [topic]
    for each in (tab, leader):
        assert each.read()["reconnects"] == 0


def test_a_topic_that_is_refused_ends_the_stream_of_its_tab_alone(context, house, topic):
    leader = new_tab(context, house, topic)
    leader.until(state="live", transport="leader")
    refused = new_tab(context, house, topic, "unheard-of")
    assert "unheard-of" in refused.until(state="closed", status=404)["message"]
    leader.page.evaluate("() => stream.add('unheard-of')")
    leader.until(state="closed", status=404)
    tab = new_tab(context, house, topic)
    tab.until(state="live", transport="leader")


def test_tabs_whose_topics_are_too_many_together_have_connections_of_their_own(context, house, topic):
    own = [[f"many.{side}.{number}" for number in range(15)] for side in "ab"]
    tabs = [new_tab(context, house, topic, *topics) for topics in own]
    third = new_tab(context, house, topic)
    until_shared(tabs[0])
    until_shared(third)
    deadline = time.monotonic() + DEADLINE
    while publish(house, topic, "count") != 2:
        assert time.monotonic() < deadline
    assert tabs[1].read()["transport"] == "own"
    counted = third.data
    publish(house, topic, "last")
    third.until_data(*counted, "last")
    for tab in tabs:
        deadline = time.monotonic() + DEADLINE
        while tab.data[-1:] != ["last"]:
            assert time.monotonic() < deadline
        assert tab.data[-len(third.data) :] == third.data


def test_when_all_tabs_are_hidden_the_stream_pauses_and_catches_up(context, house, topic):
    tabs = [new_tab(context, house, topic, pause=0) for _ in range(2)]
    for tab in tabs:
        until_shared(tab)
    tabs[0].hide()
    assert publish(house, topic, 1) == 1
    for tab in tabs:
        tab.until_data(1)
    tabs[1].hide()
    for tab in tabs:
        tab.until(state="paused")
    deadline = time.monotonic() + DEADLINE
    missed = 0
    while True:
        missed += 1
        assert time.monotonic() < deadline
        if publish(house, topic, "missed") == 0:
            break
    tabs[1].hide(False)
    for tab in tabs:
        told = tab.until(state="live", received=1 + missed)
        assert told["reconnects"] == 0
        tab.until_data(1, *["missed"] * missed)


def test_a_server_that_falls_silent_is_left_and_one_that_sends_keep_alives_is_not(context, open_site):
    server = open_site.serve(SSE_KEEP_ALIVE="0.3")
    tab = new_tab(context, server, "open.silent", timeout=1)
    tab.until(state="live")
    began = time.monotonic()
    while time.monotonic() < began + 2:
        assert tab.read()["state"] == "live"
    server.child.send_signal(signal.SIGSTOP)
    assert tab.until(state="waiting")["message"] == "the server is silent"
    server.child.send_signal(signal.SIGCONT)
    assert tab.until(state="live")["reconnects"] == 1
    publish(server, "open.silent", "back")
    tab.until_data("back")


def test_without_a_secure_context_each_tab_has_a_connection(context, house, topic):
    base = f"http://{INSECURE_HOST}:{house.port}"
    tabs = [new_tab(context, house, topic, base=base) for _ in range(2)]
    assert tabs[0].page.evaluate("[isSecureContext, navigator.locks === undefined]") == [False, True]
    for tab in tabs:
        tab.until(state="live", transport="own")
    assert publish(house, topic, 1) == 2
    for tab in tabs:
        tab.until_data(1)


def test_two_users_of_a_browser_share_nothing(context, house, topic):
    tabs = [new_tab(context, house, topic, key=key) for key in "ab"]
    for tab in tabs:
        tab.until(state="live", transport="leader")
    assert publish(house, topic, 1) == 2


def test_every_tab_gets_the_newest_value_and_the_snapshots(context, house):
    publish(house, "newest.first", "value")
    topics = ["newest.first", "shown.first", "shown.second"]
    tabs = []
    for _ in range(2):
        tab = new_tab(context, house, *topics)
        until_shared(tab)
        tabs.append(tab)
    publish(house, "newest.first", "newer")
    for tab in tabs:
        tab.until(received=4)
        of_topics = [(event["type"], event["topic"], event["value"]) for event in tab.seen]
        assert sorted(of_topics[:3], key=str) == [
            ("message", "newest.first", "value"),
            ("shown", "shown.first", {"of": "shown.first"}),
            ("shown", "shown.second", {"of": "shown.second"}),
        ]
        assert of_topics[3:] == [("message", "newest.first", "newer")]


def test_a_cursor_that_cannot_be_continued_is_told_once_in_every_tab(context, house, open_site):
    server = open_site.serve()
    tabs = [new_tab(context, server, "open.trimmed", "open.whole") for _ in range(2)]
    for tab in tabs:
        until_shared(tab)
    server.kill()
    for tab in tabs:
        tab.until(state="waiting")
    for number in range(5):
        publish(house, "open.trimmed", number)
        publish(house, "open.whole", number)
    open_site.manage("sse_trim", "open.trimmed", "--keep", "1")
    open_site.serve(port=server.port)
    for tab in tabs:
        told = tab.until(state="live", received=5, missed=5)
        (reset,) = [event for event in tab.seen if event["type"] == "reset"]
        assert reset["value"] == {"topics": [{"topic": "open.trimmed", "reason": "trimmed", "missed": 5}]}
        assert [data for data in tab.data if isinstance(data, int)] == list(range(5))
        assert told["reconnects"] == 1
