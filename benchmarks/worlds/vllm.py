"""vLLM with a pooling model: steps with a budget of tokens, in which texts are interleaved.

From vllm-project/vllm: v1/core/sched/scheduler.py (running texts first, then waiting ones, as far
as the budget goes), v1/metrics/loggers.py (families and buckets), v1/metrics/stats.py (a text's
tokens count when it is done) and v1/engine/async_llm.py (a step of which no text is done counts
nothing). Each text of a request is a request of the engine. Nothing is ever refused.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from benchmarks.worlds.counting import Counts, sample
from benchmarks.worlds.memory import Memory
from benchmarks.worlds.server import TAKEN, Answer, CallAt, Curve, OneBatchAtATime, Texts

LATENCIES: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
TOKENS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Buckets of the two histograms (v1/metrics/loggers.py)."""

LABELS: Final = 'engine="0",model_name="m"'


@dataclass(frozen=True, slots=True)
class Limits:
    """Options of the server.

    Attributes:
        tokens: ``--max-num-batched-tokens``.
        texts: ``--max-num-seqs``.
        chunks: Whether a text may be computed in parts, as with a decoder (Qwen3-Embedding); an
            encoder (BERT) sees a text as a whole.
    """

    tokens: int = 2_048
    texts: int = 256
    chunks: bool = True


@dataclass(slots=True, eq=False)
class _Request:
    texts: Texts
    arrived: float
    answer: Answer
    left: int


@dataclass(slots=True, eq=False)
class _Text:
    request: _Request
    tokens: int
    left: int


class Vllm(OneBatchAtATime):
    """A replica that runs vLLM."""

    def __init__(
        self, curve: Curve, limits: Limits, call_at: CallAt, memory: Memory | None = None
    ) -> None:
        """Prepare a replica that is idle.

        Args:
            curve: What a step takes.
            limits: The server's options.
            call_at: The clock's.
            memory: Of its GPU.
        """
        super().__init__(curve, call_at, memory)
        self._limits = limits
        self._waiting: deque[_Text] = deque()
        self._begun: list[_Text] = []
        self._scheduled: list[tuple[_Text, int]] = []
        # What the gauges say: as it was after the last step.
        self._said_running = self._said_waiting = 0
        self._tokens = self._succeeded = 0
        self._latencies = Counts("vllm:e2e_request_latency_seconds", LATENCIES, LABELS)
        self._steps = Counts("vllm:iteration_tokens_total", TOKENS, LABELS)

    def _take(self, now: float, texts: Texts, answer: Answer) -> int:
        request = _Request(texts, now, answer, len(texts))
        # An encoder's longest text is no more than a step.
        most = max(texts) if self._limits.chunks else self._limits.tokens
        for tokens in texts:
            self._waiting.append(_Text(request, min(tokens, most), min(tokens, most)))
        if self._handle is None:
            self._next(now)
        return TAKEN

    def _next(self, at: float) -> None:
        left, begun, waiting = self._limits.tokens, self._begun, self._waiting
        if not begun and waiting:
            # A timer may have fired late, and these came since.
            at = max(at, waiting[0].request.arrived)
        scheduled: list[tuple[_Text, int]] = []
        for text in begun:
            part = min(text.left, left)
            if part:
                scheduled.append((text, part))
                left -= part
        while waiting and left and len(begun) < self._limits.texts:
            text = waiting[0]
            if text.request.arrived > at or (text.left > left and not self._limits.chunks):
                break
            part = min(text.left, left)
            scheduled.append((text, part))
            left -= part
            begun.append(waiting.popleft())
        self._scheduled = scheduled
        if scheduled:
            self._compute(at, self._limits.tokens - left)

    def _ended(self, began: float, end: float) -> None:  # noqa: ARG002 - nobody counts that
        scheduled, self._scheduled = self._scheduled, []
        done = []
        for text, part in scheduled:
            text.left -= part
            if not text.left:
                done.append(text)
        self._begun = [text for text in self._begun if text.left]
        self._said_running, self._said_waiting = len(self._begun), len(self._waiting)
        if not done:
            return
        tokens = sum(text.tokens for text in done)
        self._tokens += tokens
        self._succeeded += len(done)
        self._steps.observe(tokens)
        for text in done:
            self._latencies.observe(end - text.request.arrived)
        for text in done:
            request = text.request
            request.left -= 1
            if not request.left:
                self._done(end, request.texts, request.answer)

    def exposition(self, now: float) -> str:
        """What it answers to ``GET /metrics``."""
        lines = [
            *sample("vllm:num_requests_running", "gauge", self._said_running, LABELS),
            *sample("vllm:num_requests_waiting", "gauge", self._said_waiting, LABELS),
            *sample("vllm:prompt_tokens_total", "counter", self._tokens, LABELS),
            *sample(
                "vllm:request_success_total",
                "counter",
                self._succeeded,
                f'{LABELS},finished_reason="stop"',
            ),
            *self._latencies.lines(),
            *self._steps.lines(),
        ]
        if self.memory is not None:
            # Nothing of vLLM's own says how much of the GPU's memory is in use.
            lines += self.memory.lines(now, "gpu_memory")
        return "\n".join(lines) + "\n"
