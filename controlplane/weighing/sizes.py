"""Long requests to the fast replicas, short ones to all: which are long, and who gets them.

A long text on a slow replica is what the tail of a mixed pool is made of. So requests whose bodies
are longer than a threshold go to the fastest tiers only, and these get so much less of the short
ones that every replica keeps its share of the work (size-interval task assignment: Harchol-Balter,
Crovella and Murta, 1999). The threshold is in bytes, because that is what an Envoy sees of a
request before it chooses; the work is in tokens, because that is what a replica counts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.weighing.explanation import Step, percent
from controlplane.weighing.fast import Member, Seen, fast_replicas, part_of, share_of
from controlplane.weighing.long_part import NOTHING, Tally, multiple, part_beyond

BYTES_PER_TOKEN: Final = 4.0
"""Of English text, to begin with; the part that is measured corrects it."""
OF_FAST: Final = 0.65
"""Part of what the fast replicas can do that long requests are to be."""
MOST: Final = 0.5
"""Part of the work that long requests are to be at most."""
LOW, HIGH = 0.5, 1.5
"""Times that between which the threshold stays where it is."""
BRIM: Final = 0.95
"""Part of what the fast replicas can do from which on the threshold rises at once."""
STEP: Final = 1.35
"""Factor between two thresholds."""
SETTLED: Final = 2.0
"""Seconds after a change in which old requests are still on the way."""
ENOUGH: Final = 400.0
"""Requests from which on a part moves the threshold."""
PAUSE: Final = 10.0
"""Seconds between two changes of the threshold; twice as long after each time that it turned."""
LONGEST_PAUSE: Final = 600.0
FLOODED: Final = 3600.0
"""Seconds for which the threshold stays after it came down and everything was long: where all
requests are alike, there is nothing to find."""
QUANTUM: Final = 0.05
"""Steps in which the part counts: each one changes weights."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How requests are parted by their length.

    Attributes:
        threshold: Bytes from which on a request is long.
        fast: Ids of the replicas that long requests go to.
        part: Of the work that is long, 0 to 1.
        assumed: What that was taken for when the threshold was set.
        begun: From when on they are parted, seconds of a monotonic clock: Envoys first have to make
            themselves acquainted with where the long ones go.
        since: When the threshold was set, or when they were first parted.
        tally: Of what was done since.
        pause: Seconds until the threshold may change again.
        turned: Direction of the last change.
        seen: At the last reading, by id.
    """

    threshold: int
    fast: frozenset[str]
    part: float
    assumed: float
    begun: float
    since: float
    tally: Tally = NOTHING
    pause: float = PAUSE
    turned: int = 0
    seen: Mapping[str, Seen] = field(default_factory=dict)

    def is_in_force(self, now: float) -> bool:
        """Whether long requests go where they are to go."""
        return now >= self.begun

    def of_short(self, shares: Mapping[str, float], now: float) -> float:
        """What the fast replicas get of the short requests, relative to their share: 0 to 1.

        Args:
            shares: Of the pool's work, relative to the others, of those that may get requests.
            now: Seconds of a monotonic clock.
        """
        if not self.is_in_force(now):
            return 1.0
        return max(1 - self.part / max(part_of(shares, self.fast), 1e-9), 0.02)


def parted(
    previous: Sizes | None,
    members: Mapping[str, Member],
    told: Mapping[str, float],
    now: float,
    notice: float,
) -> Sizes | None:
    """Part requests by length, or leave them together.

    Args:
        previous: The last decision.
        members: That may get requests, by id.
        told: The weights by which Envoys share out short requests so far, by id.
        now: Seconds of a monotonic clock.
        notice: Seconds that Envoys need until they can part them.
    """
    fast = fast_replicas(members, previous.fast if previous else None)
    counting = [member for member in members.values() if member.band is not None]
    count = [member.seen is not None for member in counting]
    # Once they are parted, a newcomer that has not been read yet does not change that.
    if fast is None or not (any(count) if previous else all(count)):
        return None
    seen = {id_: member.seen for id_, member in members.items() if member.seen}
    if previous is None:
        lately = [member.tokens for member in counting if member.tokens]
        requests = math.fsum(count for _, count in lately)
        if not requests:
            return None
        mean = math.fsum(tokens * count for tokens, count in lately) / requests
        # Shares have a reserve by the square-root rule as long as requests are not parted.
        capacity = part_of({id_: member.carries for id_, member in members.items()}, fast)
        wanted = _wanted(capacity)
        threshold = _rounded(multiple(wanted) * BYTES_PER_TOKEN * mean)
        return Sizes(threshold, fast, wanted, wanted, now + notice, now + notice, seen=seen)
    capacity = share_of(members, fast)
    wanted = _wanted(capacity)
    found = _measured(previous, told, seen, now)
    if fast != previous.fast:
        found = replace(found, fast=fast, assumed=found.part, tally=NOTHING)
    if found.part > BRIM * capacity:
        # A fast replica has gone, or has become slow: the others cannot do all that was long.
        times = multiple(wanted) / multiple(found.part)
        return _afresh(found, times, wanted, now)
    return _moved(found, wanted, capacity, now)


def _wanted(capacity: float) -> float:
    return min(OF_FAST * capacity, MOST)


def _afresh(sizes: Sizes, times: float, part: float, now: float) -> Sizes:
    """With a threshold that is now set to so many times what it was, and what is assumed of it."""
    threshold = _rounded(sizes.threshold * times)
    return replace(sizes, threshold=threshold, part=part, assumed=part, since=now, tally=NOTHING)


def _measured(
    previous: Sizes, told: Mapping[str, float], seen: Mapping[str, Seen], now: float
) -> Sizes:
    """Add what was done since the last time."""
    if now - previous.since < SETTLED:
        return replace(previous, seen=seen)
    slow = total = requests = 0.0
    for id_, newest in seen.items():
        before = previous.seen.get(id_)
        if before is None or before.generation != newest.generation:
            continue
        tokens = max(newest.tokens - before.tokens, 0.0)
        total += tokens
        requests += max(newest.requests - before.requests, 0.0)
        slow += 0.0 if id_ in previous.fast else tokens
    to_slow = math.fsum(weight for id_, weight in told.items() if id_ not in previous.fast)
    if not total or not to_slow:
        return replace(previous, seen=seen)
    short = slow * math.fsum(told.values()) / to_slow
    return replace(previous, tally=previous.tally.plus(short, total, requests), seen=seen)


def _moved(sizes: Sizes, wanted: float, capacity: float, now: float) -> Sizes:
    """Take the part that was measured, and move the threshold where that is far off."""
    most, tally = BRIM * capacity, sizes.tally
    part = tally.part(sizes.assumed)
    sizes = replace(sizes, part=min(_quantised(sizes.part, part), most))
    floods = tally.surely_exceeds(most)
    may_move = tally.requests >= ENOUGH and now - sizes.since >= sizes.pause
    direction = 1 if floods or part > HIGH * wanted else -1 if part < LOW * wanted else 0
    if not direction or not (floods or may_move):
        return sizes
    turned = sizes.turned not in (0, direction)
    pause = min(sizes.pause * (2 if turned else 1), LONGEST_PAUSE)
    sizes = replace(sizes, pause=FLOODED if turned and floods else pause, turned=direction)
    times = STEP**direction
    return _afresh(sizes, times, min(part_beyond(multiple(part) * times), most), now)


def _quantised(previous: float, part: float) -> float:
    if abs(part - previous) < QUANTUM:
        return previous
    return round(part / QUANTUM) * QUANTUM


def _rounded(threshold: float) -> int:
    """To two digits: nobody is to take it for more exact than it is."""
    digits = len(str(int(threshold))) - 2
    return max(round(round(threshold), -digits) if digits > 0 else round(threshold), 1)


def sizes_step(sizes: Sizes, share: float, part: float) -> Step:
    """What to tell about a replica that long requests go to."""
    words = (
        f"requests from {sizes.threshold} bytes on, {percent(sizes.part)} of the work, go to the"
        " fast replicas alone, so these get fewer of the short ones"
    )
    return Step("long requests", share, share * part, words)
