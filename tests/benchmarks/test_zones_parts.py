"""The parts of the benchmark of zones: what real Envoys make of a bootstrap, and its table."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from benchmarks.simulation.zones import Zoned
from benchmarks.zones.__main__ import Run, table
from benchmarks.zones.contenders import CONTENDERS, POOL
from controlplane.config.addresses import parse_address
from tests.processes import until
from tests.replica import replica

TWO = Zoned(((1.0,) * 2,) * 3, (1, 1, 1), 0.5)


@pytest.mark.parametrize("name", ["Envoy, zone-aware routing", "Envoy, priorities as of Istio"])
async def test_an_envoy_without_a_control_plane_keeps_requests_in_its_zone(
    tmp_path: Path, name: str
) -> None:
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(replica()) for _ in TWO.zone_of]
        at = [parse_address(fake.address) for fake in fakes]
        envoys = await stack.enter_async_context(CONTENDERS[name](tmp_path, TWO, at))

        async def stays() -> bool:
            before = [fake.served for fake in fakes]
            for _ in range(12):
                assert await envoys[1].post(POOL) == 200
            grown = [fake.served - had for fake, had in zip(fakes, before, strict=True)]
            return grown[2] + grown[3] == 12

        await until("requests stay in the zone", stays)


def test_ratios_are_to_the_first_contender_of_the_same_round() -> None:
    p99 = {"Plimsoll, any": (100.0, 400.0), "Plimsoll, nearest": (50.0, 100.0)}
    runs = [
        Run(
            "one zone lost",
            name,
            number,
            10.0,
            p99.get(name, (100.0, 400.0))[number],
            0.25,
            9,
            1,
            1.0,
        )
        for number in (0, 1)
        for name in CONTENDERS
    ]
    rows = table(runs).splitlines()
    assert "| one zone lost | Plimsoll, nearest | 10 | 75 | 0.38 × | 25% | 2 of 20 |" in rows
