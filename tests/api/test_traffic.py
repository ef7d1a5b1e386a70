"""What a pool does as a whole, its resources, who asks, and what Envoys send."""

import pytest

from controlplane.config import Role, Token
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.telemetry.load import Endpoint, Load
from controlplane.xds import Locality, NodeStatus
from tests.api.served import served
from tests.page.fleets import filled, live


async def test_a_pool_says_what_its_replicas_do_together() -> None:
    async with served() as api:
        await filled(api)
        traffic = (await api.ask("GET", "/v1/pools/m")).body["traffic"]
        assert traffic["rate_rps"] == pytest.approx(15.15)
        assert traffic["p50_ms"] < traffic["p99_ms"] <= 100
        assert (traffic["error_fraction"], traffic["queue"]) == (0.0, 3.0)
        capacity = sum(
            replica["capacity"]
            for replica in (await api.ask("GET", "/v1/pools/m")).body["replicas"]
        )
        assert traffic["capacity_rps"] == pytest.approx(capacity, rel=1e-4)
        await api.ask("POST", "/v1/pools/m/replicas/r0001/drain")
        less = (await api.ask("GET", "/v1/pools/m")).body["traffic"]["capacity_rps"]
        assert less < traffic["capacity_rps"]


async def test_its_last_hour_has_a_point_every_ten_seconds() -> None:
    async with served() as api:
        await filled(api)
        live(api, 60)
        told = (await api.ask("GET", "/v1/pools/m/history")).body
        ages = [point["age_s"] for point in told["points"]]
        assert ages == [85.0, 75.0, 65.0, 55.0, 45.0, 35.0, 25.0, 15.0, 5.0]
        assert told["points"][-1]["rate_rps"] == pytest.approx(15.15)
        recent = (await api.ask("GET", "/v1/pools/m/history?since=20s")).body["points"]
        assert [item["age_s"] for item in recent] == [15.0, 5.0]
        assert (await api.ask("GET", "/v1/pools/n/history")).status == 404


async def test_pools_are_listed_without_their_replicas_where_that_is_asked() -> None:
    async with served() as api:
        await filled(api)
        (whole,) = (await api.ask("GET", "/v1/pools")).body["pools"]
        (short,) = (await api.ask("GET", "/v1/pools?replicas=false")).body["pools"]
        assert (len(whole["replicas"]), short["replicas"]) == (3, [])
        assert (short["counts"], short["traffic"]) == (whole["counts"], whole["traffic"])


async def test_a_replica_in_short_has_what_a_table_needs() -> None:
    async with served() as api:
        await filled(api)
        (_, _, short) = (await api.ask("GET", "/v1/pools/m")).body["replicas"]
        whole = (await api.ask("GET", "/v1/pools/m/replicas/r0002")).body
        readings = whole["readings"]
        for key in ("rate_rps", "p50_ms", "p99_ms", "error_fraction", "queue"):
            assert short[key] == readings[key] is not None
        assert short["memory"] == readings["memory"][0]["fraction"] == 0.32
        assert (short["drained"], short["stale"]) == (False, False)


async def test_a_pool_is_shown_as_envoys_get_it() -> None:
    async with served() as api:
        await filled(api)
        found = (await api.ask("GET", "/v1/pools/m/resources")).body["resources"]
        assert found[CLUSTER]["m"]["name"] == "m"
        hosts = [
            lbEndpoint
            for group in found[ENDPOINT]["m"]["endpoints"]
            for lbEndpoint in group["lbEndpoints"]
        ]
        assert len(hosts) == 3
        assert (await api.ask("GET", "/v1/pools/n/resources")).status == 404


async def test_who_asks_is_told_with_which_role() -> None:
    async with served() as api:
        told = (await api.ask("GET", "/v1/whoami")).body
        assert (told["name"], told["role"], told["kind"]) == ("loopback", "operate", "loopback")
    token = Token.of("s3cret")
    async with served(tokens=[Token(name="wall", role=Role.READ, digest=token.digest)]) as api:
        assert (await api.ask("GET", "/v1/whoami")).status == 401
        headers = {"Authorization": "Bearer s3cret"}
        told = (await api.ask("GET", "/v1/whoami", headers=headers)).body
        assert (told["name"], told["role"], told["kind"]) == ("wall", "read", "token")


async def test_what_an_envoy_sends_is_told_with_it() -> None:
    async with served() as api:
        await filled(api)
        api.plane.senders.came("stream", "search-1", api.now)
        loads = {Endpoint("m", "10.0.0.1", 8080): Load(10, 0, 0)}
        api.plane.senders.reported("stream", loads, api.now + 2)
        for name in ("search-1", "search-2"):
            node = NodeStatus(name, "", Locality(), "envoy", "1.40.0", 0.0, ())
            api.nodes.append(node)
        sends = {
            item["id"]: item["sends"] for item in (await api.ask("GET", "/v1/nodes")).body["nodes"]
        }
        assert sends == {"search-1": {"m": 5.0}, "search-2": {}}
