"""A generator in a process of its own: started, told when to begin, and asked what it saw."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.balance.generator import BEGIN, OUTCOME, READY
from benchmarks.balance.outcome import Outcome, decode
from tests.processes import process, until

LEAD: Final = 0.3
"""Seconds until the load begins, for the generator to see that it does."""


@dataclass(frozen=True, slots=True)
class Generating:
    """A generator that waits to be told when to begin."""

    started: asyncio.subprocess.Process
    folder: Path

    def begin(self) -> float:
        """Let it begin; returns when it will, on the monotonic clock."""
        at = time.monotonic() + LEAD
        unseen = self.folder / "begin.part"
        unseen.write_text(repr(at))
        unseen.rename(self.folder / BEGIN)
        return at

    async def outcome(self) -> Outcome:
        """What came of it, once it has ended."""
        if await self.started.wait() != 0:
            raise RuntimeError(f"the generator failed; see {self.folder / 'generator.log'}")
        return decode((self.folder / OUTCOME).read_text())


@asynccontextmanager
async def generating(
    module: str, arguments: Sequence[str], folder: Path
) -> AsyncIterator[Generating]:
    """Start a generator; opens when it is ready to begin.

    Args:
        module: That is run, and ends in `generator.play`.
        arguments: Of it, beside the folder.
        folder: For its files.
    """
    command = (sys.executable, "-m", module, *arguments, "--folder", str(folder))

    async def is_ready() -> bool:
        return started.returncode is not None or (folder / READY).exists()

    async with process(*command, log=folder / "generator.log") as started:
        await until(f"the generator is ready; see {folder}", is_ready)
        yield Generating(started, folder)
