"""What each view shows of a plane whose replicas were measured."""

import re
from pathlib import Path

from playwright.async_api import expect

from tests.api.served import served
from tests.envoy.pools import all_serve, pool_of
from tests.page.browsing import follows, needs_chromium, opened, row
from tests.page.fleets import filled
from tests.processes import serving, sidecar, until
from tests.replica import replica

pytestmark = needs_chromium


async def test_the_fleet_shows_pools_with_traffic_latency_and_what_is_left() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address) as page:
            await expect(row(page, "m")).to_be_visible()
            cells = row(page, "m").locator("th, td")
            heads = [
                text.strip("↑↓ \n\xa0")
                for text in await page.locator("#pools th[scope=col]").all_inner_texts()
            ]
            shown = dict(zip(heads, await cells.all_inner_texts(), strict=True))
            await expect(page.locator(".headline")).to_contain_text("3 of 3 replicas ready")
            assert shown["Ready"] == "3 of 3"
            assert shown["Traffic"] == "15.2/s"
            assert shown["Objective"] == "150 ms"
            assert re.fullmatch(r"[\d.]+ ms", shown["p99"])
            assert re.search(r"[\d.]+ %", shown["Used"])
            assert shown["Left"].endswith("/s")


async def test_a_pool_shows_its_replicas_and_its_last_hour_at_once() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, "#/pools/m") as page:
            await expect(row(page, "r0001")).to_contain_text("ready")
            await expect(row(page, "r0001")).to_contain_text("31 %")
            traffic = page.get_by_role("img", name="Traffic, last hour")
            await expect(traffic).to_have_accessible_name(re.compile(r"requests now 1\d\.\d/s"))
            # A path of three points: the history was there before the page was.
            path = await traffic.locator("path.line").last.get_attribute("d")
            assert path is not None
            assert path.count("L") >= 2


async def test_captions_of_charts_are_equally_high_whatever_their_values() -> None:
    async with served() as api:
        await filled(api, count=30)
        async with opened(api.address, "#/pools/m") as page:
            await expect(page.locator("figcaption").first).to_contain_text("capacity 2,")
            heights = await page.locator("figcaption").evaluate_all(
                "all => all.map((each) => each.offsetHeight)"
            )
            assert len(heights) == 4
            assert len(set(heights)) == 1


async def test_a_replica_has_an_address_of_its_own_and_says_why() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, "#/pools/m/replicas/r0002") as page:
            await expect(page.get_by_role("heading", name="r0002")).to_be_visible()
            why = (await api.ask("GET", "/v1/pools/m/replicas/r0002")).body["why"]
            await expect(page.locator(".reasons li").first).to_have_text(why[0])
            await expect(page.locator(".timeline")).to_contain_text("the record begins")
            assert await page.title() == "r0002 · m · Plimsoll"


async def test_what_happens_is_listed_and_leads_to_where_it_happened() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, "#/events") as page:
            await follows(page)
            await api.ask("POST", "/v1/pools/m/replicas/r0001/drain")
            event = page.locator("#events tbody tr").filter(has_text="draining").first
            await expect(event).to_contain_text("m/r0001")
            await event.get_by_role("link").click()
            await expect(page.locator(".state")).to_contain_text("draining")


async def test_the_audit_log_says_who_changed_what() -> None:
    async with served() as api:
        await filled(api)
        body = {"address": "10.0.0.9:8080", "labels": {"rack": "7"}}
        await api.ask("PUT", "/v1/pools/m/replicas/r0001", json=body)
        async with opened(api.address, "#/audit") as page:
            first = page.locator("#audit tbody tr").first
            await expect(first).to_contain_text("m/r0001")
            await expect(first).to_contain_text("loopback")
            await expect(first).to_contain_text('labels: {} → {"rack":"7"}')


async def test_the_audit_log_says_on_a_phone_too_what_changed() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, "#/audit", width=390) as page:
            change = page.locator("#audit tbody tr td", has_text="added").first
            await expect(change).to_be_visible()


async def test_names_are_text_and_never_markup() -> None:
    async with served() as api:
        await filled(api)
        body = {"address": "10.0.0.9:8080", "labels": {"a": "b"}}
        await api.ask("PUT", "/v1/pools/m/replicas/r0001", json=body)
        async with opened(api.address, "#/pools/%3Cimg%20src%3Dx%3E/replicas/%3Cb%3E") as page:
            await expect(page.get_by_role("heading", name="<b>", exact=True)).to_be_visible()
            assert await page.locator("main img[src], main b b").count() == 0


async def test_envoys_and_what_they_get_are_shown_of_real_ones(tmp_path: Path) -> None:
    async with replica() as one, replica() as other:
        pool = pool_of("m", one, other)
        async with (
            serving(tmp_path, [pool]) as plane,
            sidecar(tmp_path, plane.xds, ["m"], "search-1") as envoy,
        ):
            await until("requests are answered", lambda: all_serve([envoy], "m"))
            async with opened(plane.admin, "#/envoys") as page:
                await expect(row(page, "search-1")).to_contain_text("in sync")
                await expect(row(page, "search-1")).to_contain_text("1 assignment, ")

                async def sends() -> bool:
                    await envoy.post("m")
                    return (
                        re.search(r"[1-9][\d.]*/s", await row(page, "search-1").inner_text())
                        is not None
                    )

                await until("the Envoy is seen to send", sends)
                await row(page, "search-1").get_by_role("link").click()
                await expect(row(page, "m").last).to_contain_text("/s")
                await page.goto(f"http://{plane.admin}/#/pools/m/config")
                await page.get_by_text("ClusterLoadAssignment").wait_for()
                await page.locator("summary").first.click()
                text = await page.locator("pre").first.text_content()
                assert text is not None
                assert '"name": ' in text
