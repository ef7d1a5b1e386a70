"""What goes into a weighing of a pool and what comes out, replica by replica."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controlplane.settings import Policy
from controlplane.settings.memory import MemorySettings
from controlplane.signals import Window
from controlplane.weighing.capacity import Estimate
from controlplane.weighing.explanation import Step
from controlplane.weighing.guard import Guard
from controlplane.weighing.leaning import Lean
from controlplane.weighing.sizes import Sizes
from controlplane.weighing.slots import Learned
from controlplane.weighing.tiers import Placement
from controlplane.weighing.veto import InFlight


@dataclass(frozen=True, slots=True)
class ReplicaInput:
    """What is known of one replica at the time of a weighing.

    Attributes:
        id: Unique in the pool.
        slots: Requests that it computes at the same time; None: that is to be learned.
        generation: Differs after every restart; what was learned before is then forgotten.
        window: Its newest window; None before its first scrape.
        age: Seconds since its last good scrape; None when there was none.
        gpu_uuid: The GPU that was declared for it.
        memory: Soft and hard limits of its own; None: the pool's.
        in_flight: What it has in flight, by everyone who counts.
        ready: Whether it may get traffic; a replica that is not counts for nothing in the pool.
        ready_since: When it became so, seconds of a monotonic clock; None: before anybody looked.
    """

    id: str
    slots: int | None = 1
    generation: int = 0
    window: Window | None = None
    age: float | None = None
    gpu_uuid: str | None = None
    memory: MemorySettings | None = None
    in_flight: tuple[InFlight, ...] = ()
    ready: bool = True
    ready_since: float | None = None

    @property
    def may_have_gpus(self) -> bool:
        """Whether there is anything that could name one."""
        return self.gpu_uuid is not None or self.window is not None

    @property
    def gpus(self) -> frozenset[str]:
        """The GPUs it is on: declared, and as its own metrics say."""
        declared = (self.gpu_uuid,) if self.gpu_uuid else ()
        memory = self.window.memory if self.window else ()
        return frozenset((*declared, *(gpu.uuid for gpu in memory if gpu.uuid)))


@dataclass(frozen=True, slots=True)
class State:
    """What the next weighing has to know of this one.

    Attributes:
        generation: That all of this was learned of.
        estimate: Of its capacity by its own measurements; None before any.
        learned: Of its slots, where they are not declared.
        kind: The name of the group of replicas that it was taken together with.
        relative: What it gets, relative to the pool's median, after damping.
        guard: Of its GPU memory.
        placement: In which tier, and whether it is about to leave.
        line: For whose sake it gets next to nothing; None where there is no veto.
    """

    generation: int
    estimate: Estimate | None
    learned: Learned | None
    kind: str | None
    relative: float
    guard: Guard
    placement: Placement
    line: InFlight | None = None


def state_of(
    known: State | None,
    generation: int,
    estimate: Estimate | None,
    learned: Learned | None,
    kind: str | None,
    relative: float,
    guard: Guard,
    placement: Placement,
    line: InFlight | None,
) -> State:
    """The state of these; the one that is known of the same generation where that is the same."""
    if (
        known is not None
        and known.estimate is estimate
        and known.relative == relative
        and known.guard is guard
        and known.placement is placement
        and known.learned is learned
        and known.kind == kind
        and known.line == line
    ):
        return known
    return State(generation, estimate, learned, kind, relative, guard, placement, line)


class ReplicaWeighing(NamedTuple):
    """What one replica gets, and why.

    A tuple, because each decision makes one of every replica of a pool.

    Attributes:
        capacity: Requests per second that it is estimated to carry; of one that was never
            measured the pool's median; None when nothing of the pool was measured.
        weight: Envoy's, 1 or more, the same for all in a tier; the pool's median is about 1000. A
            tier's locality weight is the sum of its members'. Without weights all have the same.
        tier: The ``sub_zone`` of its locality; empty where the policy has no tiers.
        drained: Cut: it must get no new request (health status DRAINING).
        stale: Its last good scrape is too long ago.
        share: Of the pool's traffic, expected, 0 to 1; None where Envoy goes by what only it sees.
        steps: How it came to that.
        state: For the next weighing.
    """

    capacity: float | None
    weight: int
    tier: str
    drained: bool
    stale: bool
    share: float | None
    steps: tuple[Step, ...]
    state: State


@dataclass(frozen=True, slots=True)
class Weighing:
    """What every replica of a pool gets.

    Attributes:
        policy: That they were weighed for.
        replicas: By id.
        suspect: More than half of the pool is stale: rather we are ill than all of them, so
            nothing changes until that is over. Worth an alarm.
        at: When, seconds of a monotonic clock.
        equal: All are so close that they are treated as equal.
        anchor: Logarithm of the capacity in the middle of tier band 0.
        used: How busy the pool is, 0 to 1; None before anything was measured.
        tokens: Of a request of the usual length, the unit of capacities; None where replicas do
            not count tokens. It stays what it was at first.
        sizes: How requests are parted by their length; None: they are not.
        is_moving: Some share goes on to where it should be by the clock alone.
        leans: How tiers lean for now, by name.
    """

    policy: Policy
    replicas: Mapping[str, ReplicaWeighing]
    suspect: bool
    at: float
    equal: bool
    anchor: float
    used: float | None = None
    tokens: float | None = None
    sizes: Sizes | None = None
    is_moving: bool = False
    leans: Mapping[str, Lean] = field(default_factory=dict)
