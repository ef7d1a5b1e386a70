"""A registry on a real file whose disk fails, and waits, when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.fleet import AuditLog, Change, Fleet, PutPool, Rows, UnwrittenEntries, registered
from controlplane.plane import Plane
from controlplane.store import Registry, Store
from controlplane.store.database import Loaded
from controlplane.store.registry import TICK
from controlplane.store.tables import WriteError
from tests.fleet.fleets import pool_settings, put


class StubbornStore(Store):
    """A real store whose disk fails when it is told to, and waits when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fails = False
        self.writes: list[Rows] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def write(self, changes: Rows, audit: UnwrittenEntries | None = None) -> None:
        self.writes.append(changes)
        fails = self.fails
        await self.may_go_on.wait()
        if fails:
            raise WriteError("the disk is full")
        await super().write(changes, audit)


@dataclass
class Kept:
    """A registry on a real file, with a clock that the test sets."""

    store: StubbornStore
    plane: Plane
    path: Path
    now: float = 0.0
    changes: int = 0
    audit: AuditLog = field(default_factory=AuditLog)
    heard: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.registry = Registry(
            self.plane,
            self.store,
            self._changed,
            lambda: self.now,
            is_stored=True,
            audit=self.audit,
            wall_clock=lambda: 1e9 + self.now,
        )

    def _changed(self, _: Sequence[Change]) -> None:
        self.changes += 1
        self.heard()

    @property
    def fleet(self) -> Fleet:
        return self.plane.fleet

    async def ask(self, *commands: object, who: str = "somebody") -> None:
        for command in commands:
            await self.registry.apply(command, self.now, who=who)  # type: ignore[arg-type]

    def soon(self, command: object, who: str = "somebody") -> "asyncio.Task[None]":
        return asyncio.create_task(self.ask(command, who=who))

    async def writing(self, command: object, who: str = "somebody") -> "asyncio.Task[None]":
        """A command that has come as far as its write, which waits until `finish`."""
        self.store.may_go_on.clear()
        writes = len(self.store.writes)
        asked = self.soon(command, who)
        while len(self.store.writes) == writes:
            await asyncio.sleep(0)
        return asked

    def finish(self) -> None:
        """Let writes that wait go on."""
        self.store.may_go_on.set()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass with a look as often as usual."""
        until = self.now + seconds
        while self.now < until:
            self.now += TICK
            self.registry.look()
        await self.registry.close()

    async def is_kept(self) -> bool:
        """Whether what is seen is what a restart would find, and so is who has made it so."""
        await self.registry.close()
        found = await self.restarted()
        entries, _ = self.audit.page(10_000, None)
        return (found.registered, found.audit[::-1]) == (registered(self.fleet), entries)

    async def restarted(self) -> Loaded:
        """What a restart finds; nothing more can be written then."""
        await self.store.close()
        other = Store(self.path)
        found = await other.load()
        await other.close()
        return found


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[Kept]:
    path = folder / "plimsoll.db"
    store = StubbornStore(path)
    await store.load()
    here = Kept(store, Plane(0.0), path)
    yield here
    await here.registry.close()


async def with_pool(here: Kept, *ids: str, **more: object) -> None:
    await here.ask(PutPool("p", pool_settings()))
    await here.ask(*(put(id_, ord(id_), pool="p", **more) for id_ in ids))
