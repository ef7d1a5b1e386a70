"""What goes wrong is said, and the page goes on by itself once it is over."""

from pathlib import Path

from playwright.async_api import expect

from controlplane.config import Token
from tests.api.served import served
from tests.page.browsing import cut, follows, needs_chromium, opened, row
from tests.page.fleets import filled
from tests.processes import command, free_port, serving

pytestmark = needs_chromium


async def test_without_a_token_the_page_asks_for_one() -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        api.session.headers["Authorization"] = "Bearer s3cret"
        await filled(api)
        async with opened(api.address) as page:
            await expect(page.get_by_role("heading", name="A token is needed")).to_be_visible()
            field = page.get_by_placeholder("token")
            await field.fill("wrong")
            await field.press("Enter")
            await expect(page.get_by_role("alert")).to_contain_text("not one of this control plane")
            await field.fill("s3cret")
            await field.press("Enter")
            await expect(row(page, "m")).to_contain_text("3 of 3")
            await follows(page)
            # The token is no longer one: it was removed from the file, or replaced.
            api.server.accept((Token.of("another"),))
            await expect(page.get_by_role("heading", name="A token is needed")).to_be_visible()
            await page.get_by_placeholder("token").fill("another")
            await page.get_by_role("button", name="Show").click()
            await expect(row(page, "m")).to_contain_text("3 of 3")


async def test_a_dead_event_stream_is_said_and_taken_up_again() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address) as page:
            await follows(page)
            await cut(page, "v1/events")
            api.server._feed.close()
            await expect(page.locator(".status")).to_contain_text("no events")
            # What is shown is asked for all the same.
            await api.ask("POST", "/v1/pools/m/replicas/r0001/drain")
            await expect(row(page, "m")).to_contain_text("1 draining")
            api.server._feed.is_closed = False
            await page.unroute("**/v1/events")
            await follows(page)
            await expect(page.locator(".status")).not_to_contain_text("no events")


async def test_a_plane_that_restarts_is_waited_for(tmp_path: Path) -> None:
    pool = {
        "name": "m",
        "model": "x",
        "listener": {"address": f"127.0.0.1:{free_port()}"},
        "replicas": [{"id": "a", "address": f"127.0.0.1:{free_port()}"}],
    }
    async with serving(tmp_path, [pool]) as plane, opened(plane.admin) as page:
        await expect(row(page, "m")).to_contain_text("of 1")
        await follows(page)
        plane.kill()
        await plane.ended()
        await expect(page.locator(".banner.top")).to_contain_text("does not answer")
        await expect(page.get_by_role("status")).to_contain_text("What is shown is old")
        await expect(page.locator("main")).to_have_class("old")
        # The last answer stays.
        await expect(row(page, "m")).to_contain_text("of 1")
        again = ("serve", "--config", tmp_path / "plimsoll.yaml")
        async with command(tmp_path / "again.log", *again):
            await follows(page)
            await expect(page.get_by_role("status")).to_contain_text("answers again")
            await expect(page.locator(".banner.top")).to_have_count(0)
            await expect(page.locator("main")).not_to_have_class("old")


async def test_a_pool_that_vanishes_is_said_and_shown_again_once_it_is_back() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, "#/pools/m") as page:
            await expect(row(page, "r0001")).to_be_visible()
            await api.ask("DELETE", "/v1/pools/m")
            await expect(page.get_by_role("alert")).to_contain_text("The pool m is no longer there")
            await expect(page.locator(".old")).to_be_visible()
            await filled(api)
            await expect(page.get_by_role("alert")).to_have_count(0)
            await expect(page.locator(".old")).to_have_count(0)
            await expect(row(page, "r0001")).to_be_visible()


async def test_a_pool_that_never_was_is_not_said_to_have_been() -> None:
    async with served() as api, opened(api.address, "#/pools/m") as page:
        await expect(page.get_by_role("alert")).to_contain_text("The pool m does not exist.")
        await filled(api)
        await expect(page.get_by_role("alert")).to_have_count(0)
        await expect(row(page, "r0001")).to_be_visible()
