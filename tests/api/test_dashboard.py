"""The page for people: anybody gets it, no script runs but its own, and it asks the API alone."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from py_mini_racer import MiniRacer

from controlplane.api.pages import DASHBOARD as PAGE
from tests.api.served import served
from tests.api.test_openapi import Page, document

SCRIPT = PAGE.partition("<script>")[2].partition("</script>")[0]
OF_NODES = {
    "connected_s",
    "fraction",
    "in_sync",
    "last_rejection",
    "message",
    "names",
    "types",
    "version",
}
"""Keys of what the document describes as an object alone."""
ANSWERS = r"\b(?:it|match|each|known|counts|readings|refused|type|gpu|told|body|listed)\??\.(\w+)"
"""What the script calls what the API answered, and a key of that."""
OF_THE_LANGUAGE = {"flatMap", "map", "toLocaleString"}


async def test_whoever_looks_gets_a_page_that_loads_nothing_from_elsewhere() -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        answer = await api.ask("GET", "/", headers={"Host": "plimsoll.example"})
        assert (answer.status, answer.content_type) == (200, "text/html")
        page = Page()
        page.feed(answer.body)
        page.close()
        assert (page.loaded, page.open) == (["script"], [])
        assert len(set(page.ids)) == len(page.ids)
        assert set(page.links) == {"docs", "openapi.json"}
        # The namespace of SVG is a name and not an address.
        addresses = set(re.findall(r"https?://[^\s\"'`]+", answer.body))
        assert addresses == {"http://www.w3.org/2000/svg"}


async def test_no_script_runs_but_its_own() -> None:
    async with served() as api:
        answer = await api.ask("GET", "/")
        policy = answer.headers["Content-Security-Policy"].split("; ")
        digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
        assert {"default-src 'none'", "connect-src 'self'"} <= set(policy)
        assert f"script-src 'sha256-{digest}'" in policy
        assert "innerHTML" not in SCRIPT
        assert " onclick=" not in PAGE


async def test_what_the_page_reads_is_what_the_api_says() -> None:
    async with served() as api:
        described = await document(api)
        paths = {path.lstrip("/") for path in described["paths"]}
        asked = {
            re.sub(r"\$\{encodeURIComponent\((\w+)\)\}", r"{\1}", path)
            for path in re.findall(r"[\"`](v1/[^\"`?]*)", SCRIPT)
        }
        assert asked == {"v1/pools", "v1/nodes", "v1/pools/{pool}/replicas"}
        assert asked <= paths
        schemas = described["components"]["schemas"].values()
        said = {key for schema in schemas for key in schema.get("properties", {})}
        read = set(re.findall(ANSWERS, SCRIPT)) - OF_THE_LANGUAGE
        assert len(read) > 30
        assert read - said <= OF_NODES


async def test_every_part_of_the_page_that_the_script_fills_is_there() -> None:
    ids = set(re.findall(r'\bid="(\w+)"', PAGE))
    assert set(re.findall(r'\bat\("(\w+)"\)', SCRIPT)) <= ids


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ("0, 0, 0", "no pools, no Envoy is connected"),
        ("1, 0, 0", "1 pool, no Envoy is connected"),
        ("2, 1, 0", "2 pools, 1 Envoy, all in sync"),
        ("1, 3, 1", "1 pool, 3 Envoys, 1 not in sync"),
    ],
)
def test_the_summary_claims_nothing_of_envoys_that_are_not_there(counts: str, words: str) -> None:
    functions = re.findall(
        r"(?ms)^function (?:counted|summary)\(.*?^}|^const counted =.*?;$", SCRIPT
    )
    script = "\n".join([*functions, f"summary({counts})"])
    assert MiniRacer().eval(script) == words
