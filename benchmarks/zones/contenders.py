"""What is compared: replicas in, an Envoy for each client out, all of them ready."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.balance import static
from benchmarks.balance.contender import loopback, pairs
from benchmarks.machine import free_ports
from benchmarks.simulation.zones import ZONES, Zoned
from benchmarks.worlds.worlds import SLOTS
from controlplane.config import Address, Locality
from controlplane.resources.bootstrap import bootstrap
from tests.processes import Envoy, serving, started_envoy, until

POOL: Final = static.CLUSTER
_CLIENTS: Final = "clients"

Start = Callable[[Path, Zoned, Sequence[Address]], AbstractAsyncContextManager[list[Envoy]]]
"""Takes a folder for files, the scenario, and where its replicas serve."""


@asynccontextmanager
async def _envoys(
    folder: Path, bootstraps: Sequence[tuple[int, Mapping[str, Any]]], replicas: int
) -> AsyncIterator[list[Envoy]]:
    """Run Envoys, each with the port of its listener, until all use all replicas."""
    async with AsyncExitStack() as stack:
        running = [
            await stack.enter_async_context(
                started_envoy(folder, f"client-{number}", data, {POOL: port})
            )
            for number, (port, data) in enumerate(bootstraps)
        ]

        async def are_ready() -> bool:
            return all([len(await envoy.healthy(POOL)) == replicas for envoy in running])

        await until("all Envoys use all replicas", are_ready)
        yield running


@asynccontextmanager
async def plimsoll(
    locality: str,
    folder: Path,
    zoned: Zoned,
    replicas: Sequence[Address],
    *,
    declares: bool = True,
) -> AsyncIterator[list[Envoy]]:
    """``plimsoll serve``; all settings of the pool but ``locality`` are the defaults.

    Args:
        locality: The setting.
        folder: For files.
        zoned: The scenario.
        replicas: Where they serve.
        declares: Whether the pool says how many slots a replica has.
    """
    (listener,) = free_ports(1)
    pool = {
        "name": POOL,
        "model": "simulated",
        "listener": {"address": str(loopback(listener))},
        "balancing": {"locality": locality},
        "replicas": [
            {
                "id": f"r{number}",
                "address": str(address),
                **({"slots": SLOTS.slots} if declares else {}),
                "locality": _locality(zone),
            }
            for number, (address, zone) in enumerate(zip(replicas, zoned.zone_of, strict=True))
        ],
    }
    ports = pairs(free_ports(2 * len(zoned.zone_of_envoy)))
    async with serving(folder, [pool]) as plane:
        bootstraps = [
            (
                port,
                bootstrap(
                    f"client-{number}",
                    plane.xds,
                    pools=[POOL],
                    locality=Locality(**_locality(zone)),
                    admin_port=admin,
                    listen={POOL: loopback(port)},
                ),
            )
            for number, ((port, admin), zone) in enumerate(
                zip(ports, zoned.zone_of_envoy, strict=True)
            )
        ]
        async with _envoys(folder, bootstraps, len(replicas)) as running:
            yield running


@asynccontextmanager
async def alone(
    change: Callable[[dict[str, Any], dict[str, Any], Zoned, int, Sequence[int]], None],
    folder: Path,
    zoned: Zoned,
    replicas: Sequence[Address],
) -> AsyncIterator[list[Envoy]]:
    """Envoys with the replicas in their bootstrap.

    Args:
        change: Is given a bootstrap, the pool's cluster in it, the scenario, the zone of the Envoy,
            and the ports of all Envoys.
        folder: For files.
        zoned: The scenario.
        replicas: Where they serve.
    """
    ports, bootstraps = pairs(free_ports(2 * len(zoned.zone_of_envoy))), []
    for number, ((port, admin), zone) in enumerate(zip(ports, zoned.zone_of_envoy, strict=True)):
        data = static.bootstrap(static.TWO_CHOICES, replicas, loopback(port), loopback(admin))
        data["node"] = {
            "id": f"client-{number}",
            "cluster": _CLIENTS,
            "locality": _locality(zone),
        }
        (cluster,) = data["static_resources"]["clusters"]
        (whole,) = cluster["load_assignment"]["endpoints"]
        cluster["load_assignment"]["endpoints"] = [
            {
                "locality": _locality(this),
                "lb_endpoints": [
                    endpoint
                    for endpoint, of in zip(whole["lb_endpoints"], zoned.zone_of, strict=True)
                    if of == this
                ],
            }
            for this in range(len(ZONES))
        ]
        change(data, cluster, zoned, zone, [port for port, _ in ports])
        bootstraps.append((port, data))
    async with _envoys(folder, bootstraps, len(replicas)) as running:
        yield running


def _zone_aware(
    data: dict[str, Any], cluster: dict[str, Any], zoned: Zoned, _: int, ports: Sequence[int]
) -> None:
    """Envoy's zone-aware routing with its defaults; it must know where all clients are."""
    aware: dict[str, Any] = {"locality_lb_config": {"zone_aware_lb_config": {}}}
    cluster["load_balancing_policy"] = {
        "policies": [
            {
                "typed_extension_config": {
                    "name": "policy",
                    "typed_config": {**static.TWO_CHOICES, **aware},
                }
            }
        ]
    }
    localities = [
        {
            "locality": _locality(this),
            "lb_endpoints": [
                {
                    "endpoint": {
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}
                    }
                }
                for port, zone in zip(ports, zoned.zone_of_envoy, strict=True)
                if zone == this
            ],
        }
        for this in range(len(ZONES))
    ]
    data["cluster_manager"] = {"local_cluster_name": _CLIENTS}
    data["static_resources"]["clusters"].append(
        {
            "name": _CLIENTS,
            "type": "STATIC",
            "load_assignment": {"cluster_name": _CLIENTS, "endpoints": localities},
        }
    )


def _by_distance(
    _data: dict[str, Any], cluster: dict[str, Any], _zoned: Zoned, zone: int, _ports: Sequence[int]
) -> None:
    """Priorities by distance, as istiod makes them of Istio's locality failover."""
    localities = cluster["load_assignment"]["endpoints"]
    distances = [ZONES[zone].distance(place) for place in ZONES]
    for locality, distance in zip(localities, distances, strict=True):
        # A priority that has no locality would be refused.
        locality["priority"] = sorted({*distances}).index(distance)


def _locality(zone: int) -> dict[str, str]:
    return {"region": ZONES[zone].region, "zone": ZONES[zone].zone}


CONTENDERS: Final[Mapping[str, Start]] = {
    "Plimsoll, any": partial(plimsoll, "any"),
    "Envoy, priorities as of Istio": partial(alone, _by_distance),
    "Envoy, zone-aware routing": partial(alone, _zone_aware),
    "Plimsoll, nearest": partial(plimsoll, "nearest"),
    "Plimsoll, nearest, no slots": partial(plimsoll, "nearest", declares=False),
}
