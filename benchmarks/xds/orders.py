"""How the benchmark talks to its processes: an order on a line of JSON, an answer on another."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

Order = Mapping[str, Any]

PATIENCE: Final = 300.0
"""Seconds that an answer may take."""


class Process:
    """A process that was started, takes orders, and ends when its input does."""

    def __init__(self, started: asyncio.subprocess.Process) -> None:
        self._started = started
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._started.pid

    async def answer(self) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            RuntimeError: When the process has ended instead.
        """
        assert self._started.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self._started.stdout.readline()
        if not line:
            raise RuntimeError(f"a process of the benchmark ended: {await self._started.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    async def ask(self, do: str, **more: object) -> dict[str, Any]:
        """Give an order and wait until it is carried out."""
        assert self._started.stdin is not None
        async with self._turn:
            self._started.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
            return await self.answer()


@asynccontextmanager
async def process(*command: object) -> AsyncIterator[Process]:
    """Run a program of the benchmark for as long as the context is open."""
    started = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert started.stdin is not None
    try:
        yield Process(started)
    finally:
        started.stdin.close()
        try:
            await asyncio.wait_for(started.wait(), 10)
        except TimeoutError:
            started.kill()
            await started.wait()


async def obey(carry_out: Callable[[Order], Awaitable[Mapping[str, Any]]]) -> None:
    """In such a process: carry out one order after the other, until there are no more."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        say(await carry_out(json.loads(line)))


def say(answer: Mapping[str, Any]) -> None:
    """Answer an order."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
