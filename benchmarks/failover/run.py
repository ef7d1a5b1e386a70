"""One run: start replicas and a contender, send the load, do the fault, end everything, sum up."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.balance.contender import Contender
from benchmarks.failover.acting import Acting
from benchmarks.failover.fleet import Fleet, fleet
from benchmarks.failover.measures import Cost, Seen, cost
from benchmarks.failover.scenarios import FAULT_AT, PATIENCE, Scenario
from benchmarks.generator import generating
from benchmarks.worlds.traffic import alike, arrivals

MOST = 100_000
"""Requests without an answer: no run is cut."""


async def run(
    contender: Contender,
    scenario: Scenario,
    seed: int,
    folder: Path,
    agreed: Callable[[], Awaitable[object]],
) -> Cost:
    """Run a contender once.

    Args:
        contender: Whom.
        scenario: What happens.
        seed: Of the load.
        folder: For config files and logs; must exist.
        agreed: Is awaited when all is ready, before the load begins.
    """
    async with (
        fleet(scenario, folder) as replicas,
        contender.start(folder, scenario.cell, replicas.addresses) as running,
    ):
        load = list(arrivals(alike(scenario.tokens), seed, scenario.cell.rate, scenario.total))
        acting = Acting(scenario, replicas, running)
        async with generating(
            running.ports, load, scenario.total, MOST, folder, PATIENCE
        ) as generator:
            await agreed()
            fault = generator.begin() + FAULT_AT
            acts = asyncio.create_task(acting.play(fault))
            try:
                outcome = await generator.outcome()
                await acts
                kept = acting.kept
            finally:
                acts.cancel()
                await acting.end()
        seen = Seen(await _reached(replicas, scenario), replicas.died(scenario.ended), kept)
    return cost(outcome, scenario, seen)


async def _reached(replicas: Fleet, scenario: Scenario) -> int | None:
    """What they have counted since the fault, where each was told something then."""
    told = {n for act in scenario.acts if act.at == 0 and "status" in act.do for n in act.to}
    return await replicas.reached() if len(told) == scenario.replicas else None
