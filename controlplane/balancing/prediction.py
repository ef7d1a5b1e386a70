"""What the p99 of a class of requests would be on some replicas: a formula, to compare by.

A class brings a rate of requests and a distribution of their sizes; a group is m like replicas. The
formula is that of an M/G/c queue (Allen and Cunneen's approximation with Sakasegawa's exponent), in
which a batch counts as one server, corrected for dispatchers that each see a part of the traffic.
Its constants are fitted to simulated runs of nine mixes with 1 and 12 dispatchers; how far it is
from what comes out there is in docs/decisions/0022-parting.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

REGULAR: Final = 0.4
"""Squared coefficient of variation of one dispatcher's requests to a replica: tiers take turns."""
MERGED: Final = 0.3
"""Power of the number of dispatchers with which their requests together become a Poisson stream."""
BLIND: Final = 1.0
"""Requests² that each further dispatcher sends to one replica more than to another, at the 99th
percentile."""
BURSTY: Final = 8.0
"""The same of each request in the queue, where sizes are unlike, times their variation."""
BUSY: Final = 0.7
"""Utilisation up to which a short request waits for the batch it arrives in and no more."""
FULL: Final = 0.97
"""Utilisation from which on a queue only grows."""
NEVER: Final = 1e6
"""Seconds: what a request takes where the queue grows for ever."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Requests that go to a set of replicas.

    Attributes:
        rate: Requests per second.
        mean: Their mean tokens, above 0.
        square: Their mean squared tokens.
        long: Tokens of a long one of them (p99).
    """

    rate: float
    mean: float
    square: float
    long: float

    @property
    def tokens(self) -> float:
        """Tokens per second."""
        return self.rate * self.mean

    def plus(self, other: "Flow") -> "Flow":
        """Both together."""
        rate = self.rate + other.rate
        if rate <= 0:
            return self
        mean = (self.tokens + other.tokens) / rate
        square = (self.rate * self.square + other.rate * other.square) / rate
        return Flow(rate, mean, square, max(self.long, other.long))

    def part(self, share: float) -> "Flow":
        """A part of it, 0 to 1."""
        return Flow(self.rate * share, self.mean, self.square, self.long)


@dataclass(frozen=True, slots=True)
class Group:
    """Like replicas.

    Attributes:
        count: How many, m.
        capacity: Tokens per second that each carries.
        start: Seconds that starting a batch takes; 0 where nothing is batched.
        budget: Tokens of a full batch; one request where nothing is batched.
        slots: Requests that each computes at a time; 1 where they are batched.
        are_batches: Whether requests are computed in batches.
    """

    count: int
    capacity: float
    start: float
    budget: float
    slots: float
    are_batches: bool

    @property
    def per_token(self) -> float:
        """Seconds that a token takes, beside the start of its batch."""
        if not self.are_batches:
            return self.slots / self.capacity
        return max(1 / self.capacity - self.start / self.budget, 0.1 / self.capacity)

    def own(self, tokens: float) -> float:
        """Seconds that a request of so many tokens takes alone."""
        starts = math.ceil(tokens / self.budget) if self.are_batches else 1
        return self.start * starts + self.per_token * tokens

    def batch(self, flow: Flow) -> float:
        """Seconds of a batch at this load of each replica."""
        if not self.are_batches:
            return self.own(flow.mean)
        seconds, per_token = self.own(flow.mean), self.per_token
        for _ in range(20):
            before = seconds
            tokens = max(flow.mean, min(self.budget, flow.tokens * seconds))
            seconds = self.start + per_token * tokens
            if seconds == before:
                break
        return seconds


def wait(group: Group, flow: Flow, batch: float, dispatchers: int) -> float:
    """Seconds that one in a hundred requests waits at least, beyond its own batch.

    Args:
        group: Where it goes.
        flow: What each replica of the group gets.
        batch: Seconds of a batch at this load.
        dispatchers: Envoys that share out the requests, each by what it sees itself.
    """
    used = flow.tokens / group.capacity
    if used >= FULL:
        return NEVER
    if used <= 0:
        return 0.0
    unlike = max(flow.square / flow.mean**2 - 1, 0.0)
    arrivals = 1 - (1 - REGULAR) * math.pow(dispatchers, -MERGED)
    regular = (arrivals + unlike) / (1 + unlike)
    tail = regular * flow.square / flow.mean / group.capacity / (2 * (1 - used))
    alone = _at_percentile(used, group.slots) * tail
    pooled = _at_percentile(used, group.slots * group.count) * tail / group.count
    found = alone
    for _ in range(4):
        inside = flow.rate * (batch + 0.4 * found)
        uneven = BLIND * (dispatchers - 1) + BURSTY * inside * unlike * (1 - 1 / dispatchers)
        shared = pooled + math.sqrt(uneven) * flow.mean / group.capacity
        found = alone * shared / math.hypot(alone, shared) if alone and shared else 0.0
    return found


def _at_percentile(used: float, servers: float) -> float:
    """How many mean waits the 99th percentile of waiting is."""
    return max(math.log(100) + (math.sqrt(2 * (servers + 1)) - 1) * math.log(used), 0.0)


def fixed(group: Group, batch: float, of: Flow, *, short: bool) -> float:
    """Seconds that a long request of a class takes where it need not wait.

    Args:
        group: Where it goes.
        batch: Seconds of a batch at the load of each replica of the group.
        of: The class.
        short: Its requests wait for the batch before and are computed together with others.
    """
    if not group.are_batches:
        return group.own(of.long)
    return max(batch, group.own(of.long)) + (batch if short else 0.0)


def _is_alike(flow: Flow) -> bool:
    """Whether its requests are of about one size."""
    return flow.square <= 4 * flow.mean**2


def percentile(
    groups: Sequence[Group],
    shares: Sequence[float],
    flow: Flow,
    of: Flow,
    dispatchers: int,
    *,
    short: bool,
) -> float:
    """The p99 of a class over groups that each get a share of it, in seconds.

    Args:
        groups: Where it goes.
        shares: Of all requests, for each group; they add up to 1.
        flow: Everything that goes to these groups.
        of: The class.
        dispatchers: Envoys.
        short: See `fixed`.
    """
    parts = []
    for group, share in zip(groups, shares, strict=True):
        if share <= 0:
            continue
        each = flow.part(share / group.count)
        batch = group.batch(each)
        waits = wait(group, each, batch, dispatchers)
        if waits >= NEVER:
            return NEVER
        start = fixed(group, batch, of, short=short)
        if short and group.are_batches and _is_alike(each) and each.tokens < BUSY * group.capacity:
            waits = 0.0
        parts.append((share, start, waits))
    low, high = 0.0, max((start + waits for _, start, waits in parts), default=0.0)
    # Waits fall off exponentially: solve for the time that one in a hundred exceeds.
    for _ in range(30):
        middle = (low + high) / 2
        beyond = sum(
            share * (1.0 if middle <= start else 0.01 ** ((middle - start) / max(waits, 1e-9)))
            for share, start, waits in parts
        )
        low, high = (middle, high) if beyond > 0.01 else (low, middle)
    return high
