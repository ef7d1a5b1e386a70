"""``?dry_run=true``: what Envoy would get, how it differs, and nothing has changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.envoy_views import differing, preview_view
from controlplane.config import PoolSettings, validated
from controlplane.fleet import Command, Drain, PutPool
from controlplane.plane import Probe, preview
from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.api.served import POOL, REPLICA, Served, served
from tests.plane.lives import SIZES, Life, measured

PATH = "/v1/pools/m/replicas/a"
JSONS = st.recursive(
    st.none() | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=8,
)


async def ready(api: Served) -> Served:
    await api.filled()
    for id_ in "ab":
        api.plane.probed(api.target(id_), Probe.HEALTHY, api.now)
    api.decide()
    api.changes = 0
    return api


async def test_a_new_pool_shows_every_resource_that_envoys_would_get() -> None:
    async with served() as api:
        answer = await api.ask("PUT", "/v1/pools/new?dry_run=true", json=POOL)
        assert answer.status == 200
        assert set(answer.body["resources"]) == {CLUSTER, ENDPOINT, LISTENER, ROUTE}
        listener = answer.body["resources"][LISTENER]["new"]
        assert listener["address"]["socketAddress"]["portValue"] == 10000
        assert [(item["before"], item["pointer"]) for item in answer.body["diff"]] == [
            (None, "")
        ] * 5
        assert (dict(api.plane.fleet.pools), api.changes) == ({}, 0)


async def test_a_changed_setting_is_one_difference_with_a_pointer() -> None:
    async with served() as api:
        await ready(api)
        body = POOL | {"health_check": {"path": "/ready"}}
        answer = await api.ask("PUT", "/v1/pools/m?dry_run=true", json=body)
        assert answer.body["diff"] == [
            {
                "type_url": CLUSTER,
                "name": name,
                "pointer": "/healthChecks/0/httpHealthCheck/path",
                "before": "/health",
                "after": "/ready",
            }
            for name in ("m", "m/retries")
        ]


async def test_a_drained_replica_is_one_difference() -> None:
    async with served() as api:
        await ready(api)
        answer = await api.ask("POST", f"{PATH}/drain?dry_run=true")
        changed = {
            item["pointer"].rpartition("/")[2]: item["after"] for item in answer.body["diff"]
        }
        assert changed["healthStatus"] == "DRAINING"
        assert answer.body["changes"] is True


async def test_the_same_again_would_change_nothing_and_still_shows_what_envoys_hold() -> None:
    async with served() as api:
        await ready(api)
        answer = await api.ask("PUT", f"{PATH}?dry_run=true", json=REPLICA)
        assert (answer.body["changes"], answer.body["diff"]) == (False, [])
        assert "m" in answer.body["resources"][ENDPOINT]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/pools/m", POOL | {"model": "x"}),
        ("PUT", "/v1/pools/n", POOL | {"listener": {"address": "127.0.0.1:1"}}),
        ("PUT", PATH, {"address": "127.0.0.1:9009"}),
        ("PUT", "/v1/pools/m/replicas/c", {"address": "127.0.0.1:9009", "ttl": "30s"}),
        ("PUT", "/v1/pools/m/replicas", {"replicas": [{"id": "c", "address": "127.0.0.1:9"}]}),
        ("POST", f"{PATH}/drain", None),
        ("POST", f"{PATH}/undrain", None),
        ("DELETE", PATH, None),
        ("DELETE", "/v1/pools/m", None),
    ],
)
async def test_it_changes_nothing(method: str, path: str, body: object) -> None:
    async with served() as api:
        await ready(api)
        fleet, catalog = api.plane.fleet, api.plane.catalog
        audit = (await api.ask("GET", "/v1/audit")).body
        answer = await api.ask(method, f"{path}?dry_run=true", json=body)
        assert (answer.status, answer.body["dry_run"]) == (200, True)
        assert (api.plane.fleet, api.plane.catalog, api.changes) == (fleet, catalog, 0)
        assert (await api.ask("GET", "/v1/audit")).body == audit


async def test_what_would_be_refused_is_refused() -> None:
    async with served() as api:
        await ready(api)
        conflict = await api.ask("PUT", "/v1/pools/m/replicas/c?dry_run=true", json=REPLICA)
        assert (conflict.status, "already that of" in conflict.detail) == (409, True)
        assert conflict.body["pointer"] == "/address"
        gone = await api.ask("DELETE", "/v1/pools/m/replicas/q?dry_run=true")
        assert gone.status == 404
        headers = {"If-Match": '"old"'}
        stale = await api.ask("PUT", f"{PATH}?dry_run=true", json=REPLICA, headers=headers)
        assert stale.status == 412


def clusters(life: Life, command: Command) -> set[str]:
    """That Envoys would have."""
    shown = preview_view(preview(life.plane, command, life.now), "m")
    return set(shown["resources"][CLUSTER])


def test_the_cluster_of_a_class_is_shown_where_there_is_one() -> None:
    parted = measured(345.0, SIZES)
    assert clusters(parted, Drain("m", "same")) == {"m", "m/retries", "m:bulk", "m:bulk/retries"}
    together = validated(PoolSettings, POOL | {"balancing": {"long_requests": "any-replica"}})
    assert clusters(parted, PutPool("m", together)) == {"m", "m/retries"}
    found = preview_view(preview(parted.plane, PutPool("m", together), parted.now), "m")["diff"]
    assert {(item["name"], item["after"]) for item in found if item["type_url"] == CLUSTER} == {
        ("m:bulk", None),
        ("m:bulk/retries", None),
    }
    assert clusters(measured(), Drain("m", "same")) == {"m", "m/retries"}


@given(JSONS, JSONS)
def test_documents_differ_somewhere_exactly_when_they_are_not_equal(a: object, b: object) -> None:
    def bare(value: object) -> object:
        """In protobuf's JSON nothing is null."""
        if isinstance(value, dict):
            return {key: bare(item) for key, item in value.items() if item is not None}
        return (
            [bare(each) for each in value if each is not None] if isinstance(value, list) else value
        )

    assert bool(list(differing(bare(a), bare(b)))) == (bare(a) != bare(b))


def test_what_is_put_in_is_one_difference() -> None:
    assert list(differing([1, 2, 3], [1, 9, 2, 3])) == [((1,), None, 9)]
    assert list(differing([1, 2, 2], [1, 2])) == [((2,), 2, None)]
    assert list(differing({"a": [1]}, {"a": [2]})) == [(("a", 0), 1, 2)]


async def test_a_replica_where_none_may_be_is_refused_in_a_dry_run_too() -> None:
    async with served(networks=["10.0.0.0/8"]) as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        path = "/v1/pools/m/replicas/z?dry_run=true"
        refused = await api.ask("PUT", path, json={"address": "127.0.0.1:9001"})
        assert "admin.networks" in refused.detail
        taken = await api.ask("PUT", path, json={"address": "10.0.0.1:9001"})
        assert taken.status == 200
