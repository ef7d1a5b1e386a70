"""What each Envoy sends to each pool: its load reports in, requests per second out."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.telemetry.load import SHORTEST, Endpoint, Load

OVER: Final = 10.0
"""Seconds over which requests are averaged."""


@dataclass(slots=True)
class _Sender:
    node: str
    at: float
    rates: dict[str, float] = field(default_factory=dict)


class Senders:
    """The Envoys that report."""

    def __init__(self) -> None:
        self._senders: dict[Hashable, _Sender] = {}

    def came(self, reporter: Hashable, node: str, now: float) -> None:
        """Take note of an Envoy that is about to report; one `reporter` for each stream."""
        self._senders[reporter] = _Sender(node, now)

    def reported(self, reporter: Hashable, loads: Mapping[Endpoint, Load], now: float) -> None:
        """Take in a report; one without any requests may cover no time by its own account."""
        sender = self._senders.get(reporter)
        if sender is None or (seconds := now - sender.at) < SHORTEST:
            return
        sender.at = now
        ended: dict[str, float] = {}
        for endpoint, load in loads.items():
            ended[endpoint.pool] = ended.get(endpoint.pool, 0) + load.succeeded + load.failed
        kept = math.exp(-seconds / OVER)
        for pool in {*ended, *sender.rates}:
            before, rate = sender.rates.get(pool), ended.get(pool, 0.0) / seconds
            sender.rates[pool] = rate if before is None else kept * before + (1 - kept) * rate

    def left(self, reporter: Hashable) -> None:
        """An Envoy has gone."""
        self._senders.pop(reporter, None)

    def sent(self) -> Mapping[str, Mapping[str, float]]:
        """Requests per second by node and pool."""
        found: dict[str, dict[str, float]] = {}
        for sender in self._senders.values():
            rates = found.setdefault(sender.node, {})
            for pool, rate in sender.rates.items():
                rates[pool] = rates.get(pool, 0.0) + rate
        return found
