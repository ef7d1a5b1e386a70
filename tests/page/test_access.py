"""For every pair of eyes, and for none: axe-core finds nothing, wide and narrow, light and dark."""

from typing import Literal

import pytest
from playwright.async_api import expect

from tests.api.served import served
from tests.page.browsing import follows, needs_chromium, opened, row, violations
from tests.page.fleets import filled

pytestmark = needs_chromium

VIEWS = (
    "",
    "#/pools/m",
    "#/pools/m/config",
    "#/pools/m/replicas/r0001",
    "#/envoys",
    "#/events",
    "#/audit",
)


# Colours do not depend on the width, nor does what is where on the colours.
@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1280)])
async def test_axe_finds_nothing_in_any_view(theme: Literal["light", "dark"], width: int) -> None:
    async with served() as api:
        await filled(api)
        await api.ask("POST", "/v1/pools/m/replicas/r0002/drain")
        async with opened(api.address, theme=theme, bypass_csp=True) as page:
            await follows(page)
            await api.ask("POST", "/v1/pools/m/replicas/r0001/drain")
            await page.set_viewport_size({"width": width, "height": 800})
            for view in VIEWS:
                await page.goto(f"http://{api.address}/{view}")
                await expect(page.locator("main .waiting")).to_have_count(0)
                await expect(page.get_by_role("heading", level=1)).to_be_visible()
                assert (view, await violations(page)) == (view, [])
                # Nothing is wider than the window.
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await page.goto(f"http://{api.address}/#/pools/m/replicas/r0000")
            await page.get_by_role("button", name="Drain…").click()
            await expect(page.get_by_role("dialog")).to_be_visible()
            assert await violations(page) == []
            await page.keyboard.press("Escape")
            await page.goto(f"http://{api.address}/#/pools/m")
            await page.get_by_role("checkbox", name="Select r0000").check()
            assert await violations(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            # No column is cut off.
            box = page.locator("#replicas .scroll")
            assert await box.evaluate("(box) => box.scrollWidth - box.clientWidth") == 0


async def test_the_switch_sets_the_colours_and_they_stay() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, theme="light") as page:
            ground = "getComputedStyle(document.body).backgroundColor"
            light = await page.evaluate(ground)
            for _ in range(2):
                await page.get_by_role("button", name="Colours").click()
            dark = await page.evaluate(ground)
            assert dark != light
            await page.reload()
            await expect(row(page, "m")).to_be_visible()
            assert await page.evaluate(ground) == dark
