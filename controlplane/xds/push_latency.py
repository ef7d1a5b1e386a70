"""How long changes take until every client that they concern has answered for them.

In come the changes, with the streams that must be sent something, and what each stream has caught
up with; out go durations. A client may be sent several changes at once (the newest wins), so it
answers for all changes up to a revision, not for each.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final

MAX_OPEN: Final = 64
"""Changes that may be under way at a time, 16 s of them at the push interval. A client that never
answers would otherwise keep every change open: the oldest is given up for a new one."""


@dataclass(slots=True)
class _Change:
    noticed_at: float
    waiting: int = 0
    answered: bool = False


class PushLatency:
    """The changes that some stream has not answered for yet.

    Each change costs a constant for each stream that it concerns, in time over its whole life; a
    stream keeps at most `MAX_OPEN` numbers. `given_up` counts changes given up for want of an
    answer.
    """

    def __init__(self) -> None:
        self.given_up = 0
        self._changes: dict[int, _Change] = {}
        self._behind: dict[Hashable, deque[int]] = {}
        self._newest = -1

    @property
    def streams_behind(self) -> int:
        """How many streams have not answered for every change that concerns them."""
        return len(self._behind)

    def concerns(self, stream: Hashable, revision: int) -> bool:
        """Whether the change of a revision, the newest, is one that a stream must answer for."""
        behind = self._behind.get(stream)
        return behind is not None and behind[-1] == revision

    def begin(self, revision: int, streams: Iterable[Hashable], noticed_at: float) -> None:
        """Note a change that is about to be sent.

        Args:
            revision: Greater than that of every change before, or a `ValueError` is raised.
            streams: That must be sent something for it; a stream that connects later gets the
                newest at once and does not count. Without any there is nothing to measure.
            noticed_at: When what led to the change was noticed, in monotonic seconds.
        """
        if revision <= self._newest:
            raise ValueError(f"revision {revision} does not follow {self._newest}")
        self._newest = revision
        change = _Change(noticed_at)
        for stream in streams:
            behind = self._behind.setdefault(stream, deque())
            if behind and behind[-1] == revision:
                continue
            # What was given up meanwhile is only dropped here, or giving up would cost a look at
            # every stream. It is always what is oldest.
            while behind and behind[0] not in self._changes:
                behind.popleft()
            behind.append(revision)
            change.waiting += 1
        if not change.waiting:
            return
        self._changes[revision] = change
        if len(self._changes) > MAX_OPEN:
            del self._changes[next(iter(self._changes))]
            self.given_up += 1

    def settled(self, stream: Hashable, revision: int, now: float) -> tuple[float, ...]:
        """Note what a stream has answered for; returns the seconds of each change now complete."""
        behind = self._behind.get(stream)
        done: list[float] = []
        while behind and behind[0] <= revision:
            change = self._changes.get(behind[0])
            if change is not None:
                change.answered = True
            done += self._without(behind.popleft(), now)
        if not behind:
            self._behind.pop(stream, None)
        return tuple(done)

    def gone(self, stream: Hashable, now: float) -> tuple[float, ...]:
        """Stop waiting for a stream. A change that no client answered is not measured."""
        done: list[float] = []
        for revision in self._behind.pop(stream, ()):
            done += self._without(revision, now)
        return tuple(done)

    def oldest(self, now: float) -> float:
        """Seconds since the notice of the oldest change that is under way; 0 when there is none."""
        for change in self._changes.values():
            return now - change.noticed_at
        return 0.0

    def _without(self, revision: int, now: float) -> tuple[float, ...]:
        change = self._changes.get(revision)
        if change is None:
            return ()
        change.waiting -= 1
        if change.waiting:
            return ()
        del self._changes[revision]
        return (now - change.noticed_at,) if change.answered else ()
