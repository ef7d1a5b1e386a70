"""Pools with each balancing policy, what Envoy says is in force, and who answered."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from controlplane.config import Policy
from controlplane.resources.bootstrap import Protocol
from tests.envoy.pools import HEALTH_CHECK, pool_of
from tests.processes import Envoy, Plimsoll, serving, sidecar, until
from tests.replica import FakeReplica, replica

POOL: Final = "p"

BALANCING: Final[Mapping[Policy, dict[str, Any]]] = {
    "capacity-tiers": {},
    "weighted-least-request": {},
    "least-request": {},
    "round-robin": {},
    "client-side-weighted-round-robin": {},
    "ring-hash": {"hash": {"header": "x-user"}},
    "maglev": {"hash": {"header": "x-user"}},
}
"""What each policy cannot be without."""


def balancing(policy: Policy, **more: Any) -> dict[str, Any]:
    """The settings of a pool with this policy."""
    return {"policy": policy, **BALANCING[policy], **more}


async def in_force(envoy: Envoy) -> str:
    """The policy of the cluster that Envoy uses now; empty where it has none."""
    dump = await envoy.admin("/config_dump?resource=dynamic_active_clusters")
    for entry in (dump or {}).get("configs", ()):
        if entry["cluster"]["name"] == POOL:
            (policy,) = entry["cluster"]["load_balancing_policy"]["policies"]
            config = policy["typed_extension_config"]["typed_config"]
            name = config["@type"].rpartition(".")[2]
            marks = {"locality_lb_config", "active_request_bias"} & config.keys()
            return " ".join([name, *sorted(marks)])
    return ""


IN_FORCE: Final[Mapping[Policy, str]] = {
    "capacity-tiers": "LeastRequest locality_lb_config",
    "weighted-least-request": "LeastRequest active_request_bias",
    "least-request": "LeastRequest",
    "round-robin": "RoundRobin",
    "client-side-weighted-round-robin": "ClientSideWeightedRoundRobin",
    "ring-hash": "RingHash",
    "maglev": "Maglev",
}
"""As `in_force` says them."""


async def becomes(envoy: Envoy, policy: Policy) -> None:
    """Wait until a policy is in force."""

    async def is_in_force() -> bool:
        return await in_force(envoy) == IN_FORCE[policy]

    await until(f"{policy} is in force", is_in_force)


async def becomes_hashed(envoy: Envoy) -> None:
    """Wait until what is hashed is in the route as well, which comes after the cluster."""

    async def is_hashed() -> bool:
        dump = await envoy.admin("/config_dump?resource=dynamic_route_configs")
        return "hash_policy" in str(dump)

    await until("the route hashes", is_hashed)


@asynccontextmanager
async def balanced(
    folder: Path,
    policy: Policy,
    count: int,
    protocol: Protocol = "delta",
    *,
    trusted_proxies: int = 0,
    health_check: Mapping[str, str] = HEALTH_CHECK,
    **more: Any,
) -> AsyncIterator[tuple[Plimsoll, Envoy, dict[str, FakeReplica]]]:
    """A control plane and an Envoy with a pool of so many replicas, all of them healthy.

    Args:
        folder: For their files.
        policy: Of the pool.
        count: Of replicas, which are called r0, r1 and so on.
        protocol: Of the Envoy.
        trusted_proxies: That stand before it.
        health_check: Of the pool.
        more: Further settings for balancing.
    """
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(replica()) for _ in range(count)]
        checked = dict(health_check)
        declared = pool_of(POOL, *fakes, balancing=balancing(policy, **more), health_check=checked)
        plane = await stack.enter_async_context(serving(folder, [declared]))
        envoy = await stack.enter_async_context(
            sidecar(folder, plane.xds, [POOL], protocol=protocol, trusted_proxies=trusted_proxies)
        )
        replicas = {f"r{i}": fake for i, fake in enumerate(fakes)}

        async def is_served() -> bool:
            return await envoy.healthy(POOL) == {*replicas} and await envoy.post(POOL) == 200

        await until("Envoy has all replicas", is_served)
        await becomes(envoy, policy)
        yield plane, envoy, replicas


async def answering(
    envoy: Envoy, replicas: Mapping[str, FakeReplica], headers: Mapping[str, str] | None = None
) -> str:
    """The id of the replica that answers a request."""
    status, answered = await envoy.ask(POOL, headers=headers)
    assert status == 200
    (found,) = [id_ for id_, item in replicas.items() if item.address == answered["x-replica"]]
    return found
