"""The GPU memory that batches are charged against, as a caching allocator would show it.

Pure. No GPU is there: a stated total stands in for one, so that memory pressure can be shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


class OutOfMemoryError(Exception):
    """A batch needs more memory than is left."""


@dataclass(frozen=True)
class Memory:
    """What is held of a stated amount of memory, in bytes.

    Attributes:
        total: What the device has.
        weights: What the model's weights take, from when they are loaded.
        live: What batches in work take.
        reserved: The most that batches in work have taken at once. PyTorch's caching allocator
            keeps freed blocks for reuse and returns them to nobody
            (https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management), which is why
            used GPU memory is flat and high on a server that has seen its largest batch.
    """

    total: int
    weights: int = 0
    live: int = 0
    reserved: int = 0

    @property
    def used(self) -> int:
        """What a tool such as nvidia-smi would show as used."""
        return self.weights + self.reserved

    def load(self, weights: int) -> Memory:
        """Take memory for weights.

        Raises:
            OutOfMemoryError: The device is too small for the model.
        """
        if weights > self.total:
            raise OutOfMemoryError(
                f"The model's weights take {weights} bytes, the GPU has {self.total}"
            )
        return replace(self, weights=weights)

    def charge(self, batch: int) -> Memory:
        """Take memory for a batch, from what is kept for reuse first.

        Raises:
            OutOfMemoryError: It does not fit; nothing was taken.
        """
        live = self.live + batch
        free = self.total - self.weights - self.live
        if batch > free:
            raise OutOfMemoryError(
                f"CUDA out of memory: tried to allocate {batch} bytes, "
                f"{free} of {self.total} bytes are free"
            )
        return replace(self, live=live, reserved=max(self.reserved, live))

    def release(self, batch: int) -> Memory:
        """Give a batch's memory back, to be kept for reuse."""
        return replace(self, live=self.live - batch)
