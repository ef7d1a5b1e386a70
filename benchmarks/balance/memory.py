"""GPU memory of a simulated replica: its model, its neighbour, and what requests need. Pure.

All memory is in parts of what the GPU has. The model's weights are always there. A neighbour, say
a training job on the same GPU, grows in a straight line between two times. A request needs memory
for its tokens from when it is taken in until it is answered. As with PyTorch, the allocator keeps
what requests needed at most, and gives it back only when memory runs out otherwise: that is what is
reported as used, by `nvidia-smi` too. A request that does not fit is an out-of-memory error.
"""

from typing import Final

from benchmarks.balance.scenario import Filling

MODEL: Final = 0.35
"""The weights of the model and what the runtime takes."""

PER_TOKEN: Final = (1 - MODEL) / 8_000
"""Of a request: beside the model there is room for 8,000 tokens at a time, eighty mean requests.

With half of that one very long request can fill a replica that nothing is the matter with, and then
somebody's error is nobody's fault.
"""


class Memory:
    """Of one replica's GPU."""

    def __init__(self, neighbour: Filling | None = None) -> None:
        """Prepare memory with nothing in it but the model.

        Args:
            neighbour: Who else is there.
        """
        self.begun: float | None = None
        self._neighbour = neighbour
        self._kept = 0.0

    def fits(self, now: float, tokens: int) -> bool:
        """Whether so many tokens fit at a time; if so, the allocator keeps what they need.

        Args:
            now: In seconds of the clock.
            tokens: Of all requests that would be here.
        """
        room = 1 - MODEL - self._takes(now)
        needed = tokens * PER_TOKEN
        if needed > room:
            return False
        # What is kept and not needed is given back before anything fails, so it takes no room here.
        self._kept = max(self._kept, needed)
        return True

    def used(self, now: float) -> float:
        """What is reported as used."""
        return min(MODEL + self._takes(now) + self._kept, 1.0)

    def _takes(self, now: float) -> float:
        if self._neighbour is None or self.begun is None:
            return 0.0
        return self._neighbour.takes(now - self.begun)
