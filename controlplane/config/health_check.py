"""How Envoys and the control plane check the health of a replica."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator

from controlplane.config.addresses import Address
from controlplane.config.errors import SettingsError, shown
from controlplane.config.values import Duration, HeaderName, Settings, UrlPath

_RANGE: Final = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)

_OF_THE_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers about how a message is sent, which its sender sets."""


def _statuses(value: object) -> str:
    """Read ``200`` or ``200-299``."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _RANGE.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found[2] is not None and found[2] < found[1]):
        raise ValueError(f'{shown(value)} is no status such as 200, nor a range such as "200-299"')
    return found[0]


Statuses = Annotated[
    str,
    BeforeValidator(_statuses),
    WithJsonSchema({"type": "string", "pattern": r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"}),
]
"""A status of HTTP, or a range of them."""

HeaderValue = Annotated[
    str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,1022}[\x21-\x7e])?$")
]
HostHeader = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$"),
]
"""A host name or an IP address, with a port or without."""

GrpcService = Annotated[str, Field(max_length=256, pattern=r"^[\x21-\x7e]*$")]

Threshold = Annotated[int, Field(ge=1, le=100)]

_OF_HTTP: Final = {"path": "/health", "expected_statuses": ("200",)}


class HealthCheckSettings(Settings):
    """Envoy's active health check, and what the control plane asks of a replica that is not ready.

    Attributes:
        protocol: ``grpc``: the standard health service, ``grpc.health.v1.Health``.
        service: The service to ask about; empty: the whole server. For ``grpc`` alone.
        path: Answers as expected once the model is loaded; by default that of the pool's metric
            profile.
        interval: Seconds between two checks of a replica.
        timeout: Seconds after which a check has failed.
        host: Header ``Host``; None: the replica's address.
        headers: More headers; for ``grpc`` they are metadata.
        expected_statuses: Statuses of a healthy replica.
        unhealthy_threshold: Failed checks in a row until Envoy takes a replica out.
        healthy_threshold: Successful checks in a row until Envoy takes a replica back.
    """

    protocol: Literal["http", "grpc"] = "http"
    service: GrpcService = ""
    path: UrlPath = "/health"
    interval: Duration = 1.0
    timeout: Duration = 1.0
    host: HostHeader | None = None
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, max_length=16)
    expected_statuses: tuple[Statuses, ...] = Field(
        default=("200",), strict=False, min_length=1, max_length=16
    )
    unhealthy_threshold: Threshold = 2
    healthy_threshold: Threshold = 1

    @property
    def asked(self) -> str:
        """What is asked, for messages."""
        if self.protocol == "http":
            return self.path
        return f"grpc.health.v1.Health {self.service}".strip()

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The expected statuses as pairs: the first of each range, and the last."""
        found = (text.partition("-") for text in self.expected_statuses)
        return tuple((int(first), int(last or first)) for first, _, last in found)

    def expects(self, status: int) -> bool:
        """Whether this status is that of a healthy replica."""
        return any(first <= status <= last for first, last in self.ranges)

    def host_of(self, replica: Address) -> str:
        """The header ``Host`` of a check of the replica at an address."""
        return str(replica) if self.host is None else self.host

    @model_validator(mode="after")
    def _fits_protocol(self) -> Self:
        if self.protocol == "http":
            if self.service:
                raise SettingsError("goes with protocol: grpc", ("service",))
            return self
        for key, default in _OF_HTTP.items():
            if getattr(self, key) != default:
                raise SettingsError(
                    "goes with protocol: http; a server of gRPC is asked about a service", (key,)
                )
        return self

    @model_validator(mode="after")
    def _headers_can_be_sent(self) -> Self:
        seen: set[str] = set()
        for name in self.headers:
            lower = name.lower()
            if lower == "host":
                raise SettingsError("give the header Host as host", ("headers", name))
            if lower in _OF_THE_CONNECTION:
                raise SettingsError(
                    "is a header of the connection: leave it out", ("headers", name)
                )
            if lower in seen:
                raise SettingsError("is there twice, in other letters", ("headers", name))
            seen.add(lower)
        return self
