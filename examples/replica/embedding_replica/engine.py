"""One replica's life: it loads its model, embeds while it serves, and drains.

Requests come in as texts; each waits for a slot and for memory, computes in a thread, and leaves as
vectors with the time it spent where. Metrics and HTTP belong to others.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedding_replica.memory import Memory
from embedding_replica.slots import Slots
from embedding_replica.speed import hold
from embedding_replica.tokens import Batch, Inputs

T = TypeVar("T")


class Encoder(Protocol):
    """What the engine needs of a model."""

    @property
    def weights_bytes(self) -> int:
        """What the weights take in memory."""

    def tokenise(self, inputs: Inputs) -> Batch:
        """Turn inputs into one padded batch."""

    def activation_bytes(self, batch: Batch) -> int:
        """What embedding the batch takes in memory beyond the weights."""

    def embed(self, batch: Batch) -> NDArray[np.float32]:
        """Embed the batch, one row for each input."""


class Phase(enum.Enum):
    """Where a replica is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class NotServingError(Exception):
    """The replica is not ready yet, or not any more."""

    def __init__(self, phase: Phase) -> None:
        super().__init__(phase)
        self.phase = phase


@dataclass(frozen=True, eq=False)
class Embedded:
    """An answered request.

    Attributes:
        vectors: (texts, dimensions).
        tokens: How many tokens were embedded, special ones included.
        queued: Seconds it waited for a slot.
        tokenised: Seconds its tokenisation took.
        inferred: Seconds the model took, on hardware of the replica's stated speed.
    """

    vectors: NDArray[np.float32]
    tokens: int
    queued: float
    tokenised: float
    inferred: float


class Engine:
    """Embeds, within its slots and its memory."""

    def __init__(
        self,
        *,
        slots: int = 1,
        queue: int = 512,
        speed: float = 1.0,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start without a model.

        Args:
            slots: How many requests compute at once.
            queue: How many more may wait.
            speed: See ``speed.hold``; may be changed at any time.
            memory: What batches are charged against, or None not to account for memory.
            clock: Seconds from some fixed moment.
            sleep: Waits that many seconds.
        """
        self.phase = Phase.LOADING
        self.speed = speed
        self.memory = memory
        self._slots = Slots(slots, queue)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="slot")
        self._encoder: Encoder | None = None
        self._clock = clock
        self._sleep = sleep
        self._computing: set[asyncio.Task[Embedded]] = set()
        self._in_flight = 0
        self._arrived = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return self._slots.waiting

    @property
    def arrived(self) -> int:
        """How many requests have come since it was ready."""
        return self._arrived

    @property
    def in_flight(self) -> int:
        """How many requests wait or compute."""
        return self._in_flight

    async def load(self, read: Callable[[], Encoder], seconds: float = 0.0) -> None:
        """Load a model and become ready once it has answered one embedding.

        Args:
            read: Reads it; called in a thread.
            seconds: Time to add, to stand in for a larger model.

        Raises:
            OutOfMemoryError: Its weights do not fit.
        """
        await self._sleep(seconds)
        encoder = await self._in_thread(read)
        if self.memory is not None:
            self.memory = self.memory.load(encoder.weights_bytes)
        await self._in_thread(lambda: encoder.embed(encoder.tokenise(["ready"])))
        self._encoder = encoder
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    async def embed(self, inputs: Inputs) -> Embedded:
        """Embed the inputs of one request as one batch.

        A request that is cancelled while it waits leaves the line. One that is cancelled while it
        computes keeps its slot until that is done: a thread cannot be stopped.

        Raises:
            NotServingError: Loading or draining.
            QueueFullError: Too many wait already.
            OutOfMemoryError: The batch does not fit.
        """
        if self.phase is not Phase.READY or self._encoder is None:
            raise NotServingError(self.phase)
        self._arrived += 1
        self._in_flight += 1
        self._idle.clear()
        try:
            arrived = self._clock()
            await self._slots.take()
            queued = self._clock() - arrived
            task = asyncio.create_task(self._compute(self._encoder, inputs, queued))
            self._computing.add(task)
            task.add_done_callback(self._computed)
            return await asyncio.shield(task)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self) -> None:
        """Take no further request, and return when those in flight are done."""
        self.phase = Phase.DRAINING
        await self._idle.wait()

    def close(self) -> None:
        """Let the threads end; what still computes is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _compute(self, encoder: Encoder, inputs: Inputs, queued: float) -> Embedded:
        started = self._clock()
        batch = await self._in_thread(lambda: encoder.tokenise(inputs))
        tokenised = self._clock() - started
        charge = encoder.activation_bytes(batch)
        if self.memory is not None:
            self.memory = self.memory.charge(charge)
        try:
            vectors = await self._in_thread(lambda: encoder.embed(batch))
            await self._sleep(hold(self._clock() - started, self.speed))
        finally:
            if self.memory is not None:
                self.memory = self.memory.release(charge)
        inferred = self._clock() - started - tokenised
        return Embedded(vectors, batch.tokens, queued, tokenised, inferred)

    def _computed(self, task: asyncio.Task[Embedded]) -> None:
        self._slots.give_back()
        self._computing.discard(task)
        # Whoever asked may be gone; then nobody else looks at how it ended.
        if not task.cancelled():
            task.exception()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
