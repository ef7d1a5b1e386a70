"""The browser ends with the tests that have shared it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.page.browsing import CHROME


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def _chromium_ends() -> AsyncIterator[None]:
    yield
    await CHROME.close()
