"""Classes of requests through the API: put, shown, tried out and refused."""

from typing import Any

import pytest

from controlplane.plane import Probe
from controlplane.resources.resource import CLUSTER, ROUTE
from tests.api.served import POOL, Served, served

CLASSES = [
    {
        "name": "jobs",
        "match": {"header": {"name": "x-job", "value": "nightly"}},
        "objective": {"p99": "30s"},
    },
    {"name": "long", "match": {"min_bytes": 4096}},
]
PATH = "/v1/pools/m"


async def ready(api: Served) -> None:
    """Have pool m with replicas a and b that Envoys have been told of."""
    await api.filled()
    for target in api.plane.targets():
        api.plane.probed(target, Probe.HEALTHY, api.now)
    api.plane.decide(api.now)


def put(**more: Any) -> dict[str, Any]:
    return {"json": POOL | more}


async def test_classes_are_shown_as_they_can_be_put_again() -> None:
    async with served() as api:
        await api.filled()
        assert (await api.ask("PUT", PATH, **put(classes=CLASSES))).status == 200
        body = (await api.ask("GET", PATH)).body
        assert [
            (request_class["name"], request_class["objective"]) for request_class in body["classes"]
        ] == [
            ("jobs", {"p99": "30s", "availability": None}),
            ("long", None),
        ]
        before = api.plane.fleet
        assert (await api.ask("PUT", PATH, **put(classes=body["classes"]))).status == 200
        assert api.plane.fleet.pool("m").settings == before.pool("m").settings


async def test_who_serves_each_class_is_shown_once_that_is_decided() -> None:
    async with served() as api:
        await ready(api)
        assert (await api.ask("GET", PATH)).body["parting"] is None
        await api.ask("PUT", PATH, **put(classes=CLASSES))
        api.plane.decide(api.now)
        jobs, long, default = (await api.ask("GET", PATH)).body["parting"]
        assert (jobs["name"], long["name"], default["name"]) == ("jobs", "long", "default")
        assert jobs["match"]["header"] == {"name": "x-job", "value": "nightly"}
        assert long["match"]["min_bytes"] == 4096
        assert default["match"] is None
        assert [item["routed"] for item in (jobs, long, default)] == [False, False, True]
        assert jobs["replicas"] == ["a", "b"]


async def test_what_classes_come_to_is_shown_beforehand() -> None:
    async with served() as api:
        await ready(api)
        answer = await api.ask("PUT", f"{PATH}?dry_run=true", **put(classes=CLASSES))
        resources = answer.body["resources"]
        assert sorted(resources[CLUSTER]) == sorted(
            name + kind for name in ("m", "m:jobs", "m:long") for kind in ("", "/retries")
        )
        (host,) = resources[ROUTE]["m"]["virtualHosts"]
        assert [route["name"] for route in host["routes"]] == ["m:jobs", "m:long", "m"]
        assert api.plane.fleet.pool("m").settings.classes is None


@pytest.mark.parametrize(
    ("wrong", "pointer", "sentence"),
    [
        ({"classes": [CLASSES[0], CLASSES[0]]}, "/classes/1/name", "two classes have the name"),
        ({"classes": [{"name": "a", "match": {}}]}, "/classes/0/match", "must say which requests"),
        (
            {"classes": CLASSES, "balancing": {"policy": "round-robin"}},
            "/classes",
            "need policy capacity-tiers",
        ),
        (
            {"classes": [{"name": "a", "match": {"min_bytes": "4k"}}]},
            "/classes/0/match/min_bytes",
            "must be a whole number, not '4k'",
        ),
    ],
)
async def test_what_does_not_go_together_is_refused(
    wrong: dict[str, Any], pointer: str, sentence: str
) -> None:
    async with served() as api:
        await api.filled()
        answer = await api.ask("PUT", PATH, **put(**wrong))
        assert (answer.status, answer.body["pointer"]) == (422, pointer)
        assert sentence in answer.detail
