"""text-embeddings-inference: a FIFO of texts, batches up to a budget of tokens, a permit a text.

From huggingface/text-embeddings-inference at 0d124dc: core/src/queue.rs (batches),
core/src/infer.rs (tasks, permits, metrics of texts), router/src/http/server.rs (requests) and
router/src/lib.rs (their metrics). Left out: tokenization, which takes no time here, padded models,
and a client's own errors.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from benchmarks.worlds.counting import DURATIONS, Counts, sample
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

SIZES: Final = tuple(2**power for power in range(13))
TOKENS: Final = tuple(2**power for power in range(21))
"""Buckets of the two histograms of batches (router/src/prometheus.rs)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Options of the server, with its own defaults.

    Attributes:
        tokens: ``--max-batch-tokens``.
        texts: ``--max-batch-requests``: texts in a batch at most; None: as many as fit.
        permits: ``--max-concurrent-requests``: texts that it takes in at a time.
        prefetches: Whether a batch is put together while the one before it is computed, as the
            real server does: its channel to the backend holds one. A text then waits for the
            batch that was ready before it came, and small batches go before large ones.
    """

    tokens: int = 16_384
    texts: int | None = None
    permits: int = 512
    prefetches: bool = True


@dataclass(slots=True, eq=False)
class _Request:
    texts: Texts
    arrived: float
    answer: Answer
    following: int = 0
    left: int = 0
    waited: float = 0.0
    computed: float = 0.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Texts that are computed together: how many of which request; and when they were chosen."""

    parts: tuple[tuple[_Request, int], ...]
    size: int
    tokens: int
    at: float


class Tei(OneBatchAtATime):
    """A replica that runs text-embeddings-inference."""

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
        self._permits = limits.permits
        self._queue: deque[_Request] = deque()
        self._queued = 0
        self._batch: _Batch | None = None
        self._ready_batch: _Batch | None = None
        # The batching task waits for `notify_one`, which is remembered once when it does not.
        self._waits, self._notified = True, False
        self._metrics = _Metrics()

    @property
    def queue(self) -> int:
        """Texts that wait and are in no batch yet."""
        return self._queued

    def _take(self, now: float, texts: Texts, answer: Answer) -> int:
        size, metrics = len(texts), self._metrics
        method = "single" if size == 1 else "batch"
        metrics.requests[method] += 1
        if size > self._permits:
            metrics.overloaded += 1
            return OVERLOADED
        self._permits -= size
        metrics.texts += size
        # The router cuts texts to what the model can take, which is no more than a batch.
        most = self._limits.tokens
        if max(texts) > most:
            texts = [min(tokens, most) for tokens in texts]
        self._queue.append(_Request(texts, now, answer, left=size))
        self._queued += size
        if self._waits:
            self._waits, self._notified = False, size > 1
            self._put_together(now)
        else:
            self._notified = True
        return TAKEN

    def _next(self, at: float) -> None:
        batch, self._ready_batch = self._ready_batch, None
        if batch is not None:
            # A timer may have fired late, and these came since.
            at = max(at, batch.at)
            self._begin(at, batch)
        if not self._waits:
            self._put_together(at)

    def _begin(self, at: float, batch: _Batch) -> None:
        self._batch = batch
        self._compute(at, batch.tokens)

    def _put_together(self, at: float) -> None:
        """The batching task: puts batches together until the queue is empty, and one ahead."""
        while self._handle is None or (self._limits.prefetches and self._ready_batch is None):
            batch = self._pop(at)
            self._metrics.popped(batch)
            if batch is not None:
                if self._handle is None:
                    self._begin(at, batch)
                else:
                    self._ready_batch = batch
            elif self._queue:
                # A timer fired late, and these came since.
                at = self._queue[0].arrived
            elif self._notified:
                self._notified = False
            else:
                self._waits = True
                return

    def _pop(self, at: float) -> _Batch | None:
        most, limit, queue = self._limits.tokens, self._limits.texts, self._queue
        tokens = size = 0
        parts: list[tuple[_Request, int]] = []
        while queue and queue[0].arrived <= at:
            request = queue[0]
            first = following = request.following
            for text in request.texts[first:]:
                if tokens + text > most or size == limit:
                    break
                tokens += text
                size += 1
                following += 1
            if following > first:
                parts.append((request, following - first))
            request.following = following
            if following < len(request.texts):
                break
            queue.popleft()
        self._queued -= size
        return _Batch(tuple(parts), size, tokens, at) if parts else None

    def _ended(self, began: float, end: float) -> None:
        batch, self._batch = self._batch, None
        assert batch is not None
        seconds, metrics = end - began, self._metrics
        self._permits += batch.size
        metrics.computed.observe(seconds, batch.size)
        for request, size in batch.parts:
            waited = began - request.arrived
            metrics.waited.observe(waited, size)
            metrics.took.observe(end - request.arrived, size)
            request.waited += waited * size
            request.computed += seconds * size
            request.left -= size
            if not request.left:
                metrics.answered(request, end)
                self._done(end, request.texts, request.answer)

    def exposition(self, now: float) -> str:
        """What it answers to ``GET /metrics``; nothing before the first request."""
        if not any(self._metrics.requests.values()):
            return ""
        lines = self._metrics.lines(self._queued)
        if self.memory is not None:
            lines += self.memory.lines(now, "te_gpu_memory")
        return "\n".join(lines) + "\n"


class _Metrics:
    """All that the server counts."""

    def __init__(self) -> None:
        self.requests = {"single": 0, "batch": 0}
        self.succeeded = {"single": 0, "batch": 0}
        self.overloaded = 0
        self.texts = 0
        self.requests_took = Counts("te_request_duration", DURATIONS)
        self.requests_waited = Counts("te_request_queue_duration", DURATIONS)
        self.requests_computed = Counts("te_request_inference_duration", DURATIONS)
        self.took = Counts("te_embed_duration", DURATIONS)
        self.waited = Counts("te_embed_queue_duration", DURATIONS)
        self.computed = Counts("te_embed_inference_duration", DURATIONS)
        self.sizes = Counts("te_batch_next_size", SIZES)
        self.tokens = Counts("te_batch_next_tokens", TOKENS)

    def popped(self, batch: _Batch | None) -> None:
        """The queue was asked for a batch; None: it was empty, which the server counts as well."""
        self.sizes.observe(batch.size if batch else 0)
        self.tokens.observe(batch.tokens if batch else 0)

    def answered(self, request: _Request, end: float) -> None:
        """A request is done. Of its texts' times the server takes means."""
        size = len(request.texts)
        self.succeeded["single" if size == 1 else "batch"] += 1
        self.requests_took.observe(end - request.arrived)
        self.requests_waited.observe(request.waited / size)
        self.requests_computed.observe(request.computed / size)

    def lines(self, queued: int) -> list[str]:
        """In the exposition format; a family is there once something was counted in it."""
        lines = []
        for family, counted in (
            ("te_request_count", self.requests),
            ("te_request_success", self.succeeded),
        ):
            lines.append(f"# TYPE {family} counter")
            lines += [
                f'{family}{{method="{method}"}} {count}'
                for method, count in counted.items()
                if count
            ]
        if self.overloaded:
            lines += sample("te_request_failure", "counter", self.overloaded, 'err="overloaded"')
        lines += sample("te_embed_count", "counter", self.texts)
        lines += sample("te_embed_success", "counter", self.computed.count)
        lines += sample("te_queue_size", "gauge", queued)
        for counts in (
            self.requests_took,
            self.requests_waited,
            self.requests_computed,
            self.took,
            self.waited,
            self.computed,
            self.sizes,
            self.tokens,
        ):
            if counts.count:
                lines += counts.lines()
        return lines
