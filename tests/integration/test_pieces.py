"""The template pieces in a real Chromium, under a strict CSP: the bell, live HTML, and htmx."""

import json
import re

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser import chromium, window
from tests.site import Site, copy_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

# As the stream would, if the log no longer had what comes next.
RESET = "document.querySelector('sse-notifications').refresh()"
SHIFT = """new Promise((told) => {
    let sum = 0;
    const add = (entries) => entries.forEach((entry) => (sum += entry.value));
    const observer = new PerformanceObserver((list) => add(list.getEntries()));
    observer.observe({ type: "layout-shift", buffered: true });
    const tell = () => told((add(observer.takeRecords()), sum));
    requestAnimationFrame(() => requestAnimationFrame(tell));
})"""
LISTEN = """() => {
    const put = ({ type, topic, data, lastEventId }) =>
        (document.querySelector("#one").title = JSON.stringify([type, topic, data, lastEventId.slice(0, 7)]));
    document.querySelector("sse-stream").addEventListener("price", put);
}"""


class Pages(Site):
    application = "tests.pages.asgi:application"


@pytest.fixture(scope="module")
def pages(migrated, npm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    site = Pages(folder, DATABASE_URL=copy_database(migrated, folder), NPM=str(npm))
    yield site.serve("uvicorn")
    site.close()


@pytest_asyncio.fixture(loop_scope="module")
async def server(pages):
    """One server for all tests of this file, each time as on its first day."""
    await do(pages, "forget")
    return pages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, server):
    async with window(browser, server) as page:
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def other(browser, server):
    """The window of another browser."""
    async with window(browser, server) as page:
        yield page


async def do(server, what, **query):
    """Let something happen on the server."""
    async with httpx.AsyncClient(base_url=server.base, timeout=20) as client:
        answer = await client.get(f"/do/{what}/", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def sign_in(page, name):
    await page.goto(f"/do/sign-in/{name}/")


async def live(page):
    await expect(page.locator("[data-live]")).to_be_attached()


def count(page):
    return page.locator("[data-sse=number]")


def titles(page):
    return page.locator(".sse-list .sse-title")


async def test_the_bell_of_all_tabs_rings_and_reading_in_one_is_seen_in_the_other(page, server):
    await sign_in(page, "ada")
    other = await page.context.new_page()
    for tab in (page, other):
        await tab.goto("/page/bell/")
        await live(tab)
        await expect(tab.locator(".sse-count")).to_be_hidden()
    await do(server, "send", title="One", to="ada")
    await do(server, "send", title="Two")
    for tab in (page, other):
        await expect(count(tab)).to_have_text("2")
        await expect(tab.locator("[role=status]")).to_have_text("New notification: Two")
    await page.click("summary")
    await expect(titles(page)).to_have_text(["Two", "One"])
    await page.locator("li", has_text="Two").get_by_role("button", name="Mark as read").click()
    for tab in (page, other):
        await expect(count(tab)).to_have_text("1")
    await page.get_by_role("button", name="Mark all as read").click()
    for tab in (page, other):
        await expect(tab.locator(".sse-count")).to_be_hidden()
    await page.reload()
    await expect(page.locator(".sse-count")).to_be_hidden()


async def test_another_user_sees_what_is_for_everyone_and_reads_for_himself(page, other, server):
    await sign_in(page, "ada")
    await sign_in(other, "bob")
    for each in (page, other):
        await each.goto("/page/bell/")
        await live(each)
    await do(server, "send", title="For Ada", to="ada")
    await do(server, "send", title="For all")
    await expect(count(page)).to_have_text("2")
    await expect(count(other)).to_have_text("1")
    await page.click("summary")
    await page.get_by_role("button", name="Mark all as read").click()
    await expect(page.locator(".sse-count")).to_be_hidden()
    await do(server, "send", title="For all again")
    await expect(count(other)).to_have_text("2")
    await expect(titles(other)).to_have_text(["For all again", "For all"])


async def test_what_comes_between_rendering_and_connecting_is_not_missed(page, server):
    await sign_in(page, "ada")

    async def late(route):
        await do(server, "send", title="Meanwhile", to="ada")
        await route.continue_()

    await page.route("**/sse_app/notifications.js", late)
    await page.goto("/page/bell/")
    await expect(count(page)).to_have_text("1")
    await expect(titles(page)).to_have_text(["Meanwhile"])


async def test_a_visitor_s_browser_remembers_what_was_read(page, server):
    await do(server, "send", title="Old")
    await page.goto("/page/bell/")
    await live(page)
    await expect(page.locator(".sse-count")).to_be_hidden()  # nothing is news on a first visit
    await do(server, "send", title="One")
    await do(server, "send", title="Two")
    await expect(count(page)).to_have_text("2")
    await page.click("summary")
    await page.locator("li", has_text="One").get_by_role("button", name="Mark as read").click()
    await page.reload()
    await expect(count(page)).to_have_text("1")
    await expect(page.locator("li[data-unread]")).to_have_text([re.compile("Two")])


async def test_the_keyboard_opens_marks_and_closes(page, server):
    await do(server, "send", title="One", to="ada")
    await sign_in(page, "ada")
    await page.goto("/page/bell/")
    await live(page)
    await page.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Mark as read")).to_be_visible()
    await page.get_by_role("button", name="Mark as read").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".sse-count")).to_be_hidden()
    await expect(page.locator("li")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator("section.sse-panel")).to_be_hidden()
    await expect(page.locator("summary")).to_be_focused()
    await page.click("summary")
    await page.click("main")
    await expect(page.locator("section.sse-panel")).to_be_hidden()


async def test_a_link_marks_what_it_leads_away_from(page, server):
    await do(server, "send", title="Follow me", to="ada", url="/page/list/")
    await sign_in(page, "ada")
    await page.goto("/page/bell/")
    await live(page)
    await page.click("summary")
    await page.get_by_role("link", name="Follow me").click()
    await page.wait_for_url("**/page/list/")
    await expect(page.locator("li")).to_have_count(1)
    await expect(page.locator("li[data-unread]")).to_have_count(0)


async def test_what_could_not_be_saved_is_unread_again(page, server):
    await do(server, "send", title="One", to="ada")
    await sign_in(page, "ada")
    await page.goto("/page/list/")
    await live(page)
    await page.route("**/notifications/read/", lambda route: route.abort())
    await page.get_by_role("button", name="Mark all as read").click()
    await expect(page.locator("[role=status]")).to_have_text("That could not be saved. Try again.")
    await expect(count(page)).to_have_text("1")


async def test_older_ones_come_when_asked_for(page, server):
    for number in range(8):
        await do(server, "send", title=f"{number}", to="ada")
    await sign_in(page, "ada")
    await page.goto("/page/bell/")
    await live(page)
    await page.click("summary")
    await expect(titles(page)).to_have_text(["7", "6", "5", "4", "3"])
    await page.get_by_role("button", name="Show older").click()
    await expect(titles(page)).to_have_text(["7", "6", "5", "4", "3", "2", "1", "0"])
    await expect(page.get_by_role("button", name="Show older")).to_be_hidden()
    await expect(count(page)).to_have_text("8")


async def test_more_than_a_hundred_unread_ones(page, server):
    await do(server, "send-many", count=120, to="ada")
    await sign_in(page, "ada")
    await page.goto("/page/bell/")
    await live(page)
    await expect(count(page)).to_have_text("99+")
    await page.click("summary")
    await page.get_by_role("button", name="Mark as read").first.click()
    await expect(page.locator("li[data-unread]")).to_have_count(19)  # it has asked the server again
    await expect(count(page)).to_have_text("99+")
    await page.get_by_role("button", name="Mark all as read").click()
    await expect(page.locator(".sse-count")).to_be_hidden()
    await page.reload()
    await expect(page.locator("li[data-unread]")).to_have_count(0)


async def test_after_a_reset_the_list_is_fetched_anew(page, server):
    await sign_in(page, "ada")
    await page.goto("/page/bell/")
    await live(page)
    await do(server, "send", title="One", to="ada")
    await expect(count(page)).to_have_text("1")
    await do(server, "send-in-silence", title="Two", to="ada")
    await page.evaluate(RESET)
    await expect(titles(page)).to_have_text(["Two", "One"])
    await expect(count(page)).to_have_text("2")


async def test_nothing_moves_when_the_script_comes_or_a_notification(page, server):
    await do(server, "send", title="One", to="ada")
    await sign_in(page, "ada")
    for name in ("bell", "list"):
        await page.goto(f"/page/{name}/")
        await live(page)
        before = await page.locator("main").bounding_box() if name == "bell" else None
        if name == "bell":
            await do(server, "send", title="Two", to="ada")
            await expect(count(page)).to_have_text("2")
            assert await page.locator("main").bounding_box() == before
        assert await page.evaluate(SHIFT) == 0


async def test_without_javascript_it_is_a_list(browser, server):
    await do(server, "send", title="One", to="ada", url="/a/")
    async with window(browser, server, java_script_enabled=False) as page:
        await sign_in(page, "ada")
        await page.goto("/page/bell/")
        await page.click("summary")
        await expect(titles(page)).to_have_text(["One"])
        await expect(page.get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_no_violation(page, server, npm, theme):
    await do(server, "send", title="One", to="ada", url="/a/", body="Text")
    for level in ("success", "warning", "error"):
        await do(server, "send", title=level, level=level)
    await sign_in(page, "ada")
    await page.emulate_media(color_scheme=theme)
    for name in ("bell", "list"):
        await page.goto(f"/page/{name}/")
        await live(page)
        if name == "bell":
            await page.click("summary")
        await page.locator("li button:visible").first.click()
        await page.evaluate((npm / "axe-core" / "axe.min.js").read_text())
        found = await page.evaluate("axe.run('sse-notifications').then((result) => result.violations)")
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


# HTML as events.


async def test_html_is_put_where_the_page_wants_it(page, server):
    await page.goto("/page/stream/")
    await expect(page.locator("sse-stream[state=live]")).to_be_attached()
    await do(server, "price", price="<7>", event="price")
    await expect(page.locator("#one b")).to_have_text("<7>")
    await do(server, "price", price="8", event="listed")
    await do(server, "price", price="9", event="price")
    await expect(page.locator("#one")).to_have_text("9 €")
    await expect(page.locator("#all b")).to_have_text(["<7>", "8", "9"])


async def test_the_element_dispatches_events_as_an_event_source_does(page, server):
    await page.goto("/page/stream/")
    await page.evaluate(LISTEN)
    await do(server, "price", price="7", event="price")
    await expect(page.locator("#one[title]")).to_be_visible()
    heard = json.loads(await page.locator("#one").get_attribute("title"))
    assert heard == ["price", "prices", "<b>\n  7\n\n</b> €", "prices="]


async def test_an_element_that_comes_later_connects_and_one_that_goes_lets_go(page, server):
    await page.goto("/page/stream/")
    await expect(page.locator("sse-stream[state=live]")).to_be_attached()
    await page.evaluate("""() => {
        const element = document.querySelector("sse-stream");
        const other = element.cloneNode();
        element.remove();
        other.id = "other";
        other.removeAttribute("state");
        document.body.append(other);
    }""")
    await expect(page.locator("#other[state=live]")).to_be_attached()
    await do(server, "price", price="7", event="price")
    await expect(page.locator("#all b")).to_have_text(["7"])


@pytest.mark.parametrize("version", ["htmx2", "htmx4"])
async def test_htmx_swaps_html_and_misses_nothing_since_the_page_was_made(page, server, version):
    async def late(route):
        await do(server, "price", price="<7>", event=name)
        await route.continue_()

    name = "price" if version == "htmx2" else ""  # htmx 4 swaps events without a name
    await page.route("**/sse/topics/prices/**", late, times=1)
    await page.goto(f"/page/{version}/")
    await expect(page.locator("#one b")).to_have_text("<7>")
    await do(server, "price", price="8", event=name)
    await expect(page.locator("#one")).to_have_text("8 €")
    if version == "htmx2":
        await do(server, "price", price="9", event="listed")
        await expect(page.locator("#all b")).to_have_text(["<7>", "8", "9"])
