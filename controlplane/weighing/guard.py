"""GPU memory as a guard: full weight below soft, less up to hard, cut at hard.

Used GPU memory is high by design (caching allocators), so it says nothing in proportion; it only
says when a replica is about to fail. Replicas on one GPU share its memory, also across pools.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import Final

from controlplane.settings.memory import MemorySettings
from controlplane.weighing.explanation import Step, percent
from controlplane.weighing.filling import Trail

LARGEST_CUT: Final = 0.3
"""Part of a pool's ready replicas that may be cut; more would move the load onto the rest until
they fail too. From two replicas on one may always be cut, and never the last one."""
LEAST: Final = 0.05
"""What is left of a replica at hard that may not be cut."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What the memory of a replica's GPU says about it.

    Attributes:
        fraction: In use, of the fullest GPU that it is on; None while unknown, which is not 0.
        wanted: It should be cut.
        cut: It is; fewer are than should be when too many would be.
        below_since: Since when the memory has been below soft, of one that should be cut.
        trail: What was in use lately, by `filling`.
        ahead: How much more will be in use by the time that less traffic shows.
    """

    fraction: float | None = None
    wanted: bool = False
    cut: bool = False
    below_since: float | None = None
    trail: Trail = ()
    ahead: float = 0.0


UNKNOWN: Final = Guard()
"""Of a replica of whose memory nobody has ever spoken."""


def watched(
    previous: Guard, fraction: float | None, memory: MemorySettings, patience: float, now: float
) -> Guard:
    """Take in what is known of a replica's memory.

    Args:
        previous: The guard before.
        fraction: Memory in use, 0 to 1; None when nobody said, which changes nothing.
        memory: Soft and hard.
        patience: Seconds that it must stay below soft before a cut ends.
        now: Seconds of a monotonic clock.
    """
    if fraction is None:
        if previous.fraction is None:
            return previous
        return Guard(None, previous.wanted, previous.cut)
    if fraction >= memory.hard:
        return Guard(fraction, wanted=True, cut=previous.cut)
    if not previous.wanted or fraction >= memory.soft:
        return Guard(fraction, previous.wanted, previous.cut)
    since = now if previous.below_since is None else previous.below_since
    if now - since >= patience:
        return Guard(fraction)
    return Guard(fraction, wanted=True, cut=previous.cut, below_since=since)


def most_cuts(ready: int) -> int:
    """How many of so many ready replicas may be cut."""
    return max(floor(LARGEST_CUT * ready), 1) if ready > 1 else 0


def within_limits(guards: Mapping[str, Guard], ready: Iterable[str]) -> dict[str, Guard]:
    """Cut as many of those that should be as a pool can spare.

    Those that are cut already stay so, then the fullest GPU comes first, then the id decides, so
    that the same state always cuts the same replicas. One that is not ready takes nothing from
    the pool.
    """
    if not any(guard.wanted or guard.cut for guard in guards.values()):
        return dict(guards)
    serving = set(ready)
    wanted = [id_ for id_, guard in guards.items() if guard.wanted and id_ in serving]
    wanted.sort(key=lambda id_: (not guards[id_].cut, -(guards[id_].fraction or 0.0), id_))
    cut = set(wanted[: most_cuts(len(serving))])
    found = {}
    for id_, guard in guards.items():
        is_cut = id_ in cut or (guard.wanted and id_ not in serving)
        found[id_] = guard if guard.cut == is_cut else replace(guard, cut=is_cut)
    return found


def by_memory(guard: Guard, memory: MemorySettings, before: float) -> tuple[float, Step | None]:
    """Less between soft and hard, in a straight line; a cut replica keeps what it would get.

    By what will be in use soon. Only what is in use cuts: that takes long to end.
    """
    fraction = guard.fraction
    if guard.cut:
        return before, Step("memory", before, before, _cut, (fraction, memory))
    if fraction is None or fraction + guard.ahead < memory.soft:
        return before, None
    left = max((memory.hard - fraction - guard.ahead) / (memory.hard - memory.soft), LEAST)
    after = before * left
    return after, Step("memory", before, after, _full, (fraction, guard.ahead, memory))


def _cut(fraction: float | None, memory: MemorySettings) -> str:
    seen = "not known now" if fraction is None else percent(fraction)
    soft, hard = percent(memory.soft), percent(memory.hard)
    return f"cut: GPU memory reached hard {hard} and is {seen}; it must stay below soft {soft}"


def _full(fraction: float, ahead: float, memory: MemorySettings) -> str:
    soft, hard = percent(memory.soft), percent(memory.hard)
    if ahead and fraction < memory.hard:
        soon = percent(min(fraction + ahead, 1.0))
        return f"GPU memory {percent(fraction)} fills and will be {soon} soon; soft is {soft}"
    if fraction < memory.hard:
        return f"GPU memory {percent(fraction)} is between soft {soft} and hard {hard}"
    return f"GPU memory {percent(fraction)} is over hard {hard}, but no more may be cut"
