"""``GET /v1/pools/{pool}/scaling`` and ``plimsoll scaling`` say how many replicas, and why."""

import json

import jsonschema_rs

from tests.api.parted import parted
from tests.api.served import POOL, served
from tests.api.test_schema import DOCUMENT
from tests.cli.answering import run


async def test_a_pool_that_was_measured_says_what_each_class_needs() -> None:
    async with parted() as api:
        body = (await api.ask("GET", "/v1/pools/m/scaling")).body
    schema = {"$ref": "#/components/schemas/Scaling", "components": DOCUMENT["components"]}
    jsonschema_rs.validate(schema, body)
    assert [request_class["name"] for request_class in body["classes"]] == ["search", "bulk"]
    # Just after the start nothing is scaled down.
    assert body["replicas"] == max(
        3, sum(request_class["replicas"] for request_class in body["classes"])
    )
    assert all(request_class["tokens"] > 0 for request_class in body["classes"])
    assert body["typical_capacity_tokens"] > 0
    assert body["reasons"][0].startswith(f"{body['replicas']} replicas wanted, 3 there")
    assert any("p99" in reason for reason in body["reasons"])


async def test_an_unknown_pool_is_a_problem_that_names_it() -> None:
    async with served() as api:
        answer = await api.ask("GET", "/v1/pools/nobody/scaling")
    assert answer.status == 404
    assert "nobody" in answer.detail


async def test_the_number_is_a_plain_field_for_keda_before_anything_is_measured() -> None:
    async with served() as api:
        await api.filled()
        body = (await api.ask("GET", "/v1/pools/m/scaling")).body
    assert body["replicas"] == 2
    assert body["active"] is True
    assert body["typical_capacity_tokens"] is None
    assert any("Nothing is known yet" in reason for reason in body["reasons"])


async def test_bounds_are_put_and_shown_and_wrong_ones_are_refused() -> None:
    async with served() as api:
        pool = POOL | {"scaling": {"min_replicas": 3}}
        assert (await api.ask("PUT", "/v1/pools/m", json=pool)).status == 201
        shown = (await api.ask("GET", "/v1/pools/m")).body["scaling"]
        assert shown == {
            "min_replicas": 3,
            "max_replicas": None,
            "max_utilization": 0.7,
            "scale_down_after": "300s",
        }
        assert (await api.ask("GET", "/v1/pools/m/scaling")).body["replicas"] == 3
        pool = POOL | {"scaling": {"min_replicas": 3, "max_replicas": 2}}
        answer = await api.ask("PUT", "/v1/pools/m", json=pool)
    assert answer.status == 422
    assert "3 is above max_replicas, 2" in answer.detail


async def test_the_command_prints_the_reasons_and_json_of_every_pool() -> None:
    async with served() as api:
        assert (await run(api, "scaling")).output == "no pools\n"
        await api.filled()
        text = (await run(api, "scaling", "m")).output
        found = json.loads((await run(api, "scaling", "--json")).output)
        missing = await run(api, "scaling", "nobody")
    assert text.startswith("m: 2 replicas wanted, 2 there\n  Nothing is known yet")
    assert [pool["pool"] for pool in found["pools"]] == ["m"]
    assert missing.exit_code == 1
