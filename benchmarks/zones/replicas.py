"""A process with the replicas of one zone; ending it is the loss of the zone.

Run as ``python -m benchmarks.zones.replicas``.
"""

import asyncio
import gc
from functools import partial

import click

from benchmarks.balance.replicas import Connection, Fleet
from benchmarks.simulation.zones import SCENARIOS


@click.command
@click.option("--scenario", required=True, type=click.Choice(list(SCENARIOS)))
@click.option("--slowness", required=True, type=float, help="Times as long that requests take.")
@click.option("--zone", required=True, type=int)
@click.option("--host", required=True)
@click.option("--ports", required=True, help="One for each replica, separated by commas.")
def main(scenario: str, slowness: float, zone: int, host: str, ports: str) -> None:
    """Serve until terminated."""
    asyncio.run(_serve(scenario, slowness, zone, host, [int(port) for port in ports.split(",")]))


async def _serve(scenario: str, slowness: float, zone: int, host: str, ports: list[int]) -> None:
    zoned, loop = SCENARIOS[scenario], asyncio.get_running_loop()
    fleet = Fleet(zoned.scenario(scenario), slowness)
    members = [number for number, this in enumerate(zoned.zone_of) if this == zone]
    for number, port in zip(members, ports, strict=True):
        await loop.create_server(partial(Connection, fleet, number), host, port)
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
