"""Kinds of servers with their curves: what scenarios are played on."""

import math
from dataclasses import dataclass, field
from typing import Final, Protocol

from benchmarks.worlds import infinity, tei, triton, vllm
from benchmarks.worlds.memory import Memory
from benchmarks.worlds.server import CallAt, Curve, Server
from benchmarks.worlds.slots import Slots
from benchmarks.worlds.traffic import Traffic


class World(Protocol):
    """A kind of server."""

    @property
    def profile(self) -> str:
        """The metric profile of the control plane that reads it."""

    @property
    def most(self) -> tuple[float, float]:
        """Tokens and texts that a batch has at most; without batches none: one request."""

    def server(self, speed: float, call_at: CallAt, memory: Memory | None) -> Server:
        """A replica that is so many times as fast as one of speed 1."""

    def carries(self, speed: float, of: Traffic) -> float:
        """Tokens a second that such a replica computes at most, of some traffic.

        That is with batches as full as texts of these lengths fill them, one after the other. It is
        what a scenario's load is a part of.
        """


@dataclass(frozen=True, slots=True)
class SlotsWorld:
    """No batches: so many requests at a time.

    Attributes:
        slots: How many.
        token_seconds: Service time of one token at speed 1. Long enough that proxies, the
            generator and a machine's noise are small beside it.
    """

    slots: int = 1
    token_seconds: float = 0.0006
    profile: str = "tei"
    most: tuple[float, float] = (0, 0)

    def server(self, speed: float, call_at: CallAt, memory: Memory | None) -> Server:
        """A replica."""
        return Slots(self.slots, self.token_seconds / speed, call_at, memory)

    def carries(self, speed: float, of: Traffic) -> float:  # noqa: ARG002 - the same of any
        """All slots all the time."""
        return self.slots * speed / self.token_seconds


@dataclass(frozen=True, slots=True)
class TeiWorld:
    """text-embeddings-inference."""

    curve: Curve
    limits: tei.Limits
    profile: str = "tei"

    @property
    def most(self) -> tuple[float, float]:
        """The budget, and as many texts as fit."""
        return self.limits.tokens, self.limits.texts or math.inf

    def server(self, speed: float, call_at: CallAt, memory: Memory | None) -> Server:
        """A replica."""
        return tei.Tei(self.curve.at(speed), self.limits, call_at, memory)

    def carries(self, speed: float, of: Traffic) -> float:
        """With batches of the budget, but for what the next text is too long for."""
        return batches_carry(self.curve.at(speed), self.limits.tokens - of.pad)


@dataclass(frozen=True, slots=True)
class VllmWorld:
    """vLLM with a pooling model."""

    curve: Curve
    limits: vllm.Limits = field(default_factory=vllm.Limits)
    profile: str = "vllm"

    @property
    def most(self) -> tuple[float, float]:
        """The budget, and what runs at a time."""
        return self.limits.tokens, self.limits.texts

    def server(self, speed: float, call_at: CallAt, memory: Memory | None) -> Server:
        """A replica."""
        return vllm.Vllm(self.curve.at(speed), self.limits, call_at, memory)

    def carries(self, speed: float, of: Traffic) -> float:
        """With steps of the budget, unless so many texts are fewer tokens."""
        pad = 0.0 if self.limits.chunks else of.pad
        tokens = min(self.limits.tokens - pad, self.limits.texts * of.tokens_of_text)
        return batches_carry(self.curve.at(speed), tokens)


@dataclass(frozen=True, slots=True)
class TritonWorld:
    """Triton with dynamic batches."""

    curve: Curve
    limits: triton.Limits = field(default_factory=triton.Limits)
    profile: str = "triton"

    @property
    def most(self) -> tuple[float, float]:
        """So many texts, however long."""
        return math.inf, self.limits.rows

    def server(self, speed: float, call_at: CallAt, memory: Memory | None) -> Server:
        """A replica."""
        return triton.Triton(self.curve.at(speed), self.limits, call_at, memory)

    def carries(self, speed: float, of: Traffic) -> float:
        """With batches of the largest size, but for what the next request is too long for."""
        texts = max(self.limits.rows - of.pad_of_texts, self.limits.rows / 2)
        return batches_carry(self.curve.at(speed), texts * of.tokens_of_text)


@dataclass(frozen=True, slots=True)
class InfinityWorld:
    """Infinity."""

    curve: Curve
    limits: infinity.Limits = field(default_factory=infinity.Limits)
    profile: str = "infinity"

    @property
    def most(self) -> tuple[float, float]:
        """So many texts, however long."""
        return math.inf, self.limits.texts

    def server(self, speed: float, call_at: CallAt, memory: Memory | None) -> Server:
        """A replica."""
        return infinity.Infinity(self.curve.at(speed), self.limits, call_at, memory)

    def carries(self, speed: float, of: Traffic) -> float:
        """With full batches of texts of about one length, as sorting makes them."""
        return batches_carry(self.curve.at(speed), self.limits.texts * of.tokens_of_text)


def batches_carry(curve: Curve, tokens: float) -> float:
    """Tokens a second of batches of so many tokens, one after the other."""
    return tokens / curve.seconds(tokens)


SMALL: Final = Curve(0.030, 0.00035)
"""Of a CPU with many cores, or a small GPU: 2,048 tokens in three quarters of a second. It is that
of the measurements that the design began with."""

L4: Final = Curve(0.008, 1 / 62_000)
"""Of a GPU: text-embeddings-inference on an NVIDIA L4 computes 0.54 requests a second of 115,000
tokens each with bge-large (michaelfeil/infinity, docs/docs/benchmarking.md). The fixed part is
that of a batch of one short text, where launching kernels takes longer than they do."""

BATCHING: Final = TeiWorld(SMALL, tei.Limits(tokens=2_048, prefetches=False))
"""The benchmark's: long batches, and none is put together before it is computed."""
TEI: Final = TeiWorld(SMALL, tei.Limits(tokens=2_048))
"""The same as the real server does it, which puts one batch together ahead."""
GPU: Final = TeiWorld(L4, tei.Limits(prefetches=False))
"""A GPU's curve and the server's own budget."""
VLLM: Final = VllmWorld(SMALL)
TRITON: Final = TritonWorld(SMALL, triton.Limits(preferred=(16, 32), delay=0.005))
INFINITY: Final = InfinityWorld(SMALL)
SLOTS: Final = SlotsWorld()
