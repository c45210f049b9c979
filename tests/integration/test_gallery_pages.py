"""The pages of the gallery in a real Chromium."""

import asyncio
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import expect

from project.gallery import tokens
from project.gallery.patterns import PATTERNS
from tests.browser import chromium, window
from tests.site import DEADLINE, Site, copy_database

pytestmark = pytest.mark.asyncio(loop_scope="module")

INJECTION = "\n\nevent:click\n\n"
ENDS = {
    "ticks": ("Done", "The connection ended, and so the page has closed its side."),
    "launch": ("Done", "It ended with “liftoff”."),
    "feed": ("Reconnecting", "The connection ended; the browser opens it again."),
    "failing": ("Cut off", "After 30 records: this is not all of it."),
    "records": ("Done", "The body has ended as it should."),
    "raw": ("Done", "The connection ended, and so the page has closed its side."),
    "echo": ("Done", "The body has ended as it should."),
}


@pytest.fixture(scope="module")
def server(migrated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery-pages")
    site = Site(folder, DATABASE_URL=copy_database(migrated, folder))
    yield site.serve("uvicorn")
    site.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """One for all of these tests: to start it takes longer than most of them."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, server):
    async with window(browser, server) as page:
        yield page


async def state(page, text):
    await expect(page.locator("#state")).to_have_text(text, timeout=DEADLINE * 1000)


async def fits(page):
    return await page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


async def test_every_page_runs_its_stream_and_fits_a_phone(page):
    await page.set_viewport_size({"width": 360, "height": 740})
    for name, pattern in PATTERNS.items():
        await page.goto(f"/demo/gallery/{name}/")
        shown = "#wire" if pattern.reads == "bytes" else "#events li:first-child .data"
        await expect(page.locator(shown)).not_to_be_empty(timeout=DEADLINE * 1000)
        word, note = ENDS.get(name, ("Live", ""))
        await state(page, word)
        await expect(page.locator("#note")).to_contain_text(note)
        assert await fits(page), name
    await page.goto("/demo/")
    assert await page.locator(".cards a").count() > len(PATTERNS)
    assert await fits(page)


async def test_named_events_show_their_name_their_id_and_their_figures(page):
    await page.goto("/demo/gallery/metrics/")
    row = page.locator("#events li").first
    await expect(row.locator(".name")).to_have_text("metrics")
    await expect(row.locator(".id")).to_have_text("id 1")
    assert await page.locator("#gauge-memory").evaluate("bar => bar.position") > 0
    await expect(page.locator("#last-id")).to_have_text("1")


async def test_a_stream_can_be_read_as_raw_bytes(page):
    await page.goto("/demo/gallery/ticks/")
    await state(page, "Done")
    await page.get_by_label("as raw bytes").check()
    await expect(page.locator("#note")).to_have_text("The body has ended as it should.")
    ticks = "".join(f'event: tick\ndata: {{"seq":{n},"message":"tick {n}"}}\n\n' for n in range(3))
    assert await page.text_content("#wire") == ticks
    assert await page.locator("#events").is_hidden()


async def test_progress_goes_on_over_a_reload(page):
    await page.goto("/demo/gallery/progress/")
    await expect(page.locator("#events li").nth(4)).to_be_visible(timeout=DEADLINE * 1000)
    before = await page.text_content("#last-id")
    await page.reload()
    data = page.locator("#events li .data").first
    await expect(data).not_to_be_empty()
    job, _, percent = (await page.text_content("#last-id")).rpartition(".")
    assert job == before.rpartition(".")[0]
    assert int(percent) > int(before.rpartition(".")[2])
    await page.get_by_role("button", name="Start over").click()
    await expect(data).to_have_text('{"percent":1}')


async def test_a_text_is_written_to_its_end_also_over_a_reload(page):
    await page.goto("/demo/gallery/tokens/")
    pace = page.get_by_label("Seconds for a token")
    await pace.fill("0.01")
    await pace.blur()
    await expect(page.locator("#text")).to_contain_text("has not ended yet")
    await page.reload()
    await expect(page.locator("#note")).to_have_text("It ended with “[DONE]”.", timeout=DEADLINE * 1000)
    assert await page.text_content("#text") == tokens.TEXT


async def test_one_stops_and_starts(page):
    await page.goto("/demo/gallery/clock/")
    await state(page, "Live")
    await page.get_by_role("button", name="Stop").click()
    await state(page, "Off")
    await page.get_by_role("button", name="Start").click()
    await state(page, "Live")
    await expect(page.locator("#opened")).to_have_text("1")


async def test_an_export_that_is_complete_says_how_many_records_it_has(page):
    await page.goto("/demo/gallery/failing/")
    after = page.get_by_label("Fails after")
    await after.fill("100")
    await after.blur()
    await state(page, "Done")
    await expect(page.locator("#note")).to_have_text("100 records, as the server counted.")


@pytest.mark.parametrize(("name", "label"), [("logs", "Entries"), ("updates", "Seconds between two")])
async def test_a_refusal_is_told(browser, server, name, label):
    context = await browser.new_context(base_url=server.base)
    page = await context.new_page()
    await page.goto(f"/demo/gallery/{name}/")
    await page.get_by_label(label).fill("none")
    await page.get_by_label(label).blur()
    await state(page, "Refused")
    await expect(page.locator("#note")).to_contain_text("not 'none' (400).")


READ = """address => new Promise((resolve) => {
    const found = [];
    const source = new EventSource(address);
    for (const name of ["message", "click", "greeting", "error"]) {
        source.addEventListener(name, ({ type, data, lastEventId }) => {
            found.push([type, data, lastEventId]);
            if (data !== "the end" && type !== "error") return;
            source.close();
            resolve(found);
        });
    }
})"""


async def test_what_visitors_type_never_becomes_an_event_of_its_own(page):
    await page.goto("/demo/")
    for newline in ("\n", "\r", "\r\n"):
        injection = INJECTION.replace("\n", newline)
        query = urlencode({"data": injection, "comment": injection, "event": "greeting", "id": "7"})
        async with asyncio.timeout(DEADLINE):
            found = await page.evaluate(READ, f"/demo/echo/?{query}")
        assert found == [["greeting", INJECTION, "7"], ["message", "the end", "7"]]


async def test_without_javascript_there_are_the_lines_and_a_command(browser, server):
    context = await browser.new_context(base_url=server.base, java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/demo/gallery/clock/")
    await expect(page.locator(".source pre")).to_contain_text("EventSourceResponse(interval(1))")
    await expect(page.locator(".try pre")).to_contain_text("/demo/clock/")
    await expect(page.locator("#switch")).to_be_hidden()
