"""The generator of the benchmark of balance, with the load of a scenario of this one.

Run as ``python -m benchmarks.failover.load``.
"""

from pathlib import Path
from typing import Final

import click

from benchmarks.balance.generator import play
from benchmarks.failover.scenarios import SCENARIOS
from benchmarks.worlds.traffic import arrivals

PATIENCE: Final = 15.0
"""Seconds after the last request for the answers. Who has none by then has waited for far longer
than any fault here takes to be seen."""

MOST: Final = 100_000
"""Requests without an answer: no run is cut."""


@click.command
@click.option("--ports", required=True, help="Of the proxies, separated by commas.")
@click.option("--scenario", required=True, type=click.Choice(list(SCENARIOS)))
@click.option("--seed", required=True, type=int)
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="For its files.")
def main(ports: str, scenario: str, seed: int, folder: Path) -> None:
    """Send load and write what came of it into a file."""
    of = SCENARIOS[scenario]
    schedule = list(arrivals(of.cell.scenario.traffic, seed, of.cell.rate, of.total))
    play(schedule, [int(port) for port in ports.split(",")], folder, MOST, PATIENCE)


if __name__ == "__main__":
    main()
