"""What the control plane says of a replica: its REST API's JSON in, what is shown out. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Standing:
    """One replica, as ``GET /v1/pools/{pool}/replicas`` describes it; None for unknown.

    Attributes:
        capacity: Requests per second.
        p99_ms: Of its request durations, by its own metrics.
        memory: GPU memory in use, 0 to 1.
        tier: The capacity tier that it is in.
        weight: Envoy's.
        share: Of the pool's traffic that its weight gives it, 0 to 1.
        rate: Requests per second, by its own metrics.
        latency: Seconds of a request on average, by its own metrics.
        in_flight: Requests, by its own metrics.
        queue: Requests that wait inside of it.
    """

    capacity: float | None = None
    p99_ms: float | None = None
    memory: float | None = None
    tier: str | None = None
    weight: int | None = None
    share: float | None = None
    rate: float | None = None
    latency: float | None = None
    in_flight: float | None = None
    queue: float | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Standing":
        """Read one of the replicas."""
        readings = body.get("readings") or {}
        gpus = readings.get("memory") or [{}]
        mean_ms = readings.get("latency_mean_ms")
        return cls(
            capacity=body.get("capacity"),
            p99_ms=readings.get("p99_ms"),
            memory=gpus[0].get("fraction"),
            tier=body.get("tier"),
            weight=body.get("weight"),
            share=body.get("share"),
            rate=readings.get("rate_rps"),
            latency=None if mean_ms is None else mean_ms / 1000,
            in_flight=readings.get("in_flight"),
            queue=readings.get("queue"),
        )


def standings(answer: Mapping[str, Any]) -> dict[str, Standing]:
    """Read the API's answer, by replica id."""
    return {body["id"]: Standing.of(body) for body in answer.get("replicas", ())}
