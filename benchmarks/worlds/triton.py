"""Triton: dynamic batches of whole requests, of preferred sizes, for which it waits a little.

From triton-inference-server/core: src/dynamic_batch_scheduler.cc (`GetDynamicBatch`) and
src/metrics.cc. There a request is a tensor with a row for each text, so one of more rows than a
batch may have is sent as several by its client, and each of these counts. Rows are of different
lengths (``allow_ragged_batch``), so nothing is padded.
"""

from collections import deque
from dataclasses import dataclass

from benchmarks.worlds.memory import Memory
from benchmarks.worlds.server import (
    TAKEN,
    Answer,
    CallAt,
    Curve,
    Handle,
    OneBatchAtATime,
    Texts,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the model's configuration.

    Attributes:
        rows: ``max_batch_size``.
        preferred: ``dynamic_batching.preferred_batch_size``; without any, the server prefers the
            largest.
        delay: ``max_queue_delay_microseconds``, in seconds.
        ensemble: Whether texts pass a tokenizer first, in an ensemble, of which each step and the
            whole count for themselves.
    """

    rows: int = 64
    preferred: tuple[int, ...] = ()
    delay: float = 0.0
    ensemble: bool = False

    @property
    def largest(self) -> int:
        """The largest of the preferred sizes."""
        return max(self.preferred or (self.rows,))


@dataclass(slots=True, eq=False)
class _Request:
    texts: Texts
    answer: Answer
    left: int


@dataclass(slots=True, eq=False)
class _Tensor:
    request: _Request
    rows: int
    tokens: int
    arrived: float


class Triton(OneBatchAtATime):
    """A replica that runs Triton with one instance of a model."""

    def __init__(
        self, curve: Curve, limits: Limits, call_at: CallAt, memory: Memory | None = None
    ) -> None:
        """Prepare a replica that is idle.

        Args:
            curve: What a batch takes.
            limits: Of the model's configuration.
            call_at: The clock's.
            memory: Of its GPU.
        """
        super().__init__(curve, call_at, memory)
        self._limits = limits
        self._preferred = frozenset(limits.preferred or (limits.rows,))
        self._waiting: deque[_Tensor] = deque()
        self._batch: list[_Tensor] = []
        self._alarm: Handle | None = None
        self._succeeded = self._inferences = self._executions = 0
        self._took = self._queued = self._computed = 0.0

    def _take(self, now: float, texts: Texts, answer: Answer) -> int:
        most = self._limits.rows
        parts = [texts[first : first + most] for first in range(0, len(texts), most)]
        request = _Request(texts, answer, len(parts))
        self._waiting.extend(_Tensor(request, len(part), sum(part), now) for part in parts)
        if self._handle is None:
            self._next(now)
        return TAKEN

    def _next(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        waiting = self._waiting
        if not waiting:
            return
        # A timer may have fired late, and these came since.
        at = max(at, waiting[0].arrived)
        count = self._pending(at)
        if not count:
            due = waiting[0].arrived + self._limits.delay
            self._alarm = self._call_at(due, lambda: self._next(due))
            return
        self._batch = [waiting.popleft() for _ in range(count)]
        self._executions += 1
        self._compute(at, sum(tensor.tokens for tensor in self._batch))

    def _pending(self, at: float) -> int:
        """How many of those that wait are a batch now; 0: it is to wait for more."""
        limits, largest = self._limits, self._limits.largest
        rows = count = best = 0
        full = False
        for tensor in self._waiting:
            if tensor.arrived > at:
                break
            if count and rows + tensor.rows > largest and not best:
                best = count
            if rows + tensor.rows > limits.rows:
                full = True
                break
            rows += tensor.rows
            count += 1
            if rows in self._preferred:
                best = count
        # As a sum: the alarm for it is set for that very time.
        late = limits.delay > 0 and at >= self._waiting[0].arrived + limits.delay
        if best and not late:
            return best
        if full or rows >= largest or late or limits.delay == 0:
            return count
        return 0

    def _ended(self, began: float, end: float) -> None:
        batch, self._batch = self._batch, []
        for tensor in batch:
            self._succeeded += 1
            self._inferences += tensor.rows
            self._took += end - tensor.arrived
            self._queued += began - tensor.arrived
            # Each request is billed the whole batch.
            self._computed += end - began
        for tensor in batch:
            request = tensor.request
            request.left -= 1
            if not request.left:
                self._done(end, request.texts, request.answer)

    def exposition(self, now: float) -> str:
        """What it answers to ``GET /metrics``."""
        counters = {
            "nv_inference_request_success": self._succeeded,
            "nv_inference_count": self._inferences,
            "nv_inference_exec_count": self._executions,
            "nv_inference_request_duration_us": int(1e6 * self._took),
            "nv_inference_queue_duration_us": int(1e6 * self._queued),
            "nv_inference_compute_infer_duration_us": int(1e6 * self._computed),
        }
        lines = []
        for family, value in counters.items():
            lines += [f"# TYPE {family} counter", f'{family}{{model="m",version="1"}} {value}']
            if self._limits.ensemble:
                # The tokenizer takes no time here.
                of_step = 0 if family.endswith("_us") else value
                of_whole = value if "request" in family else 0
                lines += [
                    f'{family}{{model="ensemble",version="1"}} {of_whole}',
                    f'{family}{{model="tokenizer",version="1"}} {of_step}',
                ]
        lines += [
            "# TYPE nv_inference_request_failure counter",
            'nv_inference_request_failure{model="m",reason="OTHER",version="1"} 0',
            "# TYPE nv_inference_pending_request_count gauge",
            f'nv_inference_pending_request_count{{model="m",version="1"}} {len(self._waiting)}',
        ]
        if self.memory is not None:
            lines += self.memory.lines(now, "nv_gpu_memory", 'gpu_uuid="GPU-0"')
        return "\n".join(lines) + "\n"
