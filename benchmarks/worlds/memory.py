"""GPU memory of a simulated replica: its model, its neighbour, and what requests need. Pure.

All memory is in parts of what the GPU has. The model's weights are always there. A neighbour, say
a training job on the same GPU, grows in a straight line between two times. A request needs memory
for its tokens from when it is taken in until it is answered. As with PyTorch, the allocator keeps
what requests needed at most, and gives it back only when memory runs out otherwise: that is what is
reported as used, by `nvidia-smi` too. A request that does not fit is an out-of-memory error.
"""

from dataclasses import dataclass
from typing import Final

MODEL: Final = 0.35
"""The weights of the model and what the runtime takes."""

ROOM: Final = 8_000
"""Tokens at a time that fit beside the model: eighty mean requests of the worlds without bulk.

With half of that one very long request can fill a replica that nothing is the matter with, and then
somebody's error is nobody's fault.
"""

GPU_BYTES: Final = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Filling:
    """Somebody else's memory grows on the GPU of a replica.

    Attributes:
        replica: Which one; all others have their GPU to themselves.
        begin: Seconds after the begin of the load.
        end: Likewise.
        most: Part of the GPU's memory that is taken in the end.
    """

    replica: int
    begin: float
    end: float
    most: float

    def takes(self, at: float) -> float:
        """What is taken so many seconds after the begin of the load."""
        return self.most * min(max((at - self.begin) / (self.end - self.begin), 0.0), 1.0)


class Memory:
    """Of one replica's GPU.

    Attributes:
        begun: When the load began, in seconds of the clock; None before.
    """

    def __init__(self, neighbour: Filling | None = None, room: float = ROOM) -> None:
        """Prepare memory with nothing in it but the model.

        Args:
            neighbour: Who else is there.
            room: Tokens at a time that fit beside the model while the neighbour takes nothing.
        """
        self.begun: float | None = None
        self._neighbour = neighbour
        self._per_token = (1 - MODEL) / room
        self._kept = 0.0

    def fits(self, now: float, tokens: int) -> bool:
        """Whether so many tokens fit at a time; if so, the allocator keeps what they need.

        Args:
            now: In seconds of the clock.
            tokens: Of all requests that would be here.
        """
        room = 1 - MODEL - self._takes(now)
        needed = tokens * self._per_token
        if needed > room:
            return False
        # What is kept and not needed is given back before anything fails, so it takes no room here.
        self._kept = max(self._kept, needed)
        return True

    def used(self, now: float) -> float:
        """What is reported as used."""
        return min(MODEL + self._takes(now) + self._kept, 1.0)

    def lines(self, now: float, prefix: str, labels: str = "") -> list[str]:
        """The gauges of a server that exposes its GPU's memory.

        Args:
            now: In seconds of the clock.
            prefix: Of the two families' names, as in ``te_gpu_memory``.
            labels: Of the samples.
        """
        own = f"{{{labels}}}" if labels else ""
        return [
            f"# TYPE {prefix}_used_bytes gauge",
            f"{prefix}_used_bytes{own} {self.used(now) * GPU_BYTES:.0f}",
            f"# TYPE {prefix}_total_bytes gauge",
            f"{prefix}_total_bytes{own} {GPU_BYTES}",
        ]

    def _takes(self, now: float) -> float:
        if self._neighbour is None or self.begun is None:
            return 0.0
        return self._neighbour.takes(now - self.begun)
