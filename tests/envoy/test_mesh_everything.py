"""Mutual TLS together with zones, classes, tiers and retries: each holds as it does alone."""

from contextlib import AsyncExitStack
from pathlib import Path

from controlplane.config import Address, Locality
from controlplane.resources.bootstrap import bootstrap
from tests.certificates import Authority
from tests.certificates import node as node_id
from tests.envoy.faulty import FaultyReplica
from tests.envoy.load import load
from tests.envoy.mesh import ingress, install, pool_id
from tests.envoy.pools import pool
from tests.processes import free_port, serving, started_envoy, until

POOL = "p"
ZONES = ("here", "here", "there", "there")
CLASSES = [{"name": "urgent", "match": {"header": {"name": "x-class", "value": "urgent"}}}]


async def test_a_zone_of_a_strict_pool_with_classes_is_lost_without_a_failed_request(
    tmp_path: Path,
) -> None:
    authority, replicas = Authority(), [FaultyReplica() for _ in ZONES]
    ports = [free_port() for _ in ZONES]
    entries = {
        f"r{i}": {
            "address": f"127.0.0.1:{replica.port}",
            "ingress": f"127.0.0.1:{ports[i]}",
            "locality": {"region": "eu", "zone": ZONES[i]},
        }
        for i, replica in enumerate(replicas)
    }
    entry = pool(
        POOL,
        entries,
        mesh={"mode": "strict", "clients": ["egress"]},
        classes=CLASSES,
        balancing={"locality": "nearest", "slow_start": None},
        metrics={"profile": "none"},
    )
    async with AsyncExitStack() as stack:
        for one in replicas:
            await one.start()
            stack.callback(one.die)
        plane = await stack.enter_async_context(serving(tmp_path, [entry]))
        for index, one in enumerate(replicas):
            secrets = install(authority, tmp_path / f"ingress-{index}-certs", pool_id(POOL))
            await stack.enter_async_context(
                ingress(
                    tmp_path,
                    plane.xds,
                    POOL,
                    ports[index],
                    f"127.0.0.1:{one.port}",
                    secrets,
                    f"ingress-{index}",
                )
            )
        listener = free_port()
        data = bootstrap(
            "egress",
            plane.xds,
            pools=[POOL],
            locality=Locality(region="eu", zone="here"),
            admin_port=free_port(),
            listen={POOL: Address("127.0.0.1", listener)},
            secrets=install(authority, tmp_path / "egress-certs", node_id("egress")),
        )
        egress = await stack.enter_async_context(
            started_envoy(tmp_path, "egress", data, {POOL: listener})
        )

        async def all_serve() -> bool:
            clusters = await egress.clusters()
            healthy = [
                await egress.healthy(cluster) for cluster in clusters if cluster.startswith(POOL)
            ]
            return len(healthy) == 4 and all(len(item) == len(ZONES) for item in healthy)

        await until("all replicas serve in all clusters", all_serve)

        async def stays() -> float:
            """The part of its requests that the zone of the egress keeps."""
            zones = (await plane.get(f"/v1/pools/{POOL}"))["zones"]
            # Of the class whose replicas are here; the other may have its own elsewhere.
            return float(max(zone["stays"] for zone in zones if zone["zone"] == "here"))

        async with (
            load(egress, POOL, workers=8, rate=50.0) as others,
            load(egress, POOL, workers=8, rate=50.0, headers={"x-class": "urgent"}) as urgent,
        ):

            async def both_go_on(count: int = 50) -> None:
                seen = others.total(), urgent.total()

                async def have_gone_on() -> bool:
                    return all(
                        now.total() > was + count
                        for now, was in zip((others, urgent), seen, strict=True)
                    )

                await until("requests of both classes are answered", have_gone_on)

            async def is_kept() -> bool:
                return await stays() > 0.9

            await until("the zone keeps its requests", is_kept)
            await both_go_on()
            for index in (0, 1):
                replicas[index].die()
                install(authority, tmp_path / "egress-certs", node_id("egress"))
                install(authority, tmp_path / f"ingress-{3 - index}-certs", pool_id(POOL))
                await both_go_on()

            async def is_lost() -> bool:
                return await stays() == 0

            await until("the control plane counts on nothing there", is_lost)
            await both_go_on()
        assert {*others} == {*urgent} == {200}
