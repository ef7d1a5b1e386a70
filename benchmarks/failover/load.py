"""The generator of the benchmark of balance, with requests that are all alike.

Run as ``python -m benchmarks.failover.load``.
"""

from pathlib import Path
from typing import Final

import click

from benchmarks.balance.generator import play
from benchmarks.failover.scenarios import PATIENCE
from benchmarks.worlds.traffic import alike, arrivals

MOST: Final = 100_000
"""Requests without an answer: no run is cut."""


@click.command
@click.option("--ports", required=True, help="Of the proxies, separated by commas.")
@click.option("--tokens", required=True, type=int, help="Of each request.")
@click.option("--rate", required=True, type=float, help="Requests per second.")
@click.option("--seconds", required=True, type=float)
@click.option("--seed", required=True, type=int)
@click.option("--folder", required=True, type=click.Path(path_type=Path), help="For its files.")
def main(ports: str, tokens: int, rate: float, seconds: float, seed: int, folder: Path) -> None:
    """Send load and write what came of it into a file."""
    schedule = list(arrivals(alike(tokens), seed, rate, seconds))
    play(schedule, [int(port) for port in ports.split(",")], folder, MOST, PATIENCE)


if __name__ == "__main__":
    main()
