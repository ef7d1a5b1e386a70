"""Child processes: each has a log, none outlives us, and one that dies by itself is noticed.

A child is in a session of its own, so that a Ctrl-C reaches only us and we end the children in our
own order. When we are killed without a chance to do so, the kernel ends them.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from controlplane.tools.demo.errors import ChildDiedError

GRACE: Final = 4.0
"""Seconds from SIGTERM to SIGKILL: the control plane gives its open streams two."""

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Child:
    """A process that was started.

    Attributes:
        log: What it says, on both of its outputs.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path


class Processes:
    """Starts children; leaving the context ends them all."""

    def __init__(self, folder: Path, grace: float = GRACE) -> None:
        """Start nothing yet.

        Args:
            folder: For the logs.
            grace: Seconds that a child gets to end by itself.
        """
        self._folder = folder
        self._grace = grace
        self._waiting: dict[asyncio.Task[int], Child] = {}
        self._died: asyncio.Future[Child] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(
        self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a child and watch it.

        Args:
            name: Names it and its log.
            argv: What to run.
            environment: Added to ours.
        """
        log = self._folder / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=_ending_with_us(),
            )
        child = Child(name, process, log)
        task = asyncio.create_task(process.wait(), name=name)
        self._waiting[task] = child
        task.add_done_callback(self._ended)
        return child

    async def watch(self) -> None:
        """Wait until a child ends by itself, which is never good.

        Raises:
            ChildDiedError: With the end of its log.
        """
        child = await asyncio.shield(self._died)
        raise ChildDiedError(child.name, child.process.returncode or 0, child.log)

    async def stop(self) -> None:
        """Ask every child to end, and after the grace kill those that have not."""
        self._died.cancel()
        if not self._waiting:
            return
        for child in self._waiting.values():
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        _, left = await asyncio.wait(self._waiting, timeout=self._grace)
        for task in left:
            with contextlib.suppress(ProcessLookupError):
                self._waiting[task].process.kill()
        await asyncio.wait(self._waiting)
        self._waiting.clear()

    def _ended(self, task: asyncio.Task[int]) -> None:
        if not self._died.done():
            self._died.set_result(self._waiting[task])


def _ending_with_us() -> Callable[[], None] | None:
    """What a child does before it becomes its program, so that the kernel ends it after us."""
    if sys.platform != "linux":
        return None
    prctl, us = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # We may have died in the meantime; then no signal comes any more.
        if os.getppid() != us:
            os._exit(1)

    return tie
