"""The chat in a real Chromium."""

import asyncio

from playwright.async_api import expect


async def sign_in(page):
    await page.goto("/admin/login/?next=/demo/chat/")
    await page.fill("#id_username", "admin")
    await page.fill("#id_password", "admin")
    await page.click("input[type=submit]")


def texts(page):
    return page.locator("#list .text")


async def test_members_write_to_each_other_and_lose_nothing_by_a_restart(page, server, site):
    await page.goto("/demo/chat/")
    await expect(page.locator(".invitation")).to_contain_text("Sign in")
    await sign_in(page)
    other = await page.context.new_page()
    await other.goto("/demo/chat/")
    for window in (page, other):
        await expect(window.locator("#state")).to_have_text("Live")
        await expect(window.locator("#readers")).to_have_text("2")
    await expect(page.locator("#present")).to_have_text("admin and 1 more connection")
    await page.fill("#text", "<img src=x onerror=alert(1)> to all")
    await page.press("#text", "Enter")
    for window in (page, other):
        await expect(texts(window)).to_have_text(["<img src=x onerror=alert(1)> to all"])

    server.kill()
    await expect(page.locator("#state")).to_have_text("Reconnecting")
    await page.fill("#text", "kept")
    await page.press("#text", "Enter")
    await expect(page.locator("#error")).to_contain_text("stays here")
    await asyncio.to_thread(site.manage, "sse_publish", "room.lobby", "from the shell")
    await asyncio.to_thread(site.serve, "daphne", port=server.port)
    await expect(page.locator("#state")).to_have_text("Live", timeout=20_000)
    await expect(texts(page)).to_have_text(["<img src=x onerror=alert(1)> to all", "from the shell"])
    await page.press("#text", "Enter")
    await expect(texts(page).last).to_have_text("kept")

    await page.check("input[value=support]")
    await expect(texts(page)).to_have_count(0)
    await expect(page.locator("code").first).to_contain_text("room.support")
