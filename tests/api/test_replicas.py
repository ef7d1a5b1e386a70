"""Replicas over the API."""

import pytest

from controlplane.config import ReplicaSettings
from controlplane.fleet import (
    TOGETHER,
    Command,
    DeletePool,
    DeleteReplica,
    Draining,
    expire,
)
from controlplane.plane import Failure, Probe
from controlplane.telemetry.load import Endpoint, Load
from tests.api.served import POOL, REPLICA, Served, served
from tests.planes import report


async def one(api: Served, id_: str = "a") -> dict[str, object]:
    body = (await api.ask("GET", f"/v1/pools/m/replicas/{id_}")).body
    assert isinstance(body, dict)
    return body


async def why(api: Served, id_: str = "a") -> str:
    sentences = (await one(api, id_))["why"]
    assert isinstance(sentences, list)
    return "\n".join(sentences)


async def test_a_new_replica_is_created_and_decided_about_at_once() -> None:
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        created = await api.ask("PUT", "/v1/pools/m/replicas/a", json=REPLICA | {"slots": 2})
        assert created.status == 201
        assert created.body["slots"] == 2
        assert created.body["tier"] is not None
        assert (await one(api)) == created.body


async def test_the_same_replica_put_again_keeps_its_generation() -> None:
    async with served() as api:
        await api.filled()
        again = await api.ask("PUT", "/v1/pools/m/replicas/a", json=REPLICA | {"id": "a"})
        assert (again.status, again.body["generation"]) == (200, 1)


async def test_the_settings_that_the_api_shows_can_be_put_back() -> None:
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        body = REPLICA | {
            "ttl": "90s",
            "gpu": {"uuid": "GPU-1"},
            "labels": {"rack": "7"},
            "locality": {"region": "eu"},
        }
        shown = await api.ask("PUT", "/v1/pools/m/replicas/a", json=body)
        settings = api.plane.fleet.pool("m").replica("a").settings
        declared = {key: shown.body[key] for key in ReplicaSettings.model_fields}
        await api.ask("PUT", "/v1/pools/m/replicas/a", json=declared)
        assert api.plane.fleet.pool("m").replica("a").settings == settings


async def test_even_the_last_replica_can_be_deleted_by_name() -> None:
    async with served() as api:
        await api.filled()
        for id_ in "ab":
            assert (await api.ask("DELETE", f"/v1/pools/m/replicas/{id_}")).status == 204
            api.now += TOGETHER
        assert (await api.ask("GET", "/v1/pools/m/replicas")).body["replicas"] == []
        assert (await api.ask("DELETE", "/v1/pools/m/replicas/a")).status == 404


async def test_most_of_a_pool_cannot_be_deleted_in_quick_succession_unless_forced() -> None:
    async with served() as api:
        await api.filled()
        assert (await api.ask("DELETE", "/v1/pools/m/replicas/a")).status == 204
        refused = await api.ask("DELETE", "/v1/pools/m/replicas/b")
        assert refused.status == 409
        assert refused.detail == (
            "pool 'm' would have lost 2 of 2 replicas within 10 s; drain them first, wait, or force"
            " it"
        )
        assert "pointer" not in refused.body
        assert (await api.ask("DELETE", "/v1/pools/m/replicas/b?force=yes")).status == 400
        assert (await api.ask("DELETE", "/v1/pools/m/replicas/b?force=true")).status == 204


async def test_an_address_under_two_ids_is_a_conflict() -> None:
    async with served() as api:
        await api.filled()
        before = api.plane.fleet
        answer = await api.ask("PUT", "/v1/pools/m/replicas/c", json=REPLICA)
        assert answer.status == 409
        assert answer.detail == "address 127.0.0.1:9001 is already that of replica 'a'"
        assert answer.body["pointer"] == "/address"
        assert (api.plane.fleet, api.changes) == (before, 0)


async def test_a_drained_replica_says_so_until_it_is_undrained() -> None:
    async with served() as api:
        await api.filled()
        drained = await api.ask("POST", "/v1/pools/m/replicas/a/drain")
        assert (drained.status, drained.body["draining"]) == (200, "operator")
        assert "Drained by an operator" in await why(api)
        undrained = await api.ask("POST", "/v1/pools/m/replicas/a/undrain")
        assert (undrained.status, undrained.body["draining"]) == (200, None)


async def test_a_heartbeat_renews_the_lease() -> None:
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        await api.ask("PUT", "/v1/pools/m/replicas/a", json=REPLICA | {"ttl": "30s"})
        api.now += 20
        assert (await one(api))["lease_left_s"] == 10.0
        beat = await api.ask("POST", "/v1/pools/m/replicas/a/heartbeat")
        assert (beat.status, beat.body["lease_left_s"]) == (200, 30.0)


async def test_a_heartbeat_cannot_be_tried_out_and_a_try_renews_nothing() -> None:
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        await api.ask("PUT", "/v1/pools/m/replicas/a", json=REPLICA | {"ttl": "30s"})
        api.now += 20
        tried = await api.ask("POST", "/v1/pools/m/replicas/a/heartbeat?dry_run=true")
        assert (tried.status, tried.body["parameter"]) == (400, "dry_run")
        assert (await one(api))["lease_left_s"] == 10.0


async def test_a_heartbeat_without_a_ttl_is_a_conflict() -> None:
    async with served() as api:
        await api.filled()
        answer = await api.ask("POST", "/v1/pools/m/replicas/a/heartbeat")
        assert (answer.status, api.changes) == (409, 0)


async def test_a_lease_that_ran_out_says_how_long_a_heartbeat_can_save_it() -> None:
    async with served() as api:
        await api.ask("PUT", "/v1/pools/m", json=POOL)
        await api.ask("PUT", "/v1/pools/m/replicas/a", json=REPLICA | {"ttl": "30s"})
        api.now += 30
        api.plane.adopt(expire(api.plane.fleet, api.now), api.now)
        api.now += 4
        assert api.plane.fleet.pool("m").replica("a").draining is Draining.LEASE
        assert "its lease ran out 4 s ago" in await why(api)
        assert "unless a heartbeat comes within 6 s" in await why(api)


async def test_every_change_is_told_once_and_nothing_else_is() -> None:
    async with served() as api:
        await api.filled()
        for method, path in (
            ("POST", "/v1/pools/m/replicas/a/drain"),
            ("POST", "/v1/pools/m/replicas/q/drain"),
            ("GET", "/v1/pools/m/replicas"),
            ("DELETE", "/v1/pools/m/replicas/a"),
            ("DELETE", "/v1/pools/m/replicas/a"),
        ):
            await api.ask(method, path)
        assert api.changes == 2


async def test_a_replica_that_is_not_ready_says_why_envoy_does_not_know_it() -> None:
    async with served() as api:
        await api.filled()
        api.plane.probed(api.target("a"), Probe.UNHEALTHY, api.now)
        api.now += 12
        shown = await one(api)
        assert (shown["state"], shown["state_for_s"]) == ("starting", 12.0)
        assert (await why(api)).startswith(
            "Not known to Envoy yet: its health check /health at 127.0.0.1:9001 has not answered"
            " 200 for 12 s"
        )


@pytest.mark.parametrize(
    ("probe", "upstream", "said"),
    [
        (Probe.UNHEALTHY, {}, "does not answer 200"),
        (Probe.UNREACHABLE, {}, "gets no answer;"),
        (Probe.UNREACHABLE, {"tls": {"ca": "system"}}, "gets no answer over TLS;"),
    ],
)
async def test_a_replica_that_fails_its_health_check_says_how(
    probe: Probe, upstream: dict[str, object], said: str
) -> None:
    async with served() as api:
        await api.filled()
        await api.ask("PUT", "/v1/pools/m", json=POOL | {"upstream": upstream})
        api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
        for _ in range(2):
            api.now += 10
            api.plane.probed(api.target("a"), probe, api.now)
        assert (await one(api))["state"] == "unhealthy"
        assert f"its health check /health at 127.0.0.1:9001 {said}" in await why(api)


async def test_a_replica_that_nobody_listens_for_says_since_when() -> None:
    async with served() as api:
        await api.filled()
        api.plane.probed(api.target("a"), Probe.HEALTHY, api.now)
        api.plane.record(api.target("a"), Failure("connection refused", refused=True), api.now)
        api.plane.decide(api.now)
        api.now += 3
        shown = await one(api)
        assert (shown["state"], shown["shown_to_envoy"]) == ("gone", True)
        assert "Gone for 3 s: 127.0.0.1:9001 refused a connection" in await why(api)


async def test_a_drained_replica_says_how_many_requests_it_still_has() -> None:
    async with served() as api:
        await api.filled()
        load = Load(in_progress=3, succeeded=1, failed=0)
        report(api.plane, "envoy", {Endpoint("m", "127.0.0.1", 9001): load}, 1.0, api.now)
        drained = await api.ask("POST", "/v1/pools/m/replicas/a/drain")
        assert drained.body["in_flight"] == 3
        assert "3 of its requests still in flight" in await why(api)


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("PUT", "/v1/pools/m", "pool 'm'"),
        ("PUT", "/v1/pools/m/replicas/a", "replica 'a'"),
        ("POST", "/v1/pools/m/replicas/a/drain", "replica 'a'"),
        ("POST", "/v1/pools/m/replicas/a/undrain", "replica 'a'"),
    ],
)
async def test_who_changes_what_another_client_removes_at_once_is_told_so(
    method: str, path: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served() as api:
        await api.filled()
        apply = api.plane.apply

        def apply_and_remove(command: Command, now: float) -> object:
            changes = apply(command, now)
            apply(DeletePool("m") if "pool" in what else DeleteReplica("m", "a", force=True), now)
            return changes

        monkeypatch.setattr(api.plane, "apply", apply_and_remove)
        bodies = {"/v1/pools/m": POOL | {"model": "x"}, "/v1/pools/m/replicas/a": REPLICA}
        answer = await api.ask(method, path, json=bodies.get(path))
        assert (answer.status, answer.detail) == (
            409,
            f"{what} was changed, and another client has removed it since",
        )
