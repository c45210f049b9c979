"""The dashboard in a real Chromium."""

import asyncio

from playwright.async_api import expect

from tests.site import send_from_admin


async def sign_in(page):
    await page.goto("/admin/login/?next=/")
    await page.fill("#id_username", "admin")
    await page.fill("#id_password", "admin")
    await page.click("input[type=submit]")


async def live(page):
    await expect(page.locator("#state")).to_have_text("Live")


def newest(page):
    return page.locator("#list li").first


async def test_what_staff_send_in_the_admin_appears_in_every_open_window(page, server):
    other = await page.context.new_page()
    for window in (page, other):
        await window.goto("/")
        await live(window)
    admin = await asyncio.to_thread(server.sign_in)
    await asyncio.to_thread(send_from_admin, admin, "To all windows")
    admin.close()
    for window in (page, other):
        await expect(newest(window)).to_contain_text("To all windows")


async def test_after_a_restart_the_page_tells_how_many_came_back(page, server, site):
    await page.goto("/")
    await live(page)
    server.kill()
    await expect(page.locator("#state")).to_have_text("Reconnecting")
    code = """
from sse_app import publish
for number in range(3):
    publish("notifications", {"title": f"missed {number}"}, event="notification")
"""
    await asyncio.to_thread(site.shell, code)
    await asyncio.to_thread(site.serve, "daphne", port=server.port)
    await live(page)
    await expect(page.locator("#note")).to_have_text("Reconnected: 3 missed notifications came back.")
    titles = await page.locator("#list .title").all_text_contents()
    assert titles[:3] == ["missed 2", "missed 1", "missed 0"]


async def test_staff_publish_from_the_page(page, server):
    await sign_in(page)
    await live(page)
    await page.fill("#title", "From the form")
    await page.check("input[value=warning]", force=True)
    await page.click("#publish button[type=submit]")
    await expect(page.locator("#result")).to_have_text("Sent · 1 open stream in this process")
    await expect(newest(page)).to_contain_text("From the form")
    await expect(newest(page)).to_have_attribute("data-level", "warning")


async def test_what_is_published_is_shown_as_text(page, server, site):
    await page.goto("/")
    await live(page)
    await asyncio.to_thread(site.manage, "sse_publish", "notifications", "<img src=x onerror=alert(1)>")
    await expect(newest(page)).to_contain_text("<img src=x onerror=alert(1)>")
    await page.reload()
    await live(page)
    await expect(newest(page)).to_contain_text("<img src=x onerror=alert(1)>")


async def test_the_admin_works_under_the_strict_policy(page, server):
    await sign_in(page)
    for address in ("/admin/", "/admin/sse_app/notification/add/", "/admin/sse_app/event/"):
        answer = await page.goto(address)
        assert answer.status == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
