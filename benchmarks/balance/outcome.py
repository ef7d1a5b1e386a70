"""What a generator saw, request by request, as it is handed from its process to ours."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from json import dumps, loads
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was sent.

    Attributes:
        at: Seconds after the begin of the load when it should have been sent.
        kind: Its class.
        tokens: Of its texts.
        late: Seconds after that when it was sent.
        latency: Seconds from when it should have been sent to the end of the answer; None for one
            that failed, or had no answer when the run was cut.
        status: Of the answer; None when there was none.
        replica: Who answered; None when nobody did.
        took: Seconds from when it should have been sent to its end, failed ones included; None
            where it had not ended when the load was given up.
    """

    at: float
    kind: str
    tokens: int
    late: float
    latency: float | None
    status: int | None
    replica: int | None
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A generator's whole report.

    Attributes:
        requests: In the order in which they should have been sent.
        cut_at: Seconds after the begin when the run was cut, because too many requests waited.
        cpu: Seconds of CPU that the generator took per second.
    """

    requests: tuple[Request, ...]
    cut_at: float | None
    cpu: float


def encode(requests: Iterable[Request], cut_at: float | None, cpu: float) -> str:
    """An outcome as text."""
    return dumps(asdict(Outcome(tuple(requests), cut_at, cpu)))


def decode(text: str) -> Outcome:
    """The outcome that a text says."""
    data: dict[str, Any] = loads(text)
    return Outcome(
        tuple(Request(**request) for request in data["requests"]), data["cut_at"], data["cpu"]
    )
