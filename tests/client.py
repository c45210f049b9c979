"""Tabs of a real Chromium with the browser client in them, and what has come to them."""

import time

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM, FLAGS, require_chromium
from tests.site import DEADLINE, Site, copy_database

# Something of the site that is quick to show and opens no stream by itself.
BLANK = "/static/sse_app/stream.js"
# Its scheme and its name make it no secure context, as a host of a local network is none.
INSECURE_HOST = "box.test"

OPEN = """async ([address, options]) => {
  const { connect } = await import("/static/sse_app/stream.js");
  window.seen = [];
  window.states = [];
  window.stream = connect(address, options);
  stream.onstate = (state, { transport, error }) => states.push([state, transport, error?.status ?? null]);
  stream.on("*", (data, event) => seen.push({ ...event, value: data }));
}"""
READ = """() => {
  const names = ["state", "transport", "topics", "cursor", "latency"];
  names.push("received", "recovered", "missed", "reconnects");
  const { message = null, status = null } = stream.error ?? {};
  return { ...Object.fromEntries(names.map((name) => [name, stream[name] ?? null])), message, status };
}"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def shared_browser():
    """A Chromium for the tests of a module, which are not asynchronous."""
    require_chromium()
    flags = [*FLAGS, f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1"]
    with sync_playwright() as playwright:
        # Playwright switches off the back-forward cache, whose doings are tested here.
        kept = ["--disable-back-forward-cache"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, ignore_default_args=kept)
        yield browser
        browser.close()


@pytest.fixture
def context(shared_browser):
    """A browser of its own, as far as pages can tell; what goes wrong in them fails the test."""
    context = shared_browser.new_context()
    failures = []
    context.on("weberror", lambda failure: failures.append(str(failure.error)))
    yield context
    context.close()
    assert failures == []


@pytest.fixture(scope="module")
def open_site(migrated, tmp_path_factory):
    """The demo with topics that anyone may read, and publish to."""
    folder = tmp_path_factory.mktemp("open")
    site = Site(
        folder,
        DATABASE_URL=copy_database(migrated, folder),
        SSE_TOPICS=TOPICS,
        SSE_TOPIC_POLICY="tests.open_house.OpenPolicy",
        SSE_RETRY="0.5",
    )
    yield site
    site.close()


@pytest.fixture(scope="module")
def house(open_site):
    """Its server."""
    return open_site.serve()


TOPICS = """{
    "open.{name}": {},
    "many.{a}.{b}": {},
    "newest.{name}": {"kind": "latest"},
    "tick.{name}": {"kind": "ephemeral"},
    "shown.{name}": {"snapshot": "tests.open_house.snapshot"}
}"""


class Tab:
    """A tab with one stream in it."""

    def __init__(self, page):
        self.page = page

    def connect(self, *topics, address="/sse/events/", **options):
        if topics:
            options["topics"] = topics
        self.page.evaluate(OPEN, [address, options])
        return self

    def read(self):
        return self.page.evaluate(READ)

    @property
    def data(self):
        """The data of the events that came, in their order."""
        return self.page.evaluate("seen.map((event) => event.value)")

    @property
    def seen(self):
        return self.page.evaluate("seen")

    @property
    def states(self):
        return self.page.evaluate("states")

    def until(self, **wanted):
        """Wait until the stream says so of itself, and give all that it says."""
        deadline = time.monotonic() + DEADLINE
        while not wanted.items() <= (told := self.read()).items():
            assert time.monotonic() < deadline, (wanted, told, self.states)
            time.sleep(0.02)
        return told

    def until_data(self, *wanted):
        """Wait until exactly these data have come."""
        deadline = time.monotonic() + DEADLINE
        while len(data := self.data) < len(wanted):
            assert time.monotonic() < deadline, (wanted, data, self.read(), self.states)
            time.sleep(0.02)
        assert data == [*wanted]

    def hide(self, hidden=True):
        """Be in the background, as far as the page can tell: a browser without a screen has none."""
        self.page.evaluate(HIDE, hidden)

    def close(self):
        self.page.close(run_before_unload=False)


def new_tab(context, server, *topics, base=None, blank=BLANK, **options):
    """Open a tab with a stream."""
    page = context.new_page()
    page.goto((base or server.base) + blank)
    return Tab(page).connect(*topics, **options)


def publish(server, topic, data, event=None):
    """Publish over HTTP, and give how many streams of the server got it."""
    body = {"data": data} if event is None else {"data": data, "event": event}
    answer = httpx.post(f"{server.base}/sse/topics/{topic}/", json=body, timeout=DEADLINE)
    assert answer.status_code == 201, answer.text
    return answer.json()["receivers"]
