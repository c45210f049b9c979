"""The template pieces in a real Chromium, under a strict CSP: the bell, live HTML, and htmx."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.site import Site, copy_database


class Pages(Site):
    application = "tests.pages.asgi:application"


@pytest.fixture
def site(migrated, tmp_path):
    site = Pages(tmp_path, DATABASE_URL=copy_database(migrated, tmp_path))
    yield site
    site.close()


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
    await expect(titles(page)).to_have_text(["Two", "One", "Welcome"])
    await page.locator("li", has_text="Two").get_by_role("button", name="Mark as read").click()
    for tab in (page, other):
        await expect(count(tab)).to_have_text("1")
    await page.get_by_role("button", name="Mark all as read").click()
    for tab in (page, other):
        await expect(tab.locator(".sse-count")).to_be_hidden()
    await page.reload()
    await expect(page.locator(".sse-count")).to_be_hidden()
