"""Destructive commands: they ask on a terminal, elsewhere they need ``--yes``."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from tests.api.served import Served, served
from tests.cli.answering import run
from tests.cli.terminal import Terminal, terminal_of
from tests.processes import DEADLINE, command


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as here:
        yield await here.filled()


async def typed(api: Served, answer: str, *arguments: str) -> tuple[int, str]:
    """Call it on a terminal and answer what it asks; returns the exit code and what was seen."""
    ours, theirs = terminal_of(24, 80)
    url = ("--url", f"http://{api.address}")
    async with (
        asyncio.timeout(DEADLINE),
        command(theirs, *arguments, *url, stdin=theirs) as process,
    ):
        os.close(theirs)
        terminal = Terminal(ours)
        try:
            await terminal.says(r"\[y/N\]")
            os.write(ours, answer.encode())
            return await process.wait(), terminal.plain()
        finally:
            asyncio.get_running_loop().remove_reader(ours)
            os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (("replicas", "remove", "m", "a"), "Remove m/a?"),
        (("replicas", "drain", "m", "a"), "Drain m/a?"),
        (("pools", "remove", "m"), "Remove pool m with its replicas?"),
    ],
)
async def test_on_a_terminal_it_asks_and_no_leaves_all_as_it_is(
    api: Served, arguments: tuple[str, ...], question: str
) -> None:
    code, seen = await typed(api, "n\n", *arguments)
    assert code == 130
    assert question in seen
    assert api.changes == 0


async def test_on_a_terminal_yes_does_it(api: Served) -> None:
    code, _ = await typed(api, "y\n", "replicas", "remove", "m", "a")
    assert code == 0
    assert list(api.plane.fleet.pool("m").replicas) == ["b"]


async def test_draining_can_be_taken_back_so_scripts_need_not_say_yes(api: Served) -> None:
    assert (await run(api, "replicas", "drain", "m", "a")).exit_code == 0
    assert (await run(api, "replicas", "drain", "m", "b", "--yes")).exit_code == 0
    assert all(replica.draining for replica in api.plane.fleet.pool("m").replicas.values())


async def test_force_removes_what_the_guard_of_the_pool_keeps(api: Served) -> None:
    assert (await run(api, "replicas", "remove", "m", "a", "--yes")).exit_code == 0
    kept = await run(api, "replicas", "remove", "m", "b", "--yes")
    assert kept.exit_code == 1
    assert "force it" in kept.stderr
    gone = await run(api, "replicas", "remove", "m", "b", "--yes", "--force", "--json")
    assert (gone.exit_code, gone.stdout.split()[-2:]) == (0, ["true", "}"])
    assert not api.plane.fleet.pool("m").replicas
