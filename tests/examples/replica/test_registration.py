"""How a replica stays registered and how it leaves, with the real API over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from controlplane.config import Address
from controlplane.fleet import DeleteReplica, Drain, Draining, Replica
from embedding_replica.registration import Place, Registration
from tests.api.served import POOL, Served, served
from tests.processes import DEADLINE, free_port, until


@dataclass
class Member:
    """A registration whose sleeps the test counts and ends."""

    api: Served
    place: Place
    said: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    resume: asyncio.Event = field(default_factory=asyncio.Event)
    registration: Registration = field(init=False)
    keeping: asyncio.Task[None] = field(init=False)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.resume.wait()
        self.resume.clear()

    async def next(self) -> None:
        """Let it go on until it sleeps the next time."""
        count = len(self.slept)
        self.resume.set()

        async def asleep() -> bool:
            return len(self.slept) > count

        await until("it sleeps again", asleep)

    @property
    def known(self) -> Replica | None:
        return self.api.plane.fleet.pool("m").replicas.get("r")


@asynccontextmanager
async def member(token: str | None = None, port: int | None = None) -> AsyncIterator[Member]:
    """One that has asked once, of an API with pool m."""
    async with served(token=token) as api, aiohttp.ClientSession(trust_env=False) as session:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        await api.ask("PUT", "/v1/pools/m", json=POOL, headers=headers)
        where = Address("127.0.0.1", port) if port else api.address
        url = f"http://{where}/v1/pools/m/replicas/r"
        joining = Member(api, Place(url, "127.0.0.1:9001", 9.0, token=token))
        joining.registration = Registration(
            joining.place, session, joining.said.append, sleep=joining.sleep
        )
        joining.keeping = asyncio.create_task(joining.registration.keep())

        async def asked() -> bool:
            return bool(joining.slept)

        await until("it has asked", asked)
        try:
            yield joining
        finally:
            joining.keeping.cancel()
            await asyncio.gather(joining.keeping, return_exceptions=True)


async def test_it_registers_with_its_lease_and_says_which_process_it_is() -> None:
    async with member() as joining:
        assert joining.known is not None
        assert str(joining.known.settings.address) == "127.0.0.1:9001"
        assert joining.known.settings.ttl == 9.0
        assert joining.known.settings.instance == joining.place.instance
        assert joining.said == [f"registered at {joining.place.url}"]


async def test_it_renews_its_lease_long_before_that_runs_out() -> None:
    async with member() as joining:
        assert joining.slept == [3.0]
        joining.api.now += 3.0
        await joining.next()
        assert joining.known is not None
        assert joining.known.lease_until == joining.api.now + 9.0
        assert joining.slept == [3.0, 3.0]


async def test_it_registers_again_where_nobody_knows_of_it_any_more() -> None:
    async with member() as joining:
        joining.api.plane.apply(DeleteReplica("m", "r"), joining.api.now)
        await joining.next()
        assert joining.known is not None
        assert joining.said == [f"registered at {joining.place.url}"] * 2


async def test_it_registers_again_where_its_lease_was_taken_away() -> None:
    async with member() as joining:
        await joining.api.ask("PUT", "/v1/pools/m/replicas/r", json={"address": "127.0.0.1:9001"})
        await joining.next()
        assert joining.known is not None
        assert joining.known.settings.ttl == 9.0


async def test_two_processes_never_say_that_they_are_one() -> None:
    assert Place("u", "a", 1.0).instance != Place("u", "a", 1.0).instance


async def test_a_control_plane_that_is_down_is_asked_ever_more_rarely_and_named_once() -> None:
    async with member(port=free_port()) as joining:
        for _ in range(7):
            await joining.next()
        longest = [min(0.2 * 2**power, 3.0) for power in range(8)]
        assert all(w / 2 <= p <= w for w, p in zip(longest, joining.slept, strict=True)), (
            joining.slept
        )
        assert len(joining.said) == 1
        assert joining.said[0].endswith("trying again")


async def test_a_refusal_is_told_in_the_words_of_the_control_plane() -> None:
    async with member() as joining:
        await joining.api.ask("DELETE", "/v1/pools/m")
        await joining.next()
        assert "answered 404" in joining.said[-1]
        assert "there is no pool 'm'" in joining.said[-1]


async def test_it_shows_its_token() -> None:
    async with member(token="t" * 20) as joining:
        assert joining.known is not None


async def left(joining: Member, arrived: Callable[[], int], in_flight: Callable[[], int]) -> bool:
    """Have it leave, with sleeps that take no time."""
    joining.registration._sleep = asyncio.sleep
    async with asyncio.timeout(DEADLINE):
        return await joining.registration.leave(arrived, in_flight, 0.05)


async def test_it_drains_itself_and_deletes_itself() -> None:
    async with member() as joining:
        assert await left(joining, lambda: 0, lambda: 0)
        assert joining.known is not None
        assert joining.known.draining is Draining.OPERATOR
        await joining.registration.delete()
        assert joining.known is None


async def test_it_does_not_leave_while_requests_come_or_are_in_flight() -> None:
    async with member() as joining:
        arrived, in_flight = 0, 1
        leaving = asyncio.create_task(left(joining, lambda: arrived, lambda: in_flight))
        for _ in range(5):
            await asyncio.sleep(0.03)
            arrived += 1
        in_flight = 0
        for _ in range(5):
            await asyncio.sleep(0.01)
            arrived += 1
            assert not leaving.done()
        assert await leaving


async def test_while_it_leaves_its_lease_is_kept_and_it_does_not_register_again() -> None:
    async with member() as joining:
        joining.registration._is_leaving = True
        joining.api.plane.apply(Drain("m", "r"), joining.api.now)
        joining.api.now += 3.0
        await joining.next()
        assert joining.known is not None
        assert (joining.known.lease_until, joining.known.draining) == (
            joining.api.now + 9.0,
            Draining.OPERATOR,
        )
        joining.api.plane.apply(DeleteReplica("m", "r"), joining.api.now)
        await joining.next()
        assert joining.known is None


@pytest.mark.parametrize("gone", ["replica", "control plane"])
async def test_it_does_not_wait_to_be_drained_where_nobody_can(gone: str) -> None:
    async with member(port=free_port() if gone == "control plane" else None) as joining:
        if gone == "replica":
            joining.api.plane.apply(DeleteReplica("m", "r"), joining.api.now)
        assert not await left(joining, lambda: 0, lambda: 1)
