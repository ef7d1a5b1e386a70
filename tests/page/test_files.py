"""What is served at ``/``: open to all, loads only its own files, and runs no text as markup."""

import re
from pathlib import Path

import pytest

from controlplane.api.pages import page_files
from tests.api.served import served
from tests.api.test_openapi import Page, document

FILES = page_files()
OWN = {name: path for name, path in FILES.items() if not name.startswith("vendor/")}
SCRIPTS = {name: path.read_text() for name, path in OWN.items() if name.endswith(".js")}


async def test_everybody_gets_a_page_whose_files_are_all_its_own() -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        answer = await api.ask("GET", "/", headers={"Host": "plimsoll.example"})
        assert (answer.status, answer.content_type) == (200, "text/html")
        page = Page()
        page.feed(answer.body)
        assert set(page.loaded) == {"link", "script"}
        assert set(page.links) == {"page/mark.svg", "page/page.css"}
        for name in FILES:
            found = await api.ask("GET", f"/page/{name}")
            assert (found.status, found.headers["X-Content-Type-Options"]) == (200, "nosniff")
        imported = {
            str((path.parent / address).resolve())
            for path in OWN.values()
            for address in re.findall(r'from "([^"]+)"', path.read_text())
        }
        assert imported <= {str(path) for path in FILES.values()}


async def test_only_its_own_files_run_and_no_text_becomes_markup() -> None:
    async with served() as api:
        answer = await api.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert {"connect-src 'self'", "trusted-types 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    for text in SCRIPTS.values():
        assert not re.search(r"innerHTML|dangerouslySet|\beval\(|https?://", text)


async def test_a_browser_that_has_a_file_is_told_that_it_is_the_same() -> None:
    async with served() as api:
        first = await api.ask("GET", "/page/main.js")
        known = {"If-None-Match": first.headers["ETag"]}
        again = await api.ask("GET", "/page/main.js", headers=known)
        assert (again.status, again.body, again.headers["ETag"]) == (
            304,
            None,
            first.headers["ETag"],
        )
        assert (
            await api.ask("GET", "/page/main.js", headers={"If-None-Match": '"x"'})
        ).status == 200


@pytest.mark.parametrize("path", ["index.html", "README.md", "vendor/README.md", "../pages.py", ""])
async def test_nothing_else_is_served(path: str) -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        assert (await api.ask("GET", f"/page/{path}")).status in (401, 404)


async def test_what_the_page_asks_for_is_in_the_api() -> None:
    async with served() as api:
        described = await document(api)
    asked = {path for text in SCRIPTS.values() for path in re.findall(r"[\"`](v1/[a-z]+)", text)}
    assert asked == {"v1/whoami", "v1/pools", "v1/nodes", "v1/events", "v1/audit"}
    assert {f"/{path}" for path in asked} <= set(described["paths"])


def test_the_files_are_in_the_package_and_short() -> None:
    for name, path in OWN.items():
        assert len(path.read_text().splitlines()) <= 400, name
    assert {"page.css", "mark.svg", "main.js", "vendor/preact.js"} <= set(FILES)
    assert Path(FILES["main.js"]).parent.joinpath("vendor", "LICENSE-preact").exists()
