"""One replica's life: it loads its model, embeds while it serves, and drains.

Requests come in as lists of texts. All their texts wait in one queue for a batch; one batch at a
time is charged to memory and computed in a thread. A request leaves as vectors, with the time it
spent where, once its last text is done. Metrics and HTTP belong to others.
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

from embedding_replica.batching import Permits, Queue
from embedding_replica.memory import Memory
from embedding_replica.speed import hold
from embedding_replica.tokens import Batch, Inputs, Row, padded

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
        tokenised: Seconds their tokenisation took.
        queued: Seconds each text waited for a batch.
        inferred: Seconds its batch took, on hardware of the replica's stated speed.
    """

    vectors: NDArray[np.float32]
    tokens: int
    tokenised: float
    queued: tuple[float, ...]
    inferred: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Vector:
    """An answered text; times as in ``Embedded``."""

    vector: NDArray[np.float32]
    queued: float
    inferred: float


@dataclass(frozen=True, eq=False)
class Text:
    """A text that waits or computes.

    Attributes:
        row: Its token ids.
        since: When it began to wait.
        answer: Is told what came of it.
    """

    row: Row
    since: float
    answer: asyncio.Future[Vector]

    @property
    def tokens(self) -> int:
        """How long it is."""
        return len(self.row)


class Engine:
    """Embeds batch after batch, within its permits and its memory."""

    def __init__(
        self,
        *,
        budget: int = 16384,
        permits: int = 512,
        speed: float = 1.0,
        memory: Memory | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start without a model.

        Args:
            budget: How many tokens a batch holds at most, its padding included.
            permits: How many texts may wait or compute.
            speed: See ``speed.hold``; may be changed at any time.
            memory: What batches are charged against, or None not to account for memory.
            clock: Seconds from some fixed moment.
            sleep: Waits that many seconds.
        """
        self.phase = Phase.LOADING
        self.speed = speed
        self.memory = memory
        self.on_batch: Callable[[int, int], None] = lambda _texts, _tokens: None
        self._permits = Permits(permits)
        self._queue: Queue[Text] = Queue(budget)
        self._working: asyncio.Task[None] | None = None
        self._tokenising = ThreadPoolExecutor(1, thread_name_prefix="tokenise")
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._encoder: Encoder | None = None
        self._clock = clock
        self._sleep = sleep
        self._in_flight = 0
        self._arrived = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """How many texts wait for a batch."""
        return len(self._queue)

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
        encoder = await _in(self._computing, read)
        if self.memory is not None:
            self.memory = self.memory.load(encoder.weights_bytes)
        await _in(self._computing, lambda: encoder.embed(encoder.tokenise(["ready"])))
        self._encoder = encoder
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    async def embed(self, inputs: Inputs) -> Embedded:
        """Embed the inputs of one request, in one batch or in several.

        What is cancelled while it waits leaves the queue. What computes by then is computed to its
        end: a thread cannot be stopped.

        Raises:
            NotServingError: Loading or draining.
            OverloadedError: Too many texts are here already.
            OutOfMemoryError: A batch with one of the texts does not fit.
        """
        if self.phase is not Phase.READY or self._encoder is None:
            raise NotServingError(self.phase)
        self._arrived += 1
        self._permits.take(len(inputs))
        self._in_flight += 1
        self._idle.clear()
        try:
            return await self._embed(self._encoder, inputs)
        finally:
            self._permits.give_back(len(inputs))
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self) -> None:
        """Take no further request, and return when those in flight are done."""
        self.phase = Phase.DRAINING
        await self._idle.wait()

    def close(self) -> None:
        """Let the threads end; what still computes is not waited for."""
        for threads in (self._tokenising, self._computing):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _embed(self, encoder: Encoder, inputs: Inputs) -> Embedded:
        started = self._clock()
        batch = await _in(self._tokenising, lambda: encoder.tokenise(inputs))
        since = self._clock()
        loop = asyncio.get_running_loop()
        texts = [Text(row, since, loop.create_future()) for row in batch.rows()]
        self._queue.append(texts)
        if self._working is None:
            self._working = asyncio.create_task(self._work(encoder))
        try:
            done = await asyncio.gather(*(text.answer for text in texts))
        finally:
            self._queue.leave(texts)
        return Embedded(
            np.stack([each.vector for each in done]),
            batch.tokens,
            since - started,
            tuple(each.queued for each in done),
            tuple(each.inferred for each in done),
        )

    async def _work(self, encoder: Encoder) -> None:
        """Compute batches until nothing waits."""
        while texts := self._queue.next_batch():
            self.on_batch(len(texts), sum(text.tokens for text in texts))
            begun = self._clock()
            try:
                vectors = await self._compute(encoder, padded([text.row for text in texts]))
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                for text in texts:
                    if not text.answer.done():
                        text.answer.set_exception(error)
                continue
            inferred = self._clock() - begun
            for text, vector in zip(texts, vectors, strict=True):
                if not text.answer.done():
                    text.answer.set_result(Vector(vector, begun - text.since, inferred))
        self.on_batch(0, 0)
        self._working = None

    async def _compute(self, encoder: Encoder, batch: Batch) -> NDArray[np.float32]:
        started = self._clock()
        charge = encoder.activation_bytes(batch)
        if self.memory is not None:
            self.memory = self.memory.charge(charge)
        try:
            vectors = await _in(self._computing, lambda: encoder.embed(batch))
            await self._sleep(hold(self._clock() - started, self.speed))
        finally:
            if self.memory is not None:
                self.memory = self.memory.release(charge)
        return vectors


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)
