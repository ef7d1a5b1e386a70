"""Infinity: batches of so many texts, sorted by length where many wait, several of them ahead.

From michaelfeil/infinity: infinity_emb/inference/queue.py (`pop_optimal_batches`: up to eight
batches are popped at a time, and sorted), infinity_emb/inference/batch_handler.py (who waits for
whom) and infinity_emb/infinity_server.py with trallnag/prometheus-fastapi-instrumentator (what it
exposes). The texts of a batch are padded to its longest. Left out: its pauses of 5 ms.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from benchmarks.worlds.counting import Counts
from benchmarks.worlds.memory import Memory
from benchmarks.worlds.server import (
    OVERLOADED,
    TAKEN,
    Answer,
    CallAt,
    Curve,
    OneBatchAtATime,
    Texts,
)

AHEAD: Final = 4
"""Batches that have left the queue to the model: one that is tokenized and three that have been."""
PUBLISHED: Final = 8
"""Batches that are popped at a time, and that the queue to the model holds."""

HANDLER: Final = 'handler="/embeddings",method="POST"'
FEW: Final = (0.1, 0.5, 1)
MANY: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30,
    60,
)  # fmt: skip
"""Buckets of the two histograms, in seconds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Options of the server, with its own defaults.

    Attributes:
        texts: ``--batch-size``.
        queue: ``INFINITY_QUEUE_SIZE``: waiting texts beyond which it refuses requests.
    """

    texts: int = 32
    queue: int = 32_000


@dataclass(slots=True, eq=False)
class _Request:
    texts: Texts
    arrived: float
    answer: Answer
    left: int


class Infinity(OneBatchAtATime):
    """A replica that runs Infinity."""

    def __init__(
        self, curve: Curve, limits: Limits, call_at: CallAt, memory: Memory | None = None
    ) -> None:
        """Prepare a replica that is idle.

        Args:
            curve: What a batch takes.
            limits: The server's options.
            call_at: The clock's.
            memory: Of its GPU.
        """
        super().__init__(curve, call_at, memory)
        self._limits = limits
        self._queue: deque[tuple[int, _Request]] = deque()
        self._batches: deque[list[tuple[int, _Request]]] = deque()
        self._batch: list[tuple[int, _Request]] = []
        self._few = Counts("http_request_duration_seconds", FEW, HANDLER)
        self._many = Counts("http_request_duration_highr_seconds", MANY)
        self._overloaded = 0

    def _take(self, now: float, texts: Texts, answer: Answer) -> int:
        if len(self._queue) > self._limits.queue:
            self._overloaded += 1
            return OVERLOADED
        request = _Request(texts, now, answer, len(texts))
        self._queue.extend((tokens, request) for tokens in texts)
        if self._handle is None:
            self._next(now)
        else:
            self._pop(now)
        return TAKEN

    def _next(self, at: float) -> None:
        if not self._batches and self._queue:
            at = max(at, self._queue[0][1].arrived)
        self._pop(at)
        if self._batches:
            batch = self._batch = self._batches.popleft()
            # A timer may have fired late, and these came since.
            at = max(at, *(request.arrived for _, request in batch))
            self._compute(at, len(batch) * max(tokens for tokens, _ in batch))
            self._pop(at)

    def _pop(self, at: float) -> None:
        """Move texts from the queue to batches, as long as the model has few or so many wait."""
        size, queue = self._limits.texts, self._queue
        while queue and queue[0][1].arrived <= at:
            many = len(queue) >= size * PUBLISHED and len(self._batches) < AHEAD + PUBLISHED
            if len(self._batches) > AHEAD and not many:
                return
            texts: list[tuple[int, _Request]] = []
            while queue and len(texts) < size * PUBLISHED and queue[0][1].arrived <= at:
                texts.append(queue.popleft())
            if len(texts) > size:
                texts.sort(key=lambda text: text[0])
            self._batches.extend(
                texts[first : first + size] for first in range(0, len(texts), size)
            )

    def _ended(self, began: float, end: float) -> None:  # noqa: ARG002 - nobody counts that
        batch, self._batch = self._batch, []
        for _, request in batch:
            request.left -= 1
            if not request.left:
                seconds = end - request.arrived
                self._few.observe(seconds)
                self._many.observe(seconds)
                self._done(end, request.texts, request.answer)

    def exposition(self, now: float) -> str:
        """What it answers to ``GET /metrics``."""
        lines = ["# TYPE http_requests_total counter"]
        counted = {"2xx": self._few.count, "4xx": self._overloaded}
        lines += [
            f'http_requests_total{{{HANDLER},status="{status}"}} {count}'
            for status, count in counted.items()
            if count
        ]
        for counts in (self._many, self._few):
            lines += counts.lines()
        if self.memory is not None:
            # Nothing of Infinity's own says how much of the GPU's memory is in use.
            lines += self.memory.lines(now, "gpu_memory")
        return "\n".join(lines) + "\n"
