"""Tables: sorted, filtered, walked by keyboard, and large ones without building rows anew."""

from typing import Any, Final

import pytest
from playwright.async_api import Page, expect

from tests.api.parted import parted
from tests.api.served import served
from tests.page.browsing import needs_chromium, opened, row
from tests.page.fleets import filled, live
from tests.processes import until

pytestmark = needs_chromium

LONG: Final = "embeddings-multilingual-large-production"


async def ids(page: Page) -> list[str]:
    found = page.locator("#replicas tbody tr[data-key] th")
    return await found.all_inner_texts()


async def test_a_column_is_sorted_by_its_head_and_says_so() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address, "#/pools/m") as page:
            await expect(row(page, "r0002")).to_be_visible()
            memory = page.get_by_role("columnheader", name="GPU memory")
            await memory.get_by_role("button").click()
            await expect(memory).to_have_attribute("aria-sort", "descending")
            assert await ids(page) == ["r0002", "r0001", "r0000"]
            await memory.get_by_role("button").click()
            await expect(memory).to_have_attribute("aria-sort", "ascending")
            assert await ids(page) == ["r0000", "r0001", "r0002"]


@pytest.mark.parametrize(("view", "table"), [("", "pools"), ("#/pools/" + LONG, "replicas")])
async def test_a_long_name_leaves_room_for_the_other_columns_on_a_phone(
    view: str, table: str
) -> None:
    async with served() as api:
        await filled(api, pool=LONG)
        await api.ask("PUT", f"/v1/pools/{LONG}/replicas/{LONG}", json={"address": "10.9.9.9:80"})
        async with opened(api.address, view, width=390) as page:
            await expect(row(page, LONG)).to_be_visible()
            box = page.locator(f"#{table} .scroll")
            assert await box.evaluate("(box) => box.scrollWidth - box.clientWidth") == 0


async def test_rows_are_filtered_by_words_and_by_state() -> None:
    async with served() as api:
        await filled(api)
        await api.ask("POST", "/v1/pools/m/replicas/r0001/drain")
        async with opened(api.address, "#/pools/m") as page:
            await expect(row(page, "r0001")).to_contain_text("draining")
            await page.keyboard.press("/")
            await page.keyboard.type("R0002")
            await expect(page.locator("#replicas [data-count]")).to_have_text("1 of 3")
            assert await ids(page) == ["r0002"]
            await page.keyboard.press("Escape")
            await expect(page.locator("#replicas [data-count]")).to_have_text("3")
            await page.locator("#replicas select").select_option(label="draining")
            assert await ids(page) == ["r0001"]


async def test_the_keyboard_walks_opens_and_goes_back() -> None:
    async with served() as api:
        await filled(api)
        async with opened(api.address) as page:
            await expect(row(page, "m")).to_be_visible()
            await page.keyboard.press("j")
            await expect(row(page, "m").get_by_role("link")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(row(page, "r0002")).to_be_visible()
            # One key after the other: a table may be drawn anew between two.
            for key, name in (("j", "0"), ("j", "1"), ("k", "0"), ("ArrowDown", "1")):
                await page.keyboard.press(key)
                await expect(row(page, f"r000{name}").get_by_role("link")).to_be_focused()
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", name="r0001")).to_be_visible()
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("heading", name="m", exact=True)).to_be_visible()
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("heading", name="Fleet")).to_be_visible()


async def test_the_keys_are_those_of_the_table_that_a_view_is_about() -> None:
    async with parted() as api, opened(api.address, "#/pools/m") as page:
        await expect(page.locator("#classes")).to_be_visible()
        await page.keyboard.press("/")
        await expect(page.locator("#replicas input[type=search]")).to_be_focused()
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        await expect(row(page, "fast").get_by_role("link")).to_be_focused()


WATCH = """() => {
  window.counted = {rows: 0, texts: 0};
  new MutationObserver((records) => {
    for (const record of records) {
      if (record.type === "characterData") counted.texts++;
      for (const node of record.addedNodes) if (node.nodeName === "TR") counted.rows++;
    }
  }).observe(
    document.querySelector("#replicas tbody"),
    {childList: true, characterData: true, subtree: true},
  );
}"""


async def counted(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate("window.counted")
    return found


async def test_a_thousand_replicas_scroll_and_change_without_rows_built_anew() -> None:
    async with served() as api:
        await filled(api, 1000)
        async with opened(api.address, "#/pools/m") as page:
            await expect(page.locator("#replicas [data-count]")).to_have_text("1,000")
            rows = page.locator("#replicas tbody tr[data-key]")
            assert await rows.count() < 100
            await page.evaluate(WATCH)
            live(api, 5, rate=9.0)

            async def figures_change() -> bool:
                return bool((await counted(page))["texts"] > 50)

            await until("figures change", figures_change)
            # Figures change in place.
            assert (await counted(page))["rows"] == 0
            box = page.locator("#replicas .scroll")
            await box.evaluate("(it) => { it.scrollTop += 200; }")
            await page.evaluate(
                "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))"
            )
            assert (await counted(page))["rows"] <= 20
            await box.evaluate("(it) => { it.scrollTop = 15000; }")
            await expect(row(page, "r0505")).to_be_visible()
            assert await rows.count() < 100
            assert (await counted(page))["rows"] < 120
            await expect(row(page, "r0505")).to_have_attribute("aria-rowindex", "507")
            await page.get_by_role("columnheader", name="State").get_by_role("button").focus()
            await page.keyboard.press("j")
            await page.locator("#replicas tbody a:focus").wait_for()
            await page.keyboard.press("End")
            await expect(row(page, "r0999").get_by_role("link")).to_be_focused()


SCROLL = """async () => {
  const box = document.querySelector("#replicas .scroll"), map = Array.prototype.map;
  let drawn = 0;
  // Each drawing of the table lists the keys of all rows once.
  Array.prototype.map = function (...rest) {
    if (this.length === 300) drawn++;
    return map.apply(this, rest);
  };
  for (let step = 1; step <= 60; step++) {
    box.scrollTop = step * 4;
    box.dispatchEvent(new Event("scroll"));
    await new Promise((done) => setTimeout(done));
  }
  Array.prototype.map = map;
  return drawn;
}"""


async def test_a_table_is_not_drawn_anew_for_each_pixel_that_it_is_scrolled() -> None:
    async with served() as api:
        await filled(api, 300)
        async with opened(api.address, "#/pools/m") as page:
            await page.get_by_role("checkbox", name="Select all replicas").wait_for()
            # What is answered meanwhile draws it, too.
            assert await page.evaluate(SCROLL) < 30
