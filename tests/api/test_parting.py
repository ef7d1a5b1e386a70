"""Why requests are parted, and who serves each class: what the API shows, and when it tells."""

import json
from typing import Any

import pytest

from controlplane.plane import Probe
from tests.api.parted import go, living, parted
from tests.api.served import POOL, Served, served
from tests.fleet.fleets import without_pool
from tests.plane.lives import SIZES

CLASSES = [{"name": "jobs", "match": {"prefix": "/jobs"}}]


async def shown(api: Served) -> dict[str, Any]:
    body = (await api.ask("GET", "/v1/pools/m")).body
    assert isinstance(body, dict)
    return body


def told(api: Served, after: int = 0) -> list[dict[str, Any]]:
    """The events about classes."""
    events = api.server._feed.after(after) or ()
    return [json.loads(event.data) for event in events if event.kind == "parting"]


async def test_a_pool_says_why_its_requests_are_parted_and_how_much_of_the_work_each_class_is() -> (
    None
):
    async with parted() as api:
        pool = await shown(api)
    bulk, search = pool["parting"]
    assert (bulk["name"], bulk["replicas"]) == ("bulk", ["fast", "same"])
    assert (search["name"], search["replicas"]) == ("search", ["slow"])
    assert bulk["part_of_work"] + search["part_of_work"] == pytest.approx(1)
    assert 0.5 < bulk["part_of_work"] < 0.9
    first, second = pool["parting_reasons"]
    assert first.startswith("Class search (requests below ")
    assert "1 replica of its own; predicted p99 " in first
    assert second.startswith("Class bulk (requests from ")
    assert "has all other replicas; predicted p99 " in second


async def test_a_class_has_the_same_name_in_its_pool_and_in_its_replicas() -> None:
    async with parted() as api:
        pool = await shown(api)
    by_class = {served["name"]: served["replicas"] for served in pool["parting"]}
    for replica in pool["replicas"]:
        names = [name for name, ids in by_class.items() if replica["id"] in ids]
        assert replica["classes"] == names


async def test_a_pool_whose_requests_are_all_alike_says_why_they_are_not_parted() -> None:
    async with served() as api:
        go(api, living(api), 30, 400)
        pool = await shown(api)
        assert pool["parting"] is None
        assert pool["parting_reasons"] == [
            "Requests are not parted: their sizes do not fall into two classes."
        ]


async def test_before_anything_is_known_there_are_no_reasons() -> None:
    async with served() as api:
        await api.filled()
        pool = await shown(api)
        assert (pool["parting"], pool["parting_reasons"]) == (None, [])


async def test_the_classes_of_a_user_wait_for_envoys_and_have_no_part_of_the_work_yet() -> None:
    async with served() as api:
        await api.filled()
        for target in api.plane.targets():
            api.plane.probed(target, Probe.HEALTHY, api.now)
        api.decide()
        await api.ask("PUT", "/v1/pools/m", json=POOL | {"classes": CLASSES})
        pool = await shown(api)
        assert [served["part_of_work"] for served in pool["parting"]] == [None, None]
        assert pool["parting_reasons"] == [
            "Envoys check the replicas for each new class before requests go by class."
        ]
        assert told(api) == []
        api.now += 60
        api.decide()
        api.decide()
        assert [item["change"] for item in told(api)] == ["begun"]
        pool = await shown(api)
        assert [served["part_of_work"] for served in pool["parting"]] == [0.5, 0.5]
        assert pool["parting_reasons"] == [
            f"Class {name} (50 % of the work) has no replicas of its own: all serve it."
            for name in ("jobs", "default")
        ]


async def test_an_event_tells_when_requests_begin_to_go_by_class() -> None:
    async with served() as api:
        life = living(api)
        assert told(api) == []
        go(api, life, 60, *SIZES)
        begun = told(api)
        assert [item["change"] for item in begun] == ["begun"]
        assert begun[0]["classes"] == {"bulk": 2, "search": 1}
        assert begun[0]["reasons"] == (await shown(api))["parting_reasons"]


async def test_weights_that_change_within_a_class_are_no_event() -> None:
    async with parted() as api:
        before = api.server._feed.newest
        decided = api.plane._decisions["m"]
        decision = api.plane.decision("m")
        assert decision is not None
        for each in decision.classes:
            each.weights[each.weights > 0] += 77
        decided.take(api.plane.fleet.pool("m"), decision, {"fast": True}, api.now)
        list(api.server.looking())
        assert told(api, before) == []


async def test_an_event_tells_when_a_class_has_other_replicas_and_when_all_go_together_again() -> (
    None
):
    async with parted() as api:
        before = api.server._feed.newest
        await api.ask("POST", "/v1/pools/m/replicas/slow/drain")
        api.now += 1
        api.decide()
        assert [(item["change"], item["classes"]) for item in told(api, before)] == [
            ("changed", {"bulk": 1, "search": 1})
        ]
        before = api.server._feed.newest
        body = POOL | {"balancing": {"long_requests": "any-replica"}}
        assert (await api.ask("PUT", "/v1/pools/m", json=body)).status == 200
        api.now += 1
        api.decide()
        (ended,) = told(api, before)
        assert (ended["pool"], ended["change"], ended["classes"]) == ("m", "ended", {})


async def test_a_pool_that_is_removed_takes_its_classes_with_it() -> None:
    async with parted() as api:
        before = api.server._feed.newest
        for name in api.plane.fleet.pools:
            gone = without_pool(api.plane.fleet, name)
            api.plane.adopt(gone, api.now)
            api.server.changed(gone.changes)
        api.decide()
        assert told(api, before) == []
        assert api.server._watch._partings == {}
