"""Pools over the API."""

import pytest

from controlplane.config import (
    PoolEntry,
    PoolSettings,
    ReplicaSettings,
    load_config,
    validated,
)
from tests.api.served import POOL, served
from tests.planes import declare, discover


async def test_a_new_pool_is_created_and_then_found() -> None:
    async with served() as api:
        created = await api.ask("PUT", "/v1/pools/m", json=POOL)
        assert created.status == 201
        assert api.plane.fleet.pool("m").settings.model == "minilm"
        found = await api.ask("GET", "/v1/pools/m")
        assert (found.status, found.body) == (200, created.body)


async def test_the_same_pool_put_again_changes_nothing_and_answers_200() -> None:
    async with served() as api:
        first = await api.ask("PUT", "/v1/pools/m", json=POOL)
        again = await api.ask("PUT", "/v1/pools/m", json=POOL | {"name": "m"})
        assert (again.status, again.body) == (200, first.body)


async def test_changed_settings_keep_the_replicas() -> None:
    async with served() as api:
        await api.filled()
        changed = await api.ask("PUT", "/v1/pools/m", json=POOL | {"model": "other"})
        assert changed.body["model"] == "other"
        assert changed.body["counts"]["total"] == 2


async def test_the_settings_that_the_api_shows_can_be_put_back() -> None:
    async with served() as api:
        everything = POOL | {
            "objective": {"p99": "250ms"},
            "route": {"prefix": "/v1", "timeout": "1.5s"},
            "metrics": {
                "profile": "prometheus",
                "latency": {"family": "t", "unit": "ms", "labels": {"path": "/embed"}},
            },
        }
        shown = await api.ask("PUT", "/v1/pools/m", json=everything)
        settings = api.plane.fleet.pool("m").settings
        declared = {key: shown.body[key] for key in PoolSettings.model_fields}
        back = await api.ask("PUT", "/v1/pools/m", json=declared)
        assert back.status == 200
        assert api.plane.fleet.pool("m").settings == settings


async def test_a_list_of_pools_counts_the_replicas_of_each() -> None:
    async with served() as api:
        await api.filled()
        await api.ask("POST", "/v1/pools/m/replicas/b/drain")
        listed = (await api.ask("GET", "/v1/pools")).body["pools"]
        assert [pool["name"] for pool in listed] == ["m"]
        counts = listed[0]["counts"]
        assert (counts["total"], counts["starting"], counts["draining"]) == (2, 2, 1)


async def test_a_deleted_pool_is_gone() -> None:
    async with served() as api:
        await api.filled()
        deleted = await api.ask("DELETE", "/v1/pools/m")
        assert (deleted.status, deleted.body) == (204, None)
        assert (await api.ask("GET", "/v1/pools/m")).status == 404
        assert (await api.ask("DELETE", "/v1/pools/m")).status == 404


async def test_a_listener_that_another_pool_has_is_a_conflict() -> None:
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await api.ask("PUT", "/v1/pools/other", json=POOL)
        assert answer.status == 409
        assert answer.detail == "listener address 127.0.0.1:10000 is already that of pool 'm'"
        assert answer.body["pointer"] == "/listener/address"
        assert api.plane.fleet is before


async def test_a_pool_says_that_the_file_declared_it() -> None:
    async with served() as api:
        text = "pools: [{name: m, model: x, listener: {address: '127.0.0.1:10000'}}]"
        declare(api.plane, load_config(text, "f"), api.now)
        assert (await api.ask("GET", "/v1/pools/m")).body["source"] == "file"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/pools/q"),
        ("GET", "/v1/pools/q/replicas"),
        ("GET", "/v1/pools/q/replicas/a"),
        ("POST", "/v1/pools/q/replicas/a/drain"),
        ("DELETE", "/v1/pools/q/replicas/a"),
    ],
)
async def test_an_unknown_pool_is_not_found(method: str, path: str) -> None:
    async with served() as api:
        answer = await api.ask(method, path)
        assert (answer.status, answer.detail) == (404, "there is no pool 'q'")
        assert api.changes == 0


async def test_a_pool_says_where_its_replicas_are_found_and_what_is_not_followed() -> None:
    async with served() as api:
        await api.filled()
        source = {"directory": {"path": "replicas.d"}}
        entry = validated(PoolEntry, {**POOL, "name": "m", "discovery": [source]})
        known = api.plane.discoveries
        known.adopt([entry])
        shown = (await api.ask("GET", "/v1/pools/m")).body["discovery"]
        assert shown["sources"][0] == {
            "name": "directory replicas.d",
            "replicas": None,
            "answer_age_s": None,
            "failing": False,
            "problem": None,
        }
        found = {"x": validated(ReplicaSettings, {"address": "127.0.0.1:9003"})}
        known.found("m", "directory replicas.d", found, None, 98.0)
        known.failed("m", "directory replicas.d", "cannot be listed")
        discover(api.plane, 98.0)
        shown = (await api.ask("GET", "/v1/pools/m")).body["discovery"]
        assert shown == {
            "sources": [
                {
                    "name": "directory replicas.d",
                    "replicas": 1,
                    "answer_age_s": 2.0,
                    "failing": True,
                    "problem": "cannot be listed",
                }
            ],
            "withheld": [],
            "clashes": [],
        }
        replica = (await api.ask("GET", "/v1/pools/m/replicas/x")).body
        assert (replica["source"], replica["found_by"]) == ("discovery", "directory replicas.d")
        known.found("m", "directory replicas.d", {}, None, 99.0)
        discover(api.plane, 99.0)
        replica = (await api.ask("GET", "/v1/pools/m/replicas/x")).body
        assert replica["draining"] == "discovery"
        assert (
            "Drained: directory replicas.d has not had it for 1 s; it is removed unless it is found"
            " again within 9 s" in replica["why"]
        )


async def test_the_api_cannot_have_the_control_plane_read_its_files() -> None:
    async with served() as api:
        body = {**POOL, "discovery": [{"directory": {"path": "/etc"}}]}
        refused = await api.ask("PUT", "/v1/pools/m", json=body)
        assert refused.status == 422
        assert refused.body["pointer"] == "/discovery"
