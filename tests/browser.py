"""A real Chromium for the tests of pages; whatever it complains about fails the test."""

import os
import shutil
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# Of a server that was killed, or has refused.
ON_PURPOSE = ("net::ERR_", "status of 503")


@pytest.fixture
def server(site):
    """The server that the page comes from."""
    return site.serve("daphne")


def require_chromium():
    if CHROMIUM is None and not os.environ.get("CI"):
        pytest.skip("no chromium on the PATH: pages are not tested")


@asynccontextmanager
async def chromium():
    """Run a Chromium."""
    require_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def window(browser, server, **options):
    """Open a visitor's window, which must have nothing to complain about."""
    context = await browser.new_context(base_url=server.base, **options)
    page = await context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    await context.close()
    assert [text for text in complaints if not any(cause in text for cause in ON_PURPOSE)] == []


@pytest.fixture
async def browser():
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser, server):
    """A visitor's window."""
    async with window(browser, server) as page:
        yield page
