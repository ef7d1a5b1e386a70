"""Who knows everything: Envoys that part requests by size, told the true capacities.

A reference beside which peers and Plimsoll are seen, and nobody that can be installed.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.balance import static
from benchmarks.balance.cell import Cell
from benchmarks.balance.contender import Running, loopback, pairs
from benchmarks.balance.envoys import envoys, pids
from benchmarks.balance.static import Part, Tier
from benchmarks.machine import free_ports
from benchmarks.simulation.fleet import Fleet
from benchmarks.simulation.peers import Router, Split
from benchmarks.simulation.told import Tiers
from controlplane.config import Address

SETTINGS: Final = (
    "Envoys with a static split by content-length, as the simulation's oracle has it: searches have"
    " some of the slowest replicas, bulk the others by equal slack, in tiers of the true capacities"
)


@asynccontextmanager
async def oracle(folder: Path, cell: Cell, replicas: Sequence[Address]) -> AsyncIterator[Running]:
    """Run Envoys that know all of it from their bootstrap."""
    ports = pairs(free_ports(2 * cell.sidecars))
    split = parts(cell)
    configs = [
        static.bootstrap(static.FULL_SCAN, replicas, loopback(port), loopback(admin), split)
        for port, admin in ports
    ]
    async with envoys(folder, cell.ready_at_first, static.CLUSTER, ports, configs) as running:
        yield Running([port for port, _ in ports], {"sidecars": pids(running)})


@asynccontextmanager
async def with_gateway(
    folder: Path, cell: Cell, replicas: Sequence[Address]
) -> AsyncIterator[Running]:
    """Run the same with one more Envoy, through which all sidecars send bulk requests."""
    gateway, *sidecars = pairs(free_ports(2 * cell.sidecars + 2))
    bulk, searches = parts(cell)
    through = replace(bulk, tiers=[Tier("gateway", 0, 1, (len(replicas),))])
    known = [*replicas, loopback(gateway[0])]
    configs = [
        static.bootstrap(static.FULL_SCAN, known, loopback(port), loopback(admin), each)
        for each, (port, admin) in (
            ([bulk, searches], gateway),
            *(([through, searches], ports) for ports in sidecars),
        )
    ]
    ports = [gateway, *sidecars]
    async with envoys(folder, cell.ready_at_first, static.CLUSTER, ports, configs) as running:
        yield Running(
            [port for port, _ in sidecars],
            {"sidecars": pids(running[1:]), "gateway": pids(running[:1])},
        )


def parts(cell: Cell) -> list[Part]:
    """The split of the simulation's oracle."""
    fleet = Fleet(cell.scenario, cell.sidecars, 1, Router)
    told = Split(fleet).decide(range(len(cell.scenario.speeds)), 0.0)
    return [
        Part(each.name, each.min_bytes, [*_tiers(each.first, 0), *_tiers(each.rest, 1)])
        for each in told.classes
    ]


def _tiers(tiers: Tiers, priority: int) -> list[Tier]:
    return [Tier(name, priority, weight, members) for name, (members, weight) in tiers.items()]
