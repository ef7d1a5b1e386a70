"""Run child processes: each has a log, none outlives this process, and an early death is reported.

A child is in a session of its own, so that Ctrl-C reaches only this process, which ends the
children in its own order. When this process is killed, the kernel ends them.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

GRACE: Final = 4.0
"""Seconds from SIGTERM to SIGKILL: the control plane gives its open streams two."""

_PR_SET_PDEATHSIG: Final = 1

_TAIL: Final = 15
"""Lines of the log of a child that ended."""


class DemoError(Exception):
    """Why a demonstration cannot start or go on; the text is one sentence for the user."""


class ChildDiedError(DemoError):
    """A child process ended by itself."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        tail = _tail(log)
        output = f"; the end of its log:\n{tail}" if tail else "; its log is empty"
        super().__init__(f"{name} ended {how}{output}")
        self.name = name


def _tail(log: Path) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-_TAIL:])


@dataclass(frozen=True, slots=True)
class Child:
    """A running child process."""

    name: str
    process: asyncio.subprocess.Process
    log: Path


class Processes:
    """Starts children; leaving the context ends them all."""

    def __init__(self, folder: Path, grace: float = GRACE) -> None:
        """Start nothing yet."""
        self._folder = folder
        self._grace = grace
        self._waiting: dict[asyncio.Task[int], Child] = {}
        self._died: asyncio.Future[Child] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, name: str, argv: Sequence[str]) -> Child:
        """Start a child and watch it."""
        log = self._folder / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_ending_with_us(),
            )
        child = Child(name, process, log)
        task = asyncio.create_task(process.wait(), name=name)
        self._waiting[task] = child
        task.add_done_callback(self._ended)
        return child

    async def watch(self) -> None:
        """Wait until a child ends by itself, which is an error."""
        child = await asyncio.shield(self._died)
        raise ChildDiedError(child.name, child.process.returncode or 0, child.log)

    async def stop(self) -> None:
        """Ask every child to end, and kill those that have not ended after the grace."""
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
    """Return what a child runs before its program, so that the kernel ends it with this process."""
    if sys.platform != "linux":
        return None
    prctl, us = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # This process may have died in the meantime; then no signal comes any more.
        if os.getppid() != us:
            os._exit(1)

    return tie
