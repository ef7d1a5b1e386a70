"""What a contender is: it starts proxies, and tells where they listen once all are ready."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.balance.cell import Cell
from controlplane.config import Address


async def nothing() -> Mapping[str, Any]:
    """Of a contender that learns nothing."""
    return {}


async def never() -> int:
    """Of a contender that changes nothing."""
    return 0


class Killable(Protocol):
    """A process that can be ended, and started again as it was."""

    async def kill(self) -> None:
        """End it without a chance to say goodbye."""

    async def start(self) -> None:
        """Start it again."""


@dataclass(frozen=True, slots=True)
class Running:
    """A contender whose proxies take requests.

    Attributes:
        ports: Of its proxies.
        pids: Its processes, by what they are.
        told: What it has learned so far, for the record.
        changes: How often a proxy has been told of other endpoints or weights so far.
        plane: Its control plane; None where it has none.
    """

    ports: Sequence[int]
    pids: Mapping[str, Sequence[int]]
    told: Callable[[], Awaitable[Mapping[str, Any]]] = nothing
    changes: Callable[[], Awaitable[int]] = never
    plane: Killable | None = None


Start = Callable[[Path, Cell, Sequence[Address]], AbstractAsyncContextManager[Running]]
"""Takes a folder for files, the cell, and where its replicas serve."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are compared.

    Attributes:
        name: As options and files call it.
        title: As tables call it.
        start: Runs it for as long as a context is open.
        settings: In words, what it was given beside addresses and health checks.
        proxy: What kind of proxy it is; those of one kind cost the same.
        only: The scenario that it is in; None: all.
    """

    name: str
    title: str
    start: Start
    settings: str
    proxy: str
    only: str | None = None

    def is_in(self, cell: Cell) -> bool:
        """Whether it is compared there."""
        return self.only in {None, cell.scenario.name}


def loopback(port: int) -> Address:
    """The address of a port here."""
    return Address("127.0.0.1", port)


def pairs(ports: Sequence[int]) -> list[tuple[int, int]]:
    """Two ports for each proxy."""
    return list(zip(ports[::2], ports[1::2], strict=True))
