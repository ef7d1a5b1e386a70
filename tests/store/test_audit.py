"""Who has changed what: in one transaction with the change, in order, bounded, and as log lines."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from controlplane.fleet import Drain, Heartbeat, Refused, Undrain
from controlplane.store.registry import RETRY, TICK
from tests.fleet.fleets import file, put, replica
from tests.store.stubborn import Kept, kept, with_pool
from tests.store.test_found import FOLDER, find


def said(here: Kept) -> list[tuple[str, str, str | None]]:
    """Who has changed what, the oldest first."""
    entries, _ = here.audit.page(10_000, None)
    return [(item["who"], item["change"], item["replica"]) for item in map(data, entries[::-1])]


def data(entry: Any) -> dict[str, Any]:
    found: dict[str, Any] = entry.data()
    return found


async def test_who_has_made_a_change_is_in_the_transaction_of_the_change(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        writes = len(here.store.writes)
        await here.ask(put("a", 1), who="gpu-7")
        assert len(here.store.writes) == writes + 1
        # Nothing is written any more: it is as after a kill.
        newest = (await here.restarted()).audit[-1]
        assert data(newest) | {"after": None} == {
            "number": 2,
            "at": "2001-09-09T01:46:40.000+00:00",
            "who": "gpu-7",
            "change": "added",
            "pool": "p",
            "replica": "a",
            "before": None,
            "after": None,
        }
        assert data(newest)["after"]["address"] == "127.0.0.1:1"


async def test_nothing_is_noted_before_it_is_on_disk_and_what_cannot_be_written_never_is(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        here.store.fails = True
        asked = await here.writing(put("a", 1))
        assert len(said(here)) == 1
        here.finish()
        with pytest.raises(Refused):
            await asked
        assert len(said(here)) == 1
        here.store.fails = False
        await here.ask(put("b", 2))
        assert said(here)[1:] == [("somebody", "added", "b")]
        assert await here.is_kept()


async def test_those_who_share_a_commit_are_each_named_in_their_order(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here)
        asked = [await here.writing(put("a", 1), "x")]
        asked += [here.soon(Drain("p", "a"), "y"), here.soon(Undrain("p", "a"), "z")]
        await asyncio.sleep(0)
        here.finish()
        await asyncio.gather(*asked)
        assert said(here)[1:] == [("x", "added", "a"), ("y", "changed", "a"), ("z", "changed", "a")]
        assert await here.is_kept()


async def test_what_nobody_waited_for_is_noted_and_written_soon(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(FOLDER)
        await find(here, 1)
        await here.ask(put("a", 2, ttl="30s"), who="gpu-7")
        await here.pass_time(31)
        await here.ask(Heartbeat("p", "a"), who="gpu-7")
        assert replica(here.fleet, "a").draining is None
        assert said(here) == [
            ("config file", "added", None),
            ("discovery", "added", "f1"),
            ("gpu-7", "added", "a"),
            ("control plane", "changed", "a"),
            ("gpu-7", "changed", "a"),
        ]
        await here.pass_time(TICK)
        assert await here.is_kept()


async def test_what_changes_nothing_is_not_noted(tmp_path: Path) -> None:
    async with kept(tmp_path) as here:
        await with_pool(here, "a", ttl="30s")
        known = said(here)
        await here.ask(put("a", ord("a"), ttl="30s"), Heartbeat("p", "a"), Undrain("p", "a"))
        assert said(here) == known


async def test_while_the_disk_fails_all_is_noted_and_written_when_it_can_be(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        here.store.fails = True
        await here.registry.declare(file(p={"a": 1}))
        await here.pass_time(TICK)
        assert said(here) == [("config file", "added", None), ("config file", "added", "a")]
        here.store.fails = False
        await here.pass_time(RETRY + TICK)
        assert await here.is_kept()


async def test_what_comes_between_a_write_and_its_answer_is_noted_before_it(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(file(p={"a": 1}))
        await here.pass_time(TICK)
        asked = await here.writing(put("b", 2))
        await here.registry.declare(file(p={"a": 1, "c": 3}))
        here.finish()
        await asked
        assert said(here)[2:] == [("config file", "added", "c"), ("somebody", "added", "b")]
        await here.pass_time(TICK)
        assert await here.is_kept()


async def test_of_what_was_overtaken_while_it_was_written_nothing_is_left_on_disk(
    tmp_path: Path,
) -> None:
    async with kept(tmp_path) as here:
        await here.registry.declare(file(p={"a": 1, "b": 2, "c": 3}))
        await here.pass_time(TICK)
        asked = await here.writing(Drain("p", "a"))
        await here.registry.declare(file(p={"b": 2, "c": 3}))
        here.finish()
        with pytest.raises(Refused):
            await asked
        assert said(here)[4:] == [("config file", "removed", "a")]
        await here.pass_time(TICK)
        assert await here.is_kept()


async def test_every_change_leaves_one_line_of_json(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "controlplane.audit")
    async with kept(tmp_path) as here:
        await with_pool(here, "a")
        caplog.clear()
        await here.ask(Drain("p", "a"))
        lines = [
            record.getMessage() for record in caplog.records if record.name == "controlplane.audit"
        ]
        (line,) = map(json.loads, lines)
        assert line == here.audit.page(1, None)[0][0].data()
