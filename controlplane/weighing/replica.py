"""What goes into a weighing of a pool and what comes out, replica by replica."""

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.signals import Window
from controlplane.weighing.capacity import Estimate
from controlplane.weighing.explanation import Step
from controlplane.weighing.guard import Guard
from controlplane.weighing.tiers import Placement


@dataclass(frozen=True, slots=True)
class ReplicaInput:
    """What is known of one replica at the time of a weighing.

    Attributes:
        id: Unique in the pool.
        slots: Requests that it computes at the same time.
        generation: Differs after every restart; what was learned before is then forgotten.
        window: Its newest window; None before its first scrape.
        age: Seconds since its last good scrape; None when there was none.
        gpu_uuid: The GPU that was declared for it.
        ready: Whether it may get traffic; a replica that is not counts for nothing in the pool.
    """

    id: str
    slots: int = 1
    generation: int = 0
    window: Window | None = None
    age: float | None = None
    gpu_uuid: str | None = None
    ready: bool = True

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
        estimate: Its capacity by its own measurements; None before any.
        relative: What it gets, relative to the pool's median, after damping.
        guard: Of its GPU memory.
        placement: In which tier, and whether it is about to leave.
    """

    generation: int
    estimate: Estimate | None
    relative: float
    guard: Guard
    placement: Placement


@dataclass(frozen=True, slots=True)
class ReplicaWeighing:
    """What one replica gets, and why.

    Attributes:
        capacity: Requests per second that it is estimated to carry; of one that was never
            measured the pool's median; None when nothing of the pool was measured.
        weight: Envoy's, 1 or more, the same for all in a tier; the pool's median is about 1000. A
            tier's locality weight is the sum of its members'.
        tier: The ``sub_zone`` of its locality.
        drained: Cut: it must get no new request (health status DRAINING).
        stale: Its last good scrape is too long ago.
        share: Of the pool's traffic, expected, 0 to 1.
        steps: How it came to that.
        state: For the next weighing.
    """

    capacity: float | None
    weight: int
    tier: str
    drained: bool
    stale: bool
    share: float
    steps: tuple[Step, ...]
    state: State


@dataclass(frozen=True, slots=True)
class Weighing:
    """What every replica of a pool gets.

    Attributes:
        replicas: By id.
        suspect: More than half of the pool is stale: rather we are ill than all of them, so
            nothing changes until that is over. Worth an alarm.
        at: When, seconds of a monotonic clock.
        equal: All are so close that they are treated as equal.
        anchor: Logarithm of the capacity in the middle of tier band 0.
    """

    replicas: Mapping[str, ReplicaWeighing]
    suspect: bool
    at: float
    equal: bool
    anchor: float
