"""Each action on a replica: asked first, carried out, told; and only where the role allows it."""

import hashlib
import re
from collections.abc import Mapping

import pytest
from playwright.async_api import Page, expect

from controlplane.config import Role, Token
from tests.api.served import Served, served
from tests.page.browsing import needs_chromium, opened, row
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


async def registered_by_workers(api: Served) -> str:
    """Fill the pool, add a replica of a token that may only register, and return that token."""
    api.session.headers["Authorization"] = "Bearer alice-secret"
    await filled(api)
    secret = "workers-secret"  # noqa: S105 - of a server only this test knows
    api.session.headers["Authorization"] = f"Bearer {secret}"
    await api.ask("PUT", "/v1/pools/m/replicas/own", json={"address": "10.1.0.1:8080"})
    return secret


async def draining(api: Served) -> dict[str, object]:
    found = (await api.ask("GET", "/v1/pools/m")).body["replicas"]
    return {each["id"]: each["draining"] for each in found}


async def test_several_are_selected_by_keyboard_drained_together_and_undrained() -> None:
    async with served() as api:
        await filled(api, 4)
        async with opened(api.address, "#/pools/m") as page:
            await expect(row(page, "r0003")).to_be_visible()
            bulk = page.get_by_role("group", name="Actions on the selected replicas")
            for key, name in (("j", "0"), ("x", "0"), ("j", "1"), ("j", "2"), ("x", "2")):
                await page.keyboard.press(key)
                await expect(row(page, f"r000{name}").get_by_role("link")).to_be_focused()
            for name, is_picked in (("0", True), ("1", False), ("2", True), ("3", False)):
                box = page.get_by_role("checkbox", name=f"Select r000{name}")
                await expect(box).to_be_checked(checked=is_picked)
            await bulk.get_by_role("button", name="Drain 2…").click()
            dialog = page.get_by_role("dialog")
            await expect(dialog).to_contain_text("Drain 2 replicas?")
            await expect(dialog).to_contain_text("r0000, r0002. They get no new requests")
            await page.keyboard.press("Escape")
            await expect(dialog).to_have_count(0)
            assert {*(await draining(api)).values()} == {None}
            await bulk.get_by_role("button", name="Drain 2…").click()
            await dialog.get_by_role("button", name="Drain", exact=True).click()
            await expect(page.get_by_role("status")).to_contain_text("2 replicas drained")
            assert await draining(api) == {
                "r0000": "operator",
                "r0001": None,
                "r0002": "operator",
                "r0003": None,
            }
            # Nothing is selected any more: what was asked for is done.
            await expect(bulk).to_have_count(0)
            await page.get_by_role("checkbox", name="Select all replicas").check()
            await bulk.get_by_role("button", name="Drain 2…", exact=True).click()
            await expect(dialog).to_contain_text("No other replica of the pool serves")
            await page.keyboard.press("Escape")
            await bulk.get_by_role("button", name="Undrain 2…").click()
            await dialog.get_by_role("button", name="Undrain", exact=True).click()
            await expect(page.get_by_role("status")).to_contain_text("2 replicas undrained")
            assert {*(await draining(api)).values()} == {None}


async def test_of_several_those_that_are_refused_are_named_and_stay_selected() -> None:
    async with served(tokens=TOKENS) as api:
        secret = await registered_by_workers(api)
        async with opened(api.address, "#/pools/m", token=secret) as page:
            for name in ("own", "r0001"):
                await page.get_by_role("checkbox", name=f"Select {name}").check()
            await page.get_by_role("button", name="Drain 2…").click()
            dialog = page.get_by_role("dialog")
            await dialog.get_by_role("button", name="Drain", exact=True).click()
            await expect(dialog.get_by_role("alert")).to_contain_text(
                re.compile("1 of 2 replicas refused. r0001: .*registered")
            )
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("button", name="Drain 1…")).to_be_visible()
            assert await page.get_by_role("checkbox", name="Select r0001").is_checked()
            assert await draining(api) == {
                "own": "operator",
                "r0000": None,
                "r0001": None,
                "r0002": None,
            }


async def test_who_may_only_look_selects_nothing() -> None:
    async with served(tokens=TOKENS) as api:
        api.session.headers["Authorization"] = "Bearer alice-secret"
        await filled(api)
        secret = "wall-secret"  # noqa: S105 - of a server only this test knows
        async with opened(api.address, "#/pools/m", token=secret) as page:
            await expect(page.locator(".who")).to_contain_text("wall · read")
            await expect(row(page, "r0001")).to_be_visible()
            assert await page.get_by_role("checkbox").count() == 0


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
        secret = await registered_by_workers(api)
        async with opened(api.address, "#/pools/m/replicas/own", token=secret) as page:
            await press(page, "Drain")
            dialog = page.get_by_role("dialog")
            await dialog.get_by_role("button", name="Drain", exact=True).click()
            await expect(page.get_by_role("status")).to_contain_text("own is drained")
