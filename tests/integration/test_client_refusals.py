"""What the browser client makes of refusals, endings and half blocks, in a real Chromium."""

import json

import pytest

from tests.client import Tab
from tests.scripted import PRIMED, ScriptedServer, block, refusal


@pytest.fixture
def server():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def open_tab(context, server):
    """Open a tab with a stream of the server's."""

    def open_tab(*topics, **options):
        page = context.new_page()
        page.goto(server.base)
        return Tab(page).connect(*topics, address="/stream", **{"share": False, **options})

    return open_tab


def closed(reason):
    return block(event="closed", data=json.dumps({"reason": reason}))


@pytest.mark.parametrize("status", [401, 500])
def test_what_may_pass_is_tried_again(server, open_tab, status):
    server.steps += [{"body": PRIMED}, refusal(status, "not now")]
    tab = open_tab("a")
    told = tab.until(state="live", reconnects=1)
    assert told["status"] is None
    assert ["waiting", "own", status] in tab.states
    assert len(server.requests) == 3
    assert server.requests[-1][1]["Last-Event-ID"] == "a=0-00000000"


@pytest.mark.parametrize("status", [204, 400, 403, 404])
def test_what_stays_ends_the_stream(server, open_tab, status):
    server.steps += [refusal(status, "never")]
    if status == 204:
        server.steps[0]["body"] = ""
    tab = open_tab("a")
    message = "status 204" if status == 204 else "never"
    tab.until(state="closed", status=status, message=message)
    assert len(server.requests) == 1


def test_what_is_no_event_stream_ends_the_stream(server, open_tab):
    server.steps += [{"headers": {"Content-Type": "text/html"}, "body": "data: no\n\n"}]
    tab = open_tab("a")
    tab.until(state="closed", status=200)
    assert tab.data == []


def test_a_login_page_is_no_end(server, open_tab):
    server.steps += [{"status": 302, "headers": {"Location": "/login"}}]
    tab = open_tab("a")
    tab.until(state="live")
    assert server.requests[1][2].startswith("/stream")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept_to(server, open_tab, status):
    server.steps += [{"body": PRIMED}, refusal(status, Retry_After="1")]
    open_tab("a").until(state="live", reconnects=1)
    assert server.waits()[1] > 1.4


def test_waits_grow_and_differ(server, open_tab):
    server.steps += [{"body": PRIMED}, *[refusal(503)] * 2]
    open_tab("a").until(state="live", reconnects=1)
    for wait, longest in zip(server.waits(), (0.5, 1, 2), strict=True):
        assert longest / 2 <= wait < longest + 1


@pytest.mark.parametrize(
    "end", [block(event="shutdown", retry=900, data="{}"), "retry: 900\n" + closed("lifetime")]
)
def test_a_planned_end_is_followed_by_the_wait_that_the_server_gave(server, open_tab, end):
    server.steps += [{"body": PRIMED + end}] * 2
    tab = open_tab("a")
    tab.until(state="live", reconnects=2)
    assert all(0.9 <= wait < 1.7 for wait in server.waits())
    assert len([event for event in tab.seen if event["type"] in ("shutdown", "closed")]) == 2


@pytest.mark.parametrize("reason", ["logout", "revoked", None])
def test_what_the_server_closes_stays_closed(server, open_tab, reason):
    server.steps += [{"body": PRIMED + closed(reason) + block(id="a=1-00000001", data="late"), "hold": True}]
    tab = open_tab("a")
    assert tab.until(state="closed")["received"] == 0
    assert [event["type"] for event in tab.seen] == ["closed"]
    assert len(server.requests) == 1


def test_half_a_block_is_nothing_nor_is_its_id(server, open_tab):
    whole = block(id="a=1-00000001", data="whole")
    half = "id: a=2-00000002\ndata: half\n"
    server.steps += [{"body": PRIMED + whole + half}]
    tab = open_tab("a")
    tab.until(state="live", reconnects=1)
    assert tab.data == ["whole"]
    assert server.requests[1][1]["Last-Event-ID"] == "a=1-00000001"


def test_ids_that_are_no_cursors_are_given_back_as_they_are(server, open_tab):
    server.steps += [{"body": "retry: 500\n" + block(id="…17", data="1")}, {"body": block(data="2")}]
    tab = open_tab()
    tab.until(state="live", reconnects=2)
    assert tab.data == [1, 2]
    ids = [headers.get("Last-Event-ID", "").encode("latin-1").decode() for _, headers, _ in server.requests]
    assert ids == ["", "…17", "…17"]


def test_headers_are_made_anew_for_each_request(server, open_tab, context):
    server.steps += [{"body": PRIMED}, refusal(401)]
    page = context.new_page()
    page.goto(server.base)
    page.evaluate(
        """async () => {
          const { connect } = await import("/static/sse_app/stream.js");
          let token = 0;
          const headers = async () => ({ Authorization: `Bearer ${++token}` });
          window.states = [];
          window.stream = connect("/stream?topic=a", { headers, key: "7" });
        }"""
    )
    Tab(page).until(state="live", reconnects=1)
    assert [headers["Authorization"] for _, headers, _ in server.requests] == [
        "Bearer 1",
        "Bearer 2",
        "Bearer 3",
    ]
    fixed = open_tab("a", headers={"Authorization": "Bearer fixed"})
    fixed.until(state="live")
    assert server.requests[-1][1]["Authorization"] == "Bearer fixed"


def test_another_site_gets_the_cursor_in_the_address(server, context):
    page = context.new_page()
    page.goto(server.base)
    with ScriptedServer() as other:
        other.steps += [{"body": PRIMED, "headers": {"Access-Control-Allow-Origin": "*"}}] * 2
        address = other.base + "/stream?since=2026-01-31T12:00:00Z"
        Tab(page).connect("a", address=address).until(reconnects=1)
        assert [path for _, _, path in other.requests[:2]] == [
            "/stream?since=2026-01-31T12%3A00%3A00Z&topic=a",
            "/stream?topic=a&last_event_id=a%3D0-00000000",
        ]


def test_a_logout_ends_the_stream_in_every_tab(server, open_tab):
    leader = open_tab("a", share=True)
    leader.until(state="live", transport="leader")
    follower = open_tab("a", share=True)
    follower.until(state="live", transport="follower")
    assert len(server.requests) == 2
    server.say(closed("logout"))
    for tab in (leader, follower):
        tab.until(state="closed", message="closed")
        assert [event["value"] for event in tab.seen] == [{"reason": "logout"}]
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "state"), [(403, "closed"), (401, "waiting")])
def test_a_right_that_was_taken_from_one_tab_is_not_taken_from_the_others(server, open_tab, status, state):
    tabs = [open_tab(topic, share=True) for topic in "ab"]
    tabs[0].until(state="live", transport="leader")
    tabs[1].until(state="live", transport="follower")
    server.refused["b"] = status
    if status == 403:
        server.say(closed("revoked"))
    else:
        server.hang_up()
    tabs[1].until(state=state, transport="own", status=status)
    tabs[0].until(state="live", transport="leader")
    server.say(block(id="a=1-00000001", data="1"))
    tabs[0].until(received=1)
    assert tabs[0].data[-1] == 1


@pytest.mark.parametrize("rest", [403, 404, 204])
def test_when_all_is_refused_every_tab_ends(server, open_tab, rest):
    tabs = [open_tab("a", share=True) for _ in range(2)]
    tabs[0].until(state="live", transport="leader")
    tabs[1].until(state="live", transport="follower")
    server.steps += [{"status": rest, "body": ""}] * 9
    server.hang_up()
    for tab in tabs:
        tab.until(state="closed", status=rest)
