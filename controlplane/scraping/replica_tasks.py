"""One task for each replica, so that one that hangs delays no other."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable
from typing import Any
from zlib import crc32

from controlplane.fleet import Change, Key
from controlplane.plane import Plane, Target
from controlplane.turns import Turns


class ReplicaTasks:
    """Follows the fleet; `run` it, and `reconcile` when the fleet has changed."""

    def __init__(
        self,
        plane: Plane,
        follow: Callable[[Target], Coroutine[Any, Any, None]],
        name: str,
        is_followed: Callable[[Target], bool] = lambda _: True,
    ) -> None:
        """Prepare.

        Args:
            follow: What the task of a replica does; it ends by itself where `is_followed` no longer
                holds, and is cancelled when there is another process in the replica's place.
            name: Of the tasks.
        """
        self._plane, self._follow, self._name = plane, follow, name
        self._is_followed = is_followed
        # By pool and replica id, with the generation that is followed.
        self._tasks: dict[tuple[str, str], tuple[int, asyncio.Task[None]]] = {}
        # What has changed since tasks were begun and ended last.
        self._dirty: set[Key] = {(name, None) for name in plane.fleet.pools}
        self._changed = asyncio.Event()
        self._changed.set()

    def __len__(self) -> int:
        return len(self._tasks)

    def reconcile(self, changes: Iterable[Change]) -> None:
        """Have tasks begin for new replicas and end for those that are gone."""
        self._dirty.update((change.pool, change.replica) for change in changes)
        self._changed.set()

    async def run(
        self, group: asyncio.TaskGroup, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Follow the fleet until cancelled; `changed` is called after every look at changes."""
        while await self._changed.wait():
            self._changed.clear()
            dirty, self._dirty = self._dirty, set()
            turns = Turns()
            for name, id_ in self._replicas(dirty):
                target = self._plane.target(name, id_)
                if target is not None and not self._is_followed(target):
                    target = None
                known = self._tasks.get((name, id_))
                if known and (target is None or target.replica.generation != known[0]):
                    del self._tasks[name, id_]
                    known[1].cancel()
                if target is not None and (name, id_) not in self._tasks:
                    task = group.create_task(
                        self._follow(target), name=f"{self._name} {target.key}"
                    )
                    self._tasks[name, id_] = target.replica.generation, task
                await turns.give_way()
            changed()

    def _replicas(self, dirty: Iterable[Key]) -> dict[tuple[str, str], None]:
        """Who may have to be followed from now on, or no longer: with a pool, all of it."""
        pools = {name for name, id_ in dirty if id_ is None}
        found = {(name, id_): None for name, id_ in dirty if id_ is not None}
        found |= {key: None for key in self._tasks if key[0] in pools}
        fleet = self._plane.fleet.pools
        return found | {
            (name, id_): None for name in pools if name in fleet for id_ in fleet[name].replicas
        }


class Pace:
    """When a replica is asked next, so that many that came together are spread over the interval.

    `due`: when that is to be, seconds of a clock.
    """

    def __init__(self, key: Hashable, now: float) -> None:
        """The first time is now."""
        # A fraction from ½ to 1½ that is the same for the same replica.
        self._part = 0.5 + crc32(repr(key).encode()) / 2**32
        self.due = now

    def wait(self, interval: float, now: float) -> float:
        """Seconds to wait from now on, at an interval."""
        self.due += interval * self._part
        self._part = 1.0
        # A late replica keeps its turn: all late ones would else be asked at once, for ever.
        self.due += max((now - self.due) // interval, 0.0) * interval
        return max(self.due - now, 0.0)
