"""Many replicas in one request: all of them or none, in one step."""

import json
from typing import Any

import pytest

from controlplane.config import PoolEntry, ReplicaSettings, validated
from controlplane.fleet import Change, Command, DeleteReplica, PutReplicas, Source
from tests.api.served import POOL, REPLICA, Answer, Served, served
from tests.planes import discover

PATH = "/v1/pools/m/replicas"


def replica(id_: str, port: int, **more: object) -> dict[str, Any]:
    return {"id": id_, "address": f"127.0.0.1:{port}", **more}


async def put(api: Served, *replicas: object, query: str = "") -> Answer:
    return await api.ask("PUT", PATH + query, json={"replicas": list(replicas)})


async def test_new_changed_and_unchanged_ones_are_told_apart_and_the_others_stay() -> None:
    async with served() as api:
        await api.filled()
        answer = await put(api, replica("a", 9001), replica("c", 9003), replica("d", 9004))
        assert answer.body == {"added": ["c", "d"], "changed": [], "unchanged": ["a"]}
        answer = await put(api, replica("c", 9003, slots=2))
        assert answer.body == {"added": [], "changed": ["c"], "unchanged": []}
        assert list(api.plane.fleet.pool("m").replicas) == ["a", "b", "c", "d"]


async def test_one_that_a_source_had_found_is_changed_though_nothing_of_it_differs() -> None:
    async with served() as api:
        await api.filled()
        entry = validated(
            PoolEntry, {**POOL, "name": "m", "discovery": [{"directory": {"path": "replicas.d"}}]}
        )
        api.plane.discoveries.adopt([entry])
        found = {"c": validated(ReplicaSettings, {"address": "127.0.0.1:9003"})}
        api.plane.discoveries.found("m", "directory replicas.d", found, None, api.now)
        discover(api.plane, api.now)
        answer = await put(api, replica("c", 9003))
        assert answer.body == {"added": [], "changed": ["c"], "unchanged": []}
        assert api.plane.fleet.pool("m").replica("c").source is Source.API


async def test_it_is_one_step() -> None:
    async with served() as api:
        await api.filled()
        await put(api, *(replica(f"r{port}", port) for port in range(11_000, 11_500)))
        assert api.changes == 1
        assert len(api.plane.fleet.pool("m").replicas) == 502


async def test_most_of_a_pool_moves_only_where_that_is_forced() -> None:
    async with served() as api:
        await api.filled()
        both = replica("a", 9011), replica("b", 9012)
        answer = await put(api, *both)
        assert answer.status == 409
        assert "2 of the 2 replicas that serve pool 'm' would move" in answer.body["detail"]
        assert (await put(api, *both, query="?dry_run=true")).status == 409
        assert (await put(api, *both, query="?force=true")).body["changed"] == ["a", "b"]


async def test_two_may_swap_their_addresses() -> None:
    async with served() as api:
        await api.filled()
        answer = await put(api, replica("a", 9002), replica("b", 9001))
        assert answer.body["changed"] == ["a", "b"]


WRONG = {
    "one is wrong": ([replica("c", 9003), replica("d", 0)], 422, "/replicas/1/address"),
    "unknown key": ([replica("c", 9003, slot=1)], 422, "/replicas/0/slot"),
    "no id": ([REPLICA], 422, "/replicas/0/id"),
    "one id twice": ([replica("c", 9003), replica("c", 9004)], 422, "/replicas/1/id"),
    "one address twice": ([replica("c", 9003), replica("d", 9003)], 422, "/replicas/1/address"),
    "somebody else's address": (
        [replica("c", 9003), replica("d", 9001)],
        409,
        "/replicas/1/address",
    ),
    "none": ([], 422, "/replicas"),
    "too many": ([replica(f"r{i}", i) for i in range(1, 1_002)], 422, "/replicas"),
}


@pytest.mark.parametrize("what", WRONG)
async def test_if_one_cannot_be_put_none_is(what: str) -> None:
    replicas, status, pointer = WRONG[what]
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await put(api, *replicas)
        assert (answer.status, answer.body.get("pointer")) == (status, pointer)
        assert answer.detail
        assert (api.plane.fleet, api.changes) == (before, 0)


async def test_a_list_alone_and_a_pool_that_is_not_there_are_refused() -> None:
    async with served() as api:
        await api.filled()
        assert (await api.send(PATH, json.dumps([replica("c", 1)]).encode())).status == 422
        body = json.dumps({"replicas": [replica("c", 1)]}).encode()
        assert (await api.send("/v1/pools/q/replicas", body)).status == 404


async def test_a_dry_run_of_many_names_those_that_are_not_ready_yet() -> None:
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await put(api, replica("c", 9003), replica("d", 9004), query="?dry_run=true")
        assert answer.body["when_ready"] == ["c", "d"]
        assert (api.plane.fleet, api.changes) == (before, 0)


async def test_who_is_removed_by_somebody_else_at_the_same_time_was_put(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as api:
        await api.filled()
        apply = api.plane.apply

        def together(command: Command, now: float) -> tuple[Change, ...]:
            applied = apply(command, now)
            if isinstance(command, PutReplicas):
                apply(DeleteReplica("m", "a", force=True), now)
            return applied

        monkeypatch.setattr(api.plane, "apply", together)
        answer = await put(api, replica("a", 9001, slots=2))
        assert answer.status == 200
        assert answer.body == {"added": [], "changed": ["a"], "unchanged": []}
