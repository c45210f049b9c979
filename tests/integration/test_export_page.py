"""The page that downloads an export, in a real Chromium."""

import asyncio
import json
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.async_api import expect

from tests.site import DEADLINE, Site, copy_database

COUNT = 20_000
ROWS = "/demo/export/rows/"


@pytest.fixture(scope="module")
def migrated(migrated, tmp_path_factory):
    """The database with a table to export."""
    folder = tmp_path_factory.mktemp("rows")
    site = Site(folder, DATABASE_URL=copy_database(migrated, folder))
    site.manage("demo_rows", str(COUNT))
    site.shell("from django.db import connection as c; c.cursor().execute('PRAGMA wal_checkpoint(TRUNCATE)')")
    return folder / "db.sqlite3"


@pytest.fixture
def table(server):
    """The lines of the whole table, without the record that ends it."""
    *lines, trailer = httpx.get(server.base + ROWS, timeout=DEADLINE).content.splitlines(keepends=True)
    assert json.loads(trailer) == {"complete": True, "count": COUNT}
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == COUNT
    return lines


@pytest.fixture
async def page(page):
    await page.goto("/demo/export/")
    return page


async def choose_pace(page, rows_per_second):
    slow = page.locator("[name=pace]").last
    await slow.evaluate("(radio, pace) => (radio.value = pace)", str(rows_per_second))
    await slow.check()


async def press(page, name):
    await page.get_by_role("button", name=name, exact=True).click()


async def reached(page, rows):
    """Wait until the page shows so many rows."""
    async with asyncio.timeout(DEADLINE):
        while int((await page.text_content("#rows")).replace(",", "")) < rows:
            await asyncio.sleep(0.02)


async def completed(page):
    await expect(page.locator("#state")).to_have_text("Complete", timeout=DEADLINE * 1000)
    await expect(page.locator("#note")).to_have_text(f"{COUNT:,} rows, as many as the server counted.")


async def rows_after(page, word):
    """Give how many rows the page says it has kept."""
    await expect(page.locator("#state")).to_contain_text(f"{word} after ")
    return int((await page.text_content("#state")).split(" after ")[1].split()[0].replace(",", ""))


async def saved(page):
    """Save the file, and give its lines."""
    async with page.expect_download() as download:
        await press(page, "Save file")
    file = await download.value
    assert file.suggested_filename == "measurements.ndjson"
    return Path(await file.path()).read_bytes().splitlines(keepends=True)


async def test_a_download_shows_its_progress_and_saves_the_table(page, table):
    progress = page.get_by_role("progressbar", name="Progress")
    await page.evaluate("""() => {
        window.announced = [];
        const quarter = document.querySelector("#quarter");
        new MutationObserver(() => announced.push(quarter.textContent)).observe(quarter, { childList: true });
    }""")
    await choose_pace(page, 15_000)
    await press(page, "Download")
    await expect(page.locator("#state")).to_have_text("Downloading")
    await reached(page, COUNT // 2)
    assert 0.5 <= await progress.evaluate("progress => progress.position") < 1
    assert 50 <= int((await page.text_content("#percent")).removesuffix("%")) < 100
    await completed(page)
    assert await progress.evaluate("progress => progress.position") == 1
    assert await page.text_content("#percent") == "100%"
    assert await page.text_content("#bytes") == f"{sum(map(len, table)) / 1e6:.1f} MB"
    assert 7_500 < int((await page.text_content("#speed")).replace(",", "")) <= 20_000
    assert await page.evaluate("announced") == ["25%", "50%", "75%"]
    assert await saved(page) == table


async def test_what_was_cancelled_stops_the_server_and_goes_on(page, server, table):
    process = psutil.Process(server.child.pid)
    await choose_pace(page, 500)
    await press(page, "Download")
    await reached(page, 500)
    assert database_files(process)
    await press(page, "Cancel")
    kept = await rows_after(page, "Cancelled")
    assert 500 <= kept < COUNT / 2
    # At this pace it would go on for 40 seconds; a thread without work closes its connection after 10.
    async with asyncio.timeout(DEADLINE):
        while database_files(process):
            await asyncio.sleep(0.1)
    async with httpx.AsyncClient(base_url=server.base) as client:
        assert (await client.get("/sse/health/ready/")).status_code == 200
    assert await rows_after(page, "Cancelled") == kept
    await page.get_by_label("As fast as it goes").check()
    async with page.expect_request(f"**{ROWS}*") as request:
        await press(page, "Resume")
    last = json.loads(table[kept - 1])["id"]
    assert (await request.value).url == f"{server.base}{ROWS}?after={last}"
    await completed(page)
    assert await saved(page) == table


def database_files(process):
    return [file.path for file in process.open_files() if "sqlite3" in file.path]


async def test_a_server_that_is_killed_cuts_the_download_off(page, server, site, table):
    await choose_pace(page, 5_000)
    await press(page, "Download")
    await reached(page, 4_000)
    await asyncio.to_thread(server.kill)
    kept = await rows_after(page, "Cut off")
    assert 4_000 <= kept < COUNT
    await expect(page.locator("#state")).to_have_text(f"Cut off after {kept:,} rows: resume")
    await press(page, "Resume")  # too early
    assert await rows_after(page, "Cut off") == kept
    await expect(page.locator("#note")).to_have_text(
        "The connection is lost. Resume when the server is back."
    )
    await asyncio.to_thread(site.serve, "daphne", port=server.port)
    await press(page, "Resume")
    await completed(page)
    assert await saved(page) == table


async def test_a_missing_end_is_noticed_and_half_a_row_is_dropped(page, table):
    body = b"".join(table[:100]) + table[100][:20]
    await answer_once(page, body)
    await press(page, "Download")
    await expect(page.locator("#state")).to_have_text("Cut off after 100 rows: resume")
    await expect(page.locator("#note")).to_have_text("The record that ends it is missing.")
    await press(page, "Resume")
    await completed(page)
    assert await saved(page) == table


async def test_a_wrong_count_is_noticed(page, table):
    await answer_once(page, b"".join(table[:100]) + b'{"complete":true,"count":101}\n')
    await press(page, "Download")
    await expect(page.locator("#state")).to_have_text("Not downloaded")
    await expect(page.locator("#note")).to_have_text("The server counted 101 rows, but 100 came.")
    await press(page, "Download")
    await completed(page)
    assert await saved(page) == table


async def answer_once(page, body):
    """Let the next download get this body."""
    headers = {"X-Total-Count": str(COUNT), "Content-Type": "application/x-ndjson"}
    await page.route(f"**{ROWS}*", lambda route: route.fulfill(body=body, headers=headers), times=1)


async def test_a_refusal_and_a_server_that_is_down_are_told(page, server):
    await page.route(f"**{ROWS}*", lambda route: route.fulfill(status=503), times=1)
    await press(page, "Download")
    await expect(page.locator("#note")).to_have_text("The server refused (503).")
    await asyncio.to_thread(server.kill)
    await press(page, "Download")
    await expect(page.locator("#note")).to_have_text("The server can’t be reached.")
    await expect(page.locator("#state")).to_have_text("Not downloaded")


async def test_one_starts_over(page, table):
    await choose_pace(page, 5_000)
    await press(page, "Download")
    await reached(page, 1_000)
    await press(page, "Cancel")
    await page.get_by_label("As fast as it goes").check()
    await press(page, "Start over")
    await completed(page)
    assert await saved(page) == table


async def test_the_keyboard_is_enough(page):
    await choose_pace(page, 2_000)
    button = page.locator("#switch")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(button).to_have_text("Cancel")
    await page.keyboard.press("Enter")
    await expect(button).to_be_focused()
    await expect(page.locator("#state")).to_contain_text("Cancelled")


async def test_the_pages_lead_to_each_other(page):
    await page.get_by_role("link", name="Live notifications").click()
    await expect(page.locator("#state")).to_have_text("Live")
    await page.get_by_role("link", name="Export").click()
    await expect(page.locator("#state")).to_have_text("Ready")


async def test_without_javascript_there_is_the_file(browser, server, table):
    context = await browser.new_context(base_url=server.base, java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/demo/export/")
    await expect(page.locator("#switch")).to_be_hidden()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="measurements.ndjson").click()
    lines = Path(await (await download.value).path()).read_bytes().splitlines(keepends=True)
    assert lines[:-1] == table
