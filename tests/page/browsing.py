"""A headless Chromium that looks at the page of a control plane."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import axe_playwright_python
import pytest
from playwright.async_api import Browser, Locator, Page, Route, async_playwright, expect

from controlplane.config import Address

DEADLINE: Final = 60_000.0
"""Milliseconds after which something on the page should have happened long ago."""

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")

needs_chromium = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    # One browser serves all tests of a process, so they share its event loop.
    pytest.mark.asyncio(loop_scope="session"),
]

_AXE: Final = Path(axe_playwright_python.__file__).with_name("axe.min.js")

expect.set_options(timeout=DEADLINE)


class Chromium:
    """A browser that starts when a page is first opened."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._browser: Browser | None = None

    async def browser(self) -> Browser:
        """The same one each time."""
        if self._browser is None:
            playwright = await self._stack.enter_async_context(async_playwright())
            # Chromium's sandbox needs a user that is not root.
            options = ["--no-sandbox"] if os.getuid() == 0 else []
            self._browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
            self._stack.push_async_callback(self._browser.close)
        return self._browser

    async def close(self) -> None:
        """End it, where it has started."""
        await self._stack.aclose()


CHROME: Final = Chromium()


@asynccontextmanager
async def opened(
    address: Address,
    hash_: str = "",
    *,
    theme: Literal["light", "dark"] = "light",
    width: int = 1280,
    token: str | None = None,
    bypass_csp: bool = False,
) -> AsyncIterator[Page]:
    """Open the page; no error of its scripts or of its policy goes unseen.

    Args:
        address: Of the API.
        hash_: Where in the page.
        theme: That the system has.
        width: Of the window, in pixels.
        token: That is in the tab already.
        bypass_csp: Let the test run scripts of its own.
    """
    browser = await CHROME.browser()
    context = await browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, bypass_csp=bypass_csp
    )
    async with context:
        if token is not None:
            await context.add_init_script(f"sessionStorage.setItem('token', '{token}')")
        page = await context.new_page()
        page.set_default_timeout(DEADLINE)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda item: errors.append(item.text) if "Policy" in item.text else None)
        foreign: list[str] = []
        page.on(
            "request",
            lambda each: (
                None if each.url.startswith(f"http://{address}/") else foreign.append(each.url)
            ),
        )
        await page.goto(f"http://{address}/{hash_}")
        yield page
        assert errors == []
        assert foreign == []


async def follows(page: Page) -> None:
    """Wait until the page follows the events."""
    await expect(page.locator('[data-events="follows"]')).to_be_attached()


def row(page: Page, key: str) -> Locator:
    """A row of a table."""
    return page.locator(f'tr[data-key="{key}"]')


async def cut(page: Page, path: str) -> None:
    """Let no request for a path through."""

    async def abort(route: Route) -> None:
        await route.abort()

    await page.route(f"**/{path}", abort)


async def violations(page: Page) -> list[str]:
    """What axe-core finds; the page was opened with `bypass_csp`."""
    await page.evaluate(_AXE.read_text())
    found: dict[str, Any] = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
