"""What sources find goes through the registry as everything does, and waits for no disk."""

import asyncio
from pathlib import Path

from controlplane.fleet import Drain, Draining
from controlplane.store.registry import RETRY, TICK
from tests.fleet.fleets import file, ports, put, replica, replica_settings
from tests.store.stubborn import Kept, kept

FOLDER = file(p={}, sources={"p": ("one",)})


async def find(here: Kept, *ports_: int) -> None:
    """A folder is found to have replicas at these ports."""
    answer = {f"f{port}": replica_settings(port) for port in ports_}
    here.plane.discoveries.found("p", "directory one", answer, None, here.now)
    await here.registry.discover()


async def test_what_is_found_is_seen_at_once_and_kept(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(FOLDER)
        await find(here, 1, 2)
        assert ports(here.fleet) == {"f1": 1, "f2": 2}
        before = here.fleet
        await find(here, 1, 2)
        assert here.fleet is before
        await here.pass_time(TICK)
        assert await here.is_kept()


async def test_what_is_found_while_somebody_waits_is_there_and_so_is_what_was_asked_for(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(FOLDER)
        here.store.may_go_on.clear()
        # It was put at an address that the folder has as well.
        asked = here.soon(put("mine", 2))
        await asyncio.sleep(0)
        await find(here, 1, 2)
        assert ports(here.fleet) == {"f1": 1, "f2": 2}
        drained = here.soon(Drain("p", "f1"))
        await asyncio.sleep(0)
        here.finish()
        await asyncio.gather(asked, drained)
        assert ports(here.fleet) == {"f1": 1, "mine": 2}
        assert replica(here.fleet, "f1").draining is Draining.OPERATOR
        await here.pass_time(TICK)
        assert await here.is_kept()


async def test_what_is_found_is_used_when_the_disk_fails(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(FOLDER)
        here.store.fails = True
        await find(here, 1)
        assert ports(here.fleet) == {"f1": 1}
        here.store.fails = False
        await here.pass_time(RETRY + TICK)
        assert await here.is_kept()
