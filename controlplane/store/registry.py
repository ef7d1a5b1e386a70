"""Every change of the fleet: on disk first, then for all to see, then answered.

What users ask for waits for the disk, several of them together for one commit, in their order.
Heartbeats, leases that run out, the config file and what sources find do not: nothing is lost with
them that cannot be had again, and they go on when the disk does not. What they change is written
when it can be. Who has made a change is in the audit log, written with it.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final

from controlplane import fleet as fleets
from controlplane.config import Config, SettingsError
from controlplane.fleet import (
    Applied,
    AuditEntry,
    AuditLog,
    Change,
    Command,
    DeleteReplica,
    Fleet,
    Heartbeat,
    Key,
    PutReplicas,
    Refused,
    differing_keys,
    keys_of_rows,
    rows,
)
from controlplane.fleet.audit import CONFIG_FILE, CONTROL_PLANE, DISCOVERY
from controlplane.plane import Plane
from controlplane.store.store import Outcome, Store, Waiting, Work, played
from controlplane.store.tables import Cause, WriteError
from controlplane.turns import Turns

_log = logging.getLogger("controlplane.audit")

TICK: Final = 0.25
"""Seconds between two looks at the leases; a longer time between them is a pause of ours."""

RETRY: Final = 5.0
"""Seconds after a failed write until what no request waits for is tried again."""

LOOK: Final = 1.0
"""Seconds between two looks at whether the file is still the one that was written."""

_CHANGES_AT_ONCE: Final = 50
"""Changes that are passed on in one piece; there may be as many as a pool has replicas."""

_TRIES: Final = 3
"""For a write to a lost file: it is found to be lost, another one is begun, all is written."""


class Registry:
    """Takes commands; `run` it for leases, and `close` it before its store."""

    def __init__(
        self,
        plane: Plane,
        store: Store,
        changed: Callable[[Sequence[Change]], None],
        clock: Callable[[], float],
        *,
        is_stored: bool,
        audit: AuditLog,
        wall_clock: Callable[[], float],
    ) -> None:
        """Prepare.

        Args:
            changed: Called with every change, but not for a renewed lease; must neither block nor
                raise.
            clock: The plane's.
            is_stored: Whether all that has to be in the store is there.
            audit: Takes each change with its author; all of it is in the store.
            wall_clock: Seconds since 1970, for the audit log.
        """
        self._audit, self._wall_clock = audit, wall_clock
        self._plane, self._store, self._changed, self._clock = plane, store, changed, clock
        # Keys to write; None: everything.
        self._unwritten: set[Key] | None = set() if is_stored else None
        # The fleet once everything that waits is on disk.
        self._head = plane.fleet
        self._waiting: list[Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        # Held by who changes the fleet in several turns, so that nobody else does meanwhile.
        self._changing = asyncio.Lock()
        self._looked = clock()
        self._retry_at = self._look_at = self._looked
        self._is_missing = plane.recovery.is_missing

    @property
    def waiting(self) -> int:
        """How many commands wait to be written."""
        return len(self._waiting)

    async def apply(
        self,
        command: Command,
        now: float,
        check: Callable[[Fleet], None] = lambda _fleet: None,
        who: str = CONTROL_PLANE,
    ) -> None:
        """Carry out a command at a time; when this returns, it outlives us.

        `check` refuses the fleet that the command is about to be applied to: earlier commands are
        in it, even if it is not shown yet.

        Raises:
            Refused: With the reason; nothing has changed. Also when it cannot be written.
            SettingsError: The settings of the file and of the API do not go together.
        """

        def work(fleet: Fleet) -> Applied:
            check(fleet)
            return fleets.apply(fleet, command, now)

        is_sign = isinstance(command, Heartbeat)
        async with self._changing:
            if isinstance(command, Heartbeat) and self._has_seen_lease(command):
                # A sign of life counts, disk or no disk.
                self._at_once(work, who)
                return
            waiting = Waiting(work, who, is_sign=is_sign)
            applied = waiting.on(self._head)
            waiting.is_kept = self._mark(applied) and not is_sign
            self._head = applied.fleet
            if waits := bool(waiting.is_kept or self._waiting or self._writing is not None):
                self._waiting.append(waiting)
                self._write_soon()
            else:
                self._adopt(applied, who)
        if waits:
            # The client may disconnect; its request is carried out all the same.
            waiting.done.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.shield(waiting.done)
        if isinstance(command, (PutReplicas, DeleteReplica)) and command.force:
            self._plane.recovery.release(command.pool)

    async def declare(self, config: Config) -> None:
        """Bring the fleet in line with a config file; raises as `fleet.declare` does."""
        work = partial(fleets.declare, config=config, now=self._clock())
        async with self._changing:
            # A file of ten thousand replicas takes half a second, and nobody else changes these.
            of_both = {id(each): each for each in (self._head, self._plane.fleet)}
            done = {key: await asyncio.to_thread(work, each) for key, each in of_both.items()}
            await self._in_turns(self._taken(lambda fleet: done[id(fleet)]), CONFIG_FILE)
            self._plane.discoveries.adopt(config.pools)
            self._plane.scrape_with(config.pools)
        await self.discover()

    async def discover(self) -> None:
        """Bring the fleet in line with what the sources have found."""
        async with self._changing:
            now = self._clock()
            await self._in_turns(
                self._taken(lambda fleet: self._plane.discovered(fleet, now)), DISCOVERY
            )
            self._plane.discoveries.taken_in()

    def look(self) -> None:
        """Have leases run out, and what could not be written tried again."""
        if self._changing.locked():
            return
        now, looked = self._clock(), self._looked
        self._looked = now
        self._at_once(lambda fleet: fleets.expire(fleet, now, looked), CONTROL_PLANE)
        is_behind = self._unwritten is None or self._unwritten or not self._audit.is_written
        if is_behind and now >= self._retry_at:
            self._write_soon()

    async def run(self) -> None:
        """Look at leases, and at the file, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            if self._clock() >= self._look_at:
                self._look_at = self._clock() + LOOK
                await self.look_at_file()
            self.look()

    async def look_at_file(self) -> None:
        """See that what is on disk is still there; if it is not, all is written anew."""
        # A first start looks like a loss, and Envoys must learn of what somebody changes then after
        # the next start: only what Envoys were seen to hold is missing.
        if (is_missing := self._plane.recovery.is_missing) is not self._is_missing:
            with suppress(WriteError):
                await self._store.note_loss(is_lost=is_missing)
                self._is_missing = is_missing
        # A write that is under way looks itself, and what it waits for is not waited for here.
        if self._writing is not None:
            return
        try:
            await self._store.look()
        except WriteError:
            self._unwritten = None
            self._audit.lost()

    async def close(self) -> None:
        """Wait until everything that can be written is."""
        self._write_soon()
        while self._writing is not None:
            await asyncio.shield(self._writing)

    def _has_seen_lease(self, sign: Heartbeat) -> bool:
        """Whether a replica has a lease for all to see, and not only once it is on disk."""
        pool = self._plane.fleet.pools.get(sign.pool)
        known = pool.replicas.get(sign.replica) if pool else None
        return known is not None and known.settings.ttl is not None

    def _mark(self, applied: Applied) -> bool:
        """Mark the keys of a change that must be written; returns whether there are any."""
        keys = set(keys_of_rows(applied.changes))
        if self._unwritten is not None:
            self._unwritten |= keys
        return bool(keys)

    def _at_once(self, work: Work, who: str) -> None:
        """Change the fleet that everybody sees, and the one that waiting changes lead to."""
        self._adopt(self._taken(work), who)

    def _taken(self, work: Work) -> Applied:
        """Change what will be, and return what everybody is to see."""
        is_idle = not self._waiting and self._writing is None
        head = None if is_idle else work(self._head)
        # The one that everybody sees comes last: the changes that are passed on are of this one.
        seen = work(self._plane.fleet)
        if head is not None:
            self._mark(head)
        self._mark(seen)
        self._head = (head or seen).fleet
        return seen

    def _adopt(self, applied: Applied, who: str) -> None:
        """Show a change, and note who made it."""
        self._note(
            self._audit.drafted([(who, change) for change in applied.changes], self._wall_clock())
        )
        self._show(applied)

    async def _in_turns(self, applied: Applied, who: str) -> None:
        """The same, passed on in pieces between which other tasks work; all is seen at once."""
        if applied.fleet is self._plane.fleet:
            return
        self._plane.adopt(applied, self._clock())
        turns, left = Turns(), iter(applied.changes)
        while some := tuple(islice(left, _CHANGES_AT_ONCE)):
            self._note(self._audit.drafted([(who, each) for each in some], self._wall_clock()))
            self._changed(some)
            await turns.give_way()

    def _note(self, entries: Sequence[AuditEntry]) -> None:
        self._audit.add(entries)
        for entry in entries:
            _log.info("%s", json.dumps(entry.data()))

    def _show(self, applied: Applied) -> None:
        if applied.fleet is self._plane.fleet:
            return
        self._plane.adopt(applied, self._clock())
        # A heartbeat concerns no other part.
        if applied.changes:
            self._changed(applied.changes)

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="writing")

    async def _write(self) -> None:
        """Write until there is nothing left that could be."""
        tries = 0
        try:
            while True:
                batch, self._waiting = self._waiting, []
                target, keys = self._head, self._unwritten
                self._unwritten = set()
                changes = rows(target, keys)
                at = self._wall_clock()
                failure: Exception | None = None
                try:
                    # If nothing comes between, this is what will be seen.
                    outcome = played(self._plane.fleet, batch)
                    drafts = self._audit.drafted(outcome.made, at)
                    audit = self._audit.unwritten(drafts)
                    if changes or audit.entries:
                        await self._store.write(changes, audit)
                except Exception as error:  # noqa: BLE001 - requests wait for an answer
                    failure = error
                async with self._changing:
                    if isinstance(failure, WriteError):
                        self._unwritten = None
                        tries += 1
                        if failure.cause in (Cause.LOST, Cause.DAMAGED) and tries < _TRIES:
                            self._audit.lost()
                            self._waiting = [*batch, *self._waiting]
                            continue
                        tries = 0
                        self._retry_at = self._clock() + RETRY
                        await self._refuse(batch, str(failure))
                        if not self._waiting:
                            return
                        continue
                    if failure is not None:
                        self._unwritten = None
                        await self._refuse(batch, f"a fault of the control plane: {failure!r}")
                        raise failure
                    tries = 0
                    if outcome.before is not self._plane.fleet:
                        # It may have taken its ground away; the next write takes it back.
                        outcome = played(self._plane.fleet, batch)
                        drafts = self._audit.drafted(outcome.made, at)
                    await self._answer(batch, outcome, drafts)
                    if target is not self._plane.fleet:
                        for _, step in outcome.steps:
                            keys = None if keys is None else keys | set(keys_of_rows(step.changes))
                        self._unwritten |= differing_keys(target, self._plane.fleet, keys)
                    self._audit.note_written(audit)
                    if not self._waiting:
                        self._head = self._plane.fleet
                        return
        finally:
            self._writing = None

    async def _answer(
        self, batch: Sequence[Waiting], outcome: Outcome, entries: Sequence[AuditEntry]
    ) -> None:
        """Show the outcome of a batch, and answer the requests that wait for it."""
        self._note(entries)
        turns = Turns()
        for waiting, applied in outcome.steps:
            waiting.context.run(self._show, applied)
            await turns.give_way()
        for waiting in batch:
            if (refused := outcome.refused.get(waiting.done)) is not None:
                waiting.done.set_exception(refused)
            elif not waiting.done.done():
                waiting.done.set_result(None)

    async def _refuse(self, batch: Sequence[Waiting], reason: str) -> None:
        """Forget what could not be written, except for what need not be."""
        later, self._waiting = self._waiting, []
        sentence = f"nothing can be kept at the moment, so nothing was changed: {reason}"
        others = []
        for waiting in batch:
            if waiting.needs_disk(self._plane.fleet):
                waiting.done.set_exception(Refused("unavailable", sentence))
            else:
                others.append(waiting)
        outcome = played(self._plane.fleet, others)
        await self._answer(others, outcome, self._audit.drafted(outcome.made, self._wall_clock()))
        self._head = self._plane.fleet
        for waiting in later:
            try:
                self._head = waiting.on(self._head).fleet
            except (Refused, SettingsError) as refused:
                waiting.done.set_exception(refused)
            else:
                self._waiting.append(waiting)
