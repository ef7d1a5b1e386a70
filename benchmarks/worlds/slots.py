"""A server without batches: so many requests at a time, each token takes its time.

It speaks text-embeddings-inference's families, those that the first benchmark's replica has.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.worlds.counting import Counts
from benchmarks.worlds.memory import Memory
from benchmarks.worlds.server import TAKEN, Answer, CallAt, Handle, Server, Texts

BOUNDS: Final[Sequence[float]] = tuple(0.000015 * 1.5**power for power in range(39))
"""Seconds: four more buckets than the real server has, for minutes in a line."""


@dataclass(slots=True, eq=False)
class _Request:
    texts: Texts
    tokens: int
    arrived: float
    answer: Answer
    end: float = 0.0
    handle: Handle | None = None


class Slots(Server):
    """First come, first served by the slot that is free first."""

    def __init__(
        self, slots: int, token_seconds: float, call_at: CallAt, memory: Memory | None = None
    ) -> None:
        """Prepare a replica that is idle.

        Args:
            slots: Requests that it computes at the same time.
            token_seconds: Service time of one token.
            call_at: The clock's.
            memory: Of its GPU.
        """
        super().__init__(call_at, memory)
        self.slots: Final = slots
        self._token_seconds = token_seconds
        self._running: list[_Request] = []
        self._waiting: deque[_Request] = deque()
        self._durations = Counts("te_request_duration", BOUNDS)

    @property
    def running(self) -> int:
        """Requests that are computed."""
        return len(self._running)

    @property
    def hungry(self) -> bool:
        """Whether a slot is free."""
        return len(self._running) < self.slots

    @property
    def queue(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting)

    def _take(self, now: float, texts: Texts, answer: Answer) -> int:
        request = _Request(texts, sum(texts), now, answer)
        if len(self._running) < self.slots:
            self._begin(now, request)
        else:
            self._waiting.append(request)
        return TAKEN

    def _begin(self, at: float, request: _Request) -> None:
        self._changes(at)
        self._running.append(request)
        request.end = at + request.tokens * self._token_seconds * self._slowness
        request.handle = self._call_at(request.end, partial(self._over, request))
        self._tell_partner(at)

    def _over(self, request: _Request) -> None:
        self._changes(request.end)
        self._running.remove(request)
        self._durations.observe(request.end - request.arrived)
        self._done(request.end, request.texts, request.answer)
        if self._waiting and len(self._running) < self.slots:
            # A request may have come after the slot was free and before the timer said so.
            following = self._waiting.popleft()
            self._begin(max(request.end, following.arrived), following)
        self._tell_partner(request.end)

    def _stretch(self, at: float, factor: float) -> None:
        for request in self._running:
            if request.end > at:
                request.end = at + (request.end - at) * factor
                assert request.handle is not None
                request.handle.cancel()
                request.handle = self._call_at(request.end, partial(self._over, request))

    def exposition(self, now: float) -> str:
        """What it answers to ``GET /metrics``."""
        lines = [
            *self._durations.lines(),
            "# TYPE te_queue_size gauge",
            f"te_queue_size {self.queue}",
            "# TYPE te_batch_next_tokens histogram",
            f"te_batch_next_tokens_sum {self.tokens_answered}",
        ]
        if self.memory is not None:
            lines += self.memory.lines(now, "te_gpu_memory")
        return "\n".join(lines) + "\n"
