"""Each action on a replica: asked first, carried out, told; and only where the role allows it."""

import hashlib
from collections.abc import Mapping

import pytest
from playwright.async_api import Page, expect

from controlplane.config import Role, Token
from tests.api.served import Served, served
from tests.page.browsing import needs_chromium, opened
from tests.page.fleets import filled

pytestmark = needs_chromium

ADDRESS = "#/pools/m/replicas/r0001"


async def shown(api: Served) -> Mapping[str, object]:
    body: Mapping[str, object] = (await api.ask("GET", "/v1/pools/m/replicas/r0001")).body
    return body


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=f"{name}…").click()


async def test_draining_is_asked_about_and_told() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, ADDRESS) as page:
            await press(page, "Drain")
            dialog = page.get_by_role("dialog")
            await expect(dialog).to_contain_text("Drain r0001?")
            await page.keyboard.press("Escape")
            await expect(dialog).to_have_count(0)
            assert (await shown(api))["draining"] is None
            await press(page, "Drain")
            await dialog.get_by_role("button", name="Drain", exact=True).click()
            await expect(page.get_by_role("status")).to_contain_text("r0001 is drained")
            await expect(page.locator(".state")).to_contain_text("draining")
            assert (await shown(api))["draining"] == "operator"
            await press(page, "Undrain")
            await dialog.get_by_role("button", name="Undrain", exact=True).click()
            await expect(page.get_by_role("status")).to_contain_text("gets requests again")
            assert (await shown(api))["draining"] is None


async def test_a_removal_that_is_refused_says_why_and_can_be_forced() -> None:
    async with served() as api:
        await filled(api, 4)
        for id_ in ("r0002", "r0003"):
            await api.ask("DELETE", f"/v1/pools/m/replicas/{id_}")
        async with opened(api.address, ADDRESS) as page:
            await press(page, "Remove")
            dialog = page.get_by_role("dialog")
            await dialog.get_by_role("button", name="Remove").click()
            await expect(dialog.get_by_role("alert")).to_contain_text("force")
            await dialog.get_by_role("checkbox").check()
            await dialog.get_by_role("button", name="Remove").click()
            await expect(page.get_by_role("status")).to_contain_text("r0001 is removed")
            await expect(page.get_by_role("alert")).to_contain_text("r0001 is no longer there")
            # What was known of it last is still to be read, and offers nothing to be done.
            await expect(page.locator(".facts")).to_be_visible()
            assert await page.get_by_role("button", name="Remove…").count() == 0


def token(role: Role, name: str) -> Token:
    digest = hashlib.sha256(f"{name}-secret".encode()).digest()
    return Token(name=name, role=role, digest=digest)


TOKENS = [token(Role.OPERATE, "alice"), token(Role.REGISTER, "workers"), token(Role.READ, "wall")]


@pytest.mark.parametrize(
    ("name", "offered", "says"),
    [
        ("alice", True, ""),
        ("workers", False, "may change only the replicas that it registered"),
        ("wall", False, "has the role read: it may look, and change nothing"),
    ],
)
async def test_what_a_token_may_not_do_is_not_offered(name: str, offered: bool, says: str) -> None:  # noqa: FBT001
    async with served(tokens=TOKENS) as api:
        api.session.headers["Authorization"] = "Bearer alice-secret"
        await filled(api)
        async with opened(api.address, ADDRESS, token=f"{name}-secret") as page:
            await expect(page.locator(".actions")).to_be_visible()
            drain = page.get_by_role("button", name="Drain…")
            await expect(drain).to_have_count(1 if offered else 0)
            if says:
                await expect(page.locator("[data-why-not]")).to_contain_text(says)
            await page.goto(f"http://{api.address}/#/audit")
            if name == "alice":
                await expect(page.locator("#audit")).to_be_visible()
            else:
                await expect(page.locator("main")).to_contain_text("takes the role operate")


async def test_a_token_may_drain_what_it_registered() -> None:
    async with served(tokens=TOKENS) as api:
        api.session.headers["Authorization"] = "Bearer alice-secret"
        await filled(api)
        api.session.headers["Authorization"] = "Bearer workers-secret"
        await api.ask("PUT", "/v1/pools/m/replicas/own", json={"address": "10.1.0.1:8080"})
        secret = "workers-secret"  # noqa: S105 - of a server only this test knows
        async with opened(api.address, "#/pools/m/replicas/own", token=secret) as page:
            await press(page, "Drain")
            dialog = page.get_by_role("dialog")
            await dialog.get_by_role("button", name="Drain", exact=True).click()
            await expect(page.get_by_role("status")).to_contain_text("own is drained")
