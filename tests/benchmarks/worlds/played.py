"""Servers of all kinds with a clock that a test winds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.worlds import infinity, tei, triton, vllm
from benchmarks.worlds.server import TAKEN, CallAt, Curve, OneBatchAtATime, Server
from benchmarks.worlds.slots import Slots
from controlplane.config import MetricsSettings
from controlplane.telemetry import Reading, profile_of, read
from tests.benchmarks.clock import Clock

CURVE = Curve(1.0, 0.01)

BATCHING: dict[str, Callable[[CallAt], OneBatchAtATime]] = {
    "tei": lambda call_at: tei.Tei(CURVE, tei.Limits(100), call_at),
    "tei that does not prefetch": lambda call_at: tei.Tei(
        CURVE, tei.Limits(100, prefetches=False), call_at
    ),
    "vllm": lambda call_at: vllm.Vllm(CURVE, vllm.Limits(100), call_at),
    "vllm without chunks": lambda call_at: vllm.Vllm(
        CURVE, vllm.Limits(100, chunks=False), call_at
    ),
    "triton": lambda call_at: triton.Triton(CURVE, triton.Limits(8), call_at),
    "triton that waits": lambda call_at: triton.Triton(
        CURVE, triton.Limits(8, (2, 4), 0.5), call_at
    ),
    "infinity": lambda call_at: infinity.Infinity(CURVE, infinity.Limits(4), call_at),
}
SERVERS: dict[str, Callable[[CallAt], Server]] = {
    **BATCHING,
    "slots": lambda call_at: Slots(2, 0.01, call_at),
}


@dataclass
class Played:
    """A server, what it computed and when it answered."""

    make: Callable[[CallAt], Server]
    clock: Clock = field(default_factory=Clock)
    answers: dict[int, float] = field(default_factory=dict)
    computed: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = self.make(self.clock.call_at)
        if isinstance(self.server, OneBatchAtATime):
            compute = self.server._compute

            def watched(at: float, tokens: float) -> None:
                self.computed.append(tokens)
                compute(at, tokens)

            self.server._compute = watched  # type: ignore[method-assign]

    def admit(self, *texts: int, name: int = -1) -> int:
        """Send a request now; it must not be answered twice."""
        name = len(self.answers) if name < 0 else name

        def answer(at: float) -> None:
            assert name not in self.answers
            self.answers[name] = at

        return self.server.admit(self.clock.now, texts, answer)

    def send(self, requests: Sequence[tuple[float, Sequence[int]]]) -> list[float]:
        """Send requests, each so long after the one before; when each came."""
        arrived = []
        for name, (after, texts) in enumerate(requests):
            self.clock.wind(self.clock.now + after)
            assert self.admit(*texts, name=name) == TAKEN
            arrived.append(self.clock.now)
        self.clock.wind(self.clock.now + 1e6)
        return arrived


def reading(server: Server, profile: str, at: float = 0.0) -> Reading:
    """What the control plane makes of what a server exposes."""
    known = profile_of(MetricsSettings.model_validate({"profile": profile}))
    return read(server.exposition(at), known, at)


def samples(text: str) -> dict[str, float]:
    """By name and labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
