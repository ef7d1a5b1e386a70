"""The OpenTelemetry collector of the fleet, and what Envoys send to it."""

import re
from decimal import Decimal
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from controlplane.config.errors import shown
from controlplane.config.values import Address, Settings, parse_address

_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%", re.ASCII)


def parse_percent(text: object) -> float:
    """Read a part such as ``1%`` or ``0.25%``; the result is in percent.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    found = _PERCENT.fullmatch(text) if isinstance(text, str) else None
    if found is None or Decimal(found[1]) > 100:
        raise ValueError(
            f'{shown(text)} is no part of all requests: write "0%" to "100%", in steps of 0.01'
        )
    return float(found[1])


def _collector(text: object) -> Address:
    address = parse_address(text)
    if address.port == 0:
        raise ValueError(
            f'{shown(text)} is not a collector: write it like "10.0.0.9:4317", as Envoys reach it'
        )
    return address


Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    PlainSerializer(lambda percent: f"{percent:g}%", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})?%$"}),
]

Collector = Annotated[Address, BeforeValidator(_collector), PlainSerializer(str, return_type=str)]


class OtlpSettings(Settings):
    """Where Envoys send spans and lines of their log, as OTLP over gRPC in plain text.

    Attributes:
        address: Of the collector, as Envoys reach it; names are looked up by them.
        sampling: Percentage of requests that get a trace, of those that bring none; one that
            brings a ``traceparent`` is traced where that says so.
        access_log: Whether a record of every request is sent, too.
    """

    address: Collector
    sampling: Percent = 1.0
    access_log: bool = False
