"""Heartbeats and leases go on whether or not the disk does."""

import asyncio
from pathlib import Path

from controlplane.fleet import (
    Draining,
    Heartbeat,
    Refused,
)
from controlplane.store.registry import RETRY, TICK
from tests.fleet.fleets import ports, put, replica
from tests.store.stubborn import kept, with_pool


async def test_heartbeats_write_nothing(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", ttl="30s")
        writes = len(here.store.writes)
        for _ in range(10):
            await here.pass_time(10)
            await here.ask(Heartbeat("p", "a"))
        await here.pass_time(1)
        assert len(here.store.writes) == writes
        assert replica(here.fleet).lease_until == 130


async def test_heartbeats_go_on_when_the_disk_does_not(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", ttl="30s")
        await here.pass_time(31)
        assert replica(here.fleet).draining is Draining.LEASE
        here.store.fails = True
        await here.ask(Heartbeat("p", "a"))
        assert replica(here.fleet).draining is None


async def test_a_heartbeat_among_writes_that_fail_counts(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", ttl="30s")
        here.store.fails, here.now = True, 10.0
        failing, beat = here.soon(put("b", 2)), here.soon(Heartbeat("p", "a"))
        first, second = await asyncio.gather(failing, beat, return_exceptions=True)
        assert (type(first), second) == (Refused, None)
        assert replica(here.fleet).lease_until == 40


async def test_heartbeats_go_on_while_a_write_does_not_end(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", "b", "c", ttl="10s")
        writing = await here.writing(put("d", 1))
        until = here.now + 45
        while here.now < until:
            here.now += TICK
            if here.now % 1 == 0:
                await asyncio.gather(*(here.soon(Heartbeat("p", item)) for item in "abc"))
            here.registry.look()
        assert {each.draining for each in here.fleet.pool("p").replicas.values()} == {None}
        here.finish()
        await writing
        assert await here.is_kept()


async def test_a_heartbeat_of_who_is_not_seen_yet_waits_for_the_disk(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        writing = await here.writing(put("a", 1, ttl="10s"))
        beat = here.soon(Heartbeat("p", "a"))
        await asyncio.sleep(0)
        assert not beat.done()
        here.finish()
        await asyncio.gather(writing, beat)


async def test_leases_run_out_when_the_disk_fails_and_that_is_written_later(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "b")
        await here.ask(put("a", 1, ttl="30s"))
        here.store.fails = True
        await here.pass_time(45)
        assert ports(here.fleet) == {"b": 98}
        here.store.fails = False
        await here.pass_time(RETRY + TICK)
        assert await here.is_kept()


async def test_a_pause_of_ours_costs_no_lease(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", "b", "c", ttl="30s")
        await here.ask(put("d", 1), put("e", 2), put("f", 3))
        await here.pass_time(25)
        here.now += 60
        here.registry.look()
        assert replica(here.fleet).lease_until == 90
        await here.pass_time(4)
        assert {item.draining for item in here.fleet.pool("p").replicas.values()} == {None}
