"""On disk first, then seen, then answered; and what goes on when the disk does not."""

import asyncio
from contextvars import ContextVar
from pathlib import Path

import pytest

from controlplane.fleet import (
    DeleteReplica,
    Drain,
    Draining,
    Fleet,
    Heartbeat,
    PutReplica,
    PutReplicas,
    Refused,
)
from controlplane.store.registry import RETRY, TICK
from tests.fleet.fleets import file, ports, put, replica
from tests.store.stubborn import Kept, kept, with_pool


async def test_what_was_answered_is_on_disk(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", "b", "c")
        await here.ask(Drain("p", "a"), DeleteReplica("p", "b"))
        assert ports(here.fleet) == {"a": 97, "c": 99}
        assert await here.is_kept()


async def test_nothing_is_seen_before_it_is_on_disk(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        asked = await here.writing(put("a", 1))
        assert ports(here.fleet) == {}
        assert not asked.done()
        here.finish()
        await asked
        assert ports(here.fleet) == {"a": 1}


async def test_those_who_wait_share_a_commit_in_their_order(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        first = await here.writing(put("a", 1))
        others = [here.soon(item) for item in (put("b", 2), put("b", 2, slots=4), Drain("p", "a"))]
        await asyncio.sleep(0)
        here.finish()
        await asyncio.gather(first, *others)
        assert len(here.store.writes) == 3
        assert replica(here.fleet, "b").settings.slots == 4
        assert replica(here.fleet, "a").draining is Draining.OPERATOR
        assert await here.is_kept()


async def test_a_command_is_held_against_those_that_still_wait(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        here.store.may_go_on.clear()
        first = here.soon(put("a", 1))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match=r"address 127\.0\.0\.1:1 is already that of replica 'a'"):
            await here.ask(put("b", 1))
        here.finish()
        await first


async def test_what_a_command_is_checked_against_is_what_it_is_applied_to(tmp_path: Path) -> None:
    def fresh(fleet: Fleet) -> None:
        if "a" in ports(fleet):
            raise Refused("conflict", "somebody was faster")

    async with kept(tmp_path) as here:
        await with_pool(here)
        here.store.may_go_on.clear()
        first = here.soon(put("a", 1))
        await asyncio.sleep(0)
        assert ports(here.fleet) == {}
        with pytest.raises(Refused, match="somebody was faster"):
            await here.registry.apply(put("a", 2), here.now, fresh)
        here.finish()
        await first
        assert ports(here.fleet) == {"a": 1}


async def test_a_command_whose_check_fails_while_it_waits_is_refused(tmp_path: Path) -> None:
    def small(fleet: Fleet) -> None:
        if len(ports(fleet)) > 1:
            raise Refused("conflict", "there are two already")

    async with kept(tmp_path) as here:
        await here.registry.declare(file(p={"a": 1}))
        here.store.may_go_on.clear()
        asked = asyncio.create_task(here.registry.apply(put("b", 2), here.now, small))
        await asyncio.sleep(0)
        await here.registry.declare(file(p={"a": 1, "c": 3}))
        here.finish()
        with pytest.raises(Refused, match="there are two already"):
            await asked
        assert ports(here.fleet) == {"a": 1, "c": 3}
        await here.pass_time(TICK)
        assert await here.is_kept()


async def test_many_put_at_once_are_one_transaction(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        await here.ask(PutReplicas("p", {id_: put(id_, ord(id_)).settings for id_ in "abc"}))
        assert set(here.store.writes[-1].replicas) == {("p", id_) for id_ in "abc"}
        assert len(here.store.writes) == 2
        assert await here.is_kept()


async def test_what_cannot_be_written_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a")
        here.store.fails, before = True, here.fleet
        with pytest.raises(Refused, match="nothing was changed: the disk is full") as refused:
            await here.ask(put("b", 2))
        assert refused.value.kind == "unavailable"
        assert here.fleet is before
        here.store.fails = False
        await here.ask(put("c", 3))
        # Nobody knows what a write that failed has left.
        assert here.store.writes[-1].everything
        assert set(ports(here.fleet)) == {"a", "c"}
        assert await here.is_kept()


@pytest.mark.parametrize("again", [put("b", 2), put("b", 2, slots=4)], ids=["same", "other"])
async def test_what_was_asked_for_twice_is_not_answered_by_a_write_that_failed(
    tmp_path: Path, again: PutReplica
) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a")
        here.store.fails, before = True, here.fleet
        first = await here.writing(put("a", 1))
        # A client that has waited for too long asks for the same again.
        others = [here.soon(item) for item in (put("a", 1), put("b", 2), again)]
        await asyncio.sleep(0)
        here.finish()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        kinds = [answer.kind for answer in answers if isinstance(answer, Refused)]
        assert kinds == ["unavailable"] * 4
        assert here.fleet is before


async def test_what_is_there_already_is_answered_though_nothing_can_be_written(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a")
        here.store.fails = True
        failing, same = here.soon(put("b", 2)), here.soon(put("a", 97))
        first, second = await asyncio.gather(failing, same, return_exceptions=True)
        assert (type(first), second) == (Refused, None)


async def test_all_who_wait_for_one_write_are_refused_and_those_behind_are_tried(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        here.store.fails = True
        asked = [await here.writing(put("a", 1))]
        asked += [here.soon(put("b", 2)), here.soon(Drain("p", "a"))]
        await asyncio.sleep(0)
        here.store.fails = False
        here.finish()
        first, second, third = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, Refused)
        # What it would have drained was never put.
        assert isinstance(third, Refused)
        assert third.kind == "not found"
        assert second is None
        assert ports(here.fleet) == {"b": 2}
        assert await here.is_kept()


async def test_whoever_goes_away_is_served_all_the_same(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        asked = here.soon(put("a", 1))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        await here.registry.close()
        assert ports(here.fleet) == {"a": 1}


async def test_what_nobody_waits_for_is_tried_again_only_now_and_then(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        here.store.fails = True
        await here.registry.declare(file(p={"a": 1}))
        await here.pass_time(TICK)
        writes = len(here.store.writes)

        async def look_for(seconds: float) -> int:
            until = here.now + seconds
            while here.now < until:
                here.now += TICK
                here.registry.look()
                while here.registry._writing is not None:
                    await asyncio.sleep(0)
            return len(here.store.writes) - writes

        assert await look_for(RETRY - 2 * TICK) == 0
        assert await look_for(2 * TICK) == 1


async def test_a_changed_file_is_used_when_the_disk_fails(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        here.store.fails = True
        await here.registry.declare(file(p={"a": 1}))
        assert ports(here.fleet) == {"a": 1}
        assert here.changes == 1


async def test_other_tasks_run_before_and_after_a_large_file_is_seen(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        large = file(p={f"r{number}": number + 1 for number in range(3000)})
        taken_in = asyncio.create_task(here.registry.declare(large))
        turns = {False: 0, True: 0}
        while not taken_in.done():
            await asyncio.sleep(0)
            turns["p" in here.fleet.pools] += 1
        assert turns[False] >= 3
        assert turns[True] >= 3


async def test_a_file_that_changes_while_somebody_waits_is_used_and_so_is_the_request(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(file(p={"a": 1}))
        here.store.may_go_on.clear()
        asked = here.soon(put("b", 2))
        await asyncio.sleep(0)
        await here.registry.declare(file(p={"a": 1, "c": 3}))
        assert ports(here.fleet) == {"a": 1, "c": 3}
        drained = here.soon(Drain("p", "b"))
        await asyncio.sleep(0)
        here.finish()
        await asyncio.gather(asked, drained)
        assert ports(here.fleet) == {"a": 1, "b": 2, "c": 3}
        assert await here.is_kept()


async def test_each_change_is_told_in_the_context_of_its_request(tmp_path: Path) -> None:
    asked = ContextVar("asked", default="")
    heard: list[str] = []

    async def ask(here: Kept, name: str) -> None:
        asked.set(name)
        await here.ask(put(name, ord(name)))

    async with kept(tmp_path) as here:
        await with_pool(here)
        here.heard = lambda: heard.append(asked.get())
        here.store.may_go_on.clear()
        # The first begins a write, and the others wait for the next one.
        tasks = [asyncio.create_task(ask(here, name)) for name in "abc"]
        await asyncio.sleep(0)
        here.finish()
        await asyncio.gather(*tasks)
    assert heard == ["a", "b", "c"]


async def test_every_change_is_told_but_a_renewed_lease(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", ttl="30s")
        assert here.changes == 2
        await here.ask(Heartbeat("p", "a"))
        assert here.changes == 2
        await here.pass_time(29)
        assert here.changes == 2
        await here.pass_time(2)
        assert here.changes == 3
        # One that was drained gets requests again.
        await here.ask(Heartbeat("p", "a"))
        assert here.changes == 4
