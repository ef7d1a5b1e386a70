"""The OpenAPI document and the page made of it: complete, and made of what serves and validates."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import pytest

from tests.api.served import Served, served

PATHS = {
    "/v1/pools": {"get"},
    "/v1/pools/{pool}": {"get", "put", "delete"},
    "/v1/pools/{pool}/replicas": {"get", "put"},
    "/v1/pools/{pool}/replicas/{replica}": {"get", "put", "delete"},
    "/v1/pools/{pool}/replicas/{replica}/drain": {"post"},
    "/v1/pools/{pool}/replicas/{replica}/undrain": {"post"},
    "/v1/pools/{pool}/replicas/{replica}/heartbeat": {"post"},
    "/v1/pools/{pool}/replicas/{replica}/history": {"get"},
    "/v1/nodes": {"get"},
    "/v1/events": {"get"},
    "/v1/audit": {"get"},
    "/v1/join": {"post"},
    "/metrics": {"get"},
    "/livez": {"get"},
    "/readyz": {"get"},
}


async def document(api: Served) -> dict[str, Any]:
    answer = await api.ask("GET", "/openapi.json")
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert isinstance(answer.body, dict)
    return answer.body


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_endpoint_of_the_contract_is_there() -> None:
    async with served() as api:
        described = await document(api)
        assert described["openapi"] == "3.1.0"
        found = {path: set(methods) for path, methods in described["paths"].items()}
        # There may be more one day.
        assert {path: found.get(path, set()) & PATHS[path] for path in PATHS} == PATHS


async def test_each_operation_has_a_name_a_summary_words_a_role_and_answers() -> None:
    async with served() as api:
        found = [each for _, _, each in operations(await document(api))]
        assert len({item["operationId"] for item in found}) == len(found)
        for entry in found:
            assert entry["summary"]
            assert entry["description"]
            assert entry["x-role"] in ("read", "register", "operate", "nobody")
            assert any(status.startswith("2") for status in entry["responses"])
            for parameter in entry["parameters"]:
                assert parameter["description"]


async def test_every_reference_leads_somewhere() -> None:
    async with served() as api:
        described = await document(api)
        answer = await api.ask("GET", "/docs")
        for name in re.findall(r'"#/components/schemas/([^"]+)"', str(described).replace("'", '"')):
            assert name in described["components"]["schemas"]
            assert f'id="{name}"' in answer.body


async def test_the_body_of_a_replica_is_described_by_the_model_that_validates_it() -> None:
    async with served() as api:
        described = await document(api)
        replica = described["components"]["schemas"]["ReplicaSettings"]
        assert (replica["required"], replica["additionalProperties"]) == (["address"], False)
        assert set(replica["properties"]) >= {"address", "slots", "labels", "gpu", "ttl"}
        assert replica["properties"]["slots"]["description"].endswith("null: learned.")


def with_defaults(document: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a document that has a default."""
    if isinstance(document, dict):
        if "default" in document and not isinstance(document.get("properties"), dict):
            yield document
        for inner in document.values():
            yield from with_defaults(inner)
    elif isinstance(document, list):
        for inner in document:
            yield from with_defaults(inner)


async def test_every_default_could_be_sent_as_it_is_written() -> None:
    async with served() as api:
        described = await document(api)
        found = list(with_defaults(described))
        assert len(found) > 50
        for schema in found:
            check = {**schema, "components": described["components"]}
            jsonschema_rs.validate(check, schema["default"])


async def test_settings_in_an_answer_are_described_as_they_can_be_put() -> None:
    async with served() as api:
        schemas = (await document(api))["components"]["schemas"]
        for shown, put in (("Route", "RouteSettings"), ("Match", "ClassMatch")):
            assert schemas[shown]["properties"] == schemas[put]["properties"]
            assert f"#/components/schemas/{shown}" in str(schemas)


async def test_the_bodies_that_it_gives_as_examples_are_taken() -> None:
    async with served() as api:
        found = {item["operationId"]: item for _, _, item in operations(await document(api))}
        for name, path in (
            ("putPool", "/v1/pools/m"),
            ("putReplicas", "/v1/pools/m/replicas"),
            ("putReplica", "/v1/pools/m/replicas/gpu-7"),
        ):
            example = found[name]["requestBody"]["content"]["application/json"]["example"]
            assert (await api.ask("PUT", path, json=example)).status in (200, 201)


async def test_what_the_document_says_of_roles_is_what_is_asked_for() -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        for method, path, operation in operations(await document(api)):
            url = path.format(pool="m", replica="a")
            answer = await api.ask(method.upper(), url)
            assert (answer.status == 401) == (operation["x-role"] != "nobody"), path


class Page(HTMLParser):
    """Takes note of what a page would load, and of whether its tags match."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag in ("script", "link", "img", "iframe", "object", "embed") or "src" in known:
            self.loaded.append(tag)
        self.links += [item for item in (known.get("href"),) if item]
        self.ids += [each for each in (known.get("id"),) if each]
        if tag not in ("meta", "br", "input", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_the_reference_page_loads_nothing_and_its_links_lead_somewhere() -> None:
    async with served() as api:
        answer = await api.ask("GET", "/docs")
        assert (answer.status, answer.content_type) == (200, "text/html")
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(policy)
        page = Page()
        page.feed(answer.body)
        page.close()
        assert (page.loaded, page.open) == ([], [])
        assert "url(" not in answer.body
        assert "@import" not in answer.body
        assert len(set(page.ids)) == len(page.ids)
        targets = {f"#{id_}" for id_ in page.ids} | {"openapi.json"}
        assert set(page.links) <= targets
        for _, path, operation in operations(await document(api)):
            assert path in answer.body
            assert f"#{operation['operationId']}" in page.links


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_a_browser_that_has_no_token_can_read_it(path: str) -> None:
    async with served(token="s3cret") as api:  # noqa: S106 - of a server only this test knows
        assert (await api.ask("GET", path, headers={"Host": "plimsoll.example"})).status == 200
