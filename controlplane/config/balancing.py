"""How Envoy chooses a replica of a pool: a policy, and what some policies need."""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from controlplane.config.addresses import EndpointAddress
from controlplane.config.errors import SettingsError
from controlplane.config.values import Duration, HeaderName, Settings

Policy: TypeAlias = Literal[
    "capacity-tiers",
    "weighted-least-request",
    "least-request",
    "round-robin",
    "client-side-weighted-round-robin",
    "ring-hash",
    "maglev",
]
"""How Envoy chooses; ``docs/balancing.md`` says what each does, uses and ignores."""

WEIGHED: Final[frozenset[Policy]] = frozenset({"capacity-tiers", "weighted-least-request"})
"""Policies that use the capacity of each replica."""

COMPARING: Final[frozenset[Policy]] = frozenset({*WEIGHED, "least-request"})
"""Policies that compare how many requests each replica has in flight."""

HASHING: Final[tuple[Policy, ...]] = ("ring-hash", "maglev")
"""Policies that send requests with the same hash to the same replica."""


MAX_GATEWAYS: Final = 16
"""Of one class: every Envoy checks the health of each."""

Gateways = Annotated[tuple[EndpointAddress, ...], Field(strict=False, max_length=MAX_GATEWAYS)]
"""Where Envoys reach the gateways that a class's requests go through."""


class HashSettings(Settings):
    """What of a request is hashed: one of header, cookie and source address.

    A request without it goes to any replica.

    Attributes:
        header: The name of a request header.
        cookie: The name of a cookie.
        ttl: Lifetime in seconds of the cookie that Envoy sets where a client has none; None: none.
        source_address: Whether the client's IP address is hashed.
    """

    header: HeaderName | None = None
    cookie: HeaderName | None = None
    ttl: Duration | None = None
    source_address: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        given = (self.header is not None, self.cookie is not None, self.source_address)
        if sum(given) != 1:
            raise ValueError(
                "must say one thing to hash on: {header: NAME}, {cookie: NAME} or"
                " {source_address: true}"
            )
        if self.ttl is not None and self.cookie is None:
            raise SettingsError("is the lifetime of a cookie: leave it out", ("ttl",))
        if self.ttl is not None and not self.ttl.is_integer():
            # Envoy drops fractions of a second, and 0 would mean a session cookie.
            raise SettingsError("must be whole seconds", ("ttl",))
        return self

    def __str__(self) -> str:
        if self.header is not None:
            return f"header {self.header}"
        return f"cookie {self.cookie}" if self.cookie is not None else "source address"


class BalancingSettings(Settings):
    """How Envoy chooses a replica.

    Attributes:
        policy: The rule.
        hash: What is hashed; only for the policies that hash.
        locality: Whether Envoy prefers replicas in its own zone, then in its region.
        slow_start: Seconds in which the share of a newly ready replica grows to its full size, for
            the policies with shares; None: at once.
        long_requests: Whether long requests go to the fast replicas alone, in a pool with capacity
            tiers whose replicas count their tokens.
        long_requests_via: The gateways that long requests go through; empty: none.
    """

    policy: Policy = "capacity-tiers"
    hash: HashSettings | None = None
    locality: Literal["any", "nearest"] = "any"
    slow_start: Duration | None = 10.0
    long_requests: Literal["fast-replicas", "any-replica"] = "fast-replicas"
    long_requests_via: Gateways = ()

    @model_validator(mode="after")
    def _hash_where_it_is_used(self) -> Self:
        hashes = self.policy in HASHING
        if hashes and self.hash is None:
            raise SettingsError(
                f"is missing: policy {self.policy} needs to know what to hash on, as in"
                " {header: x-user}",
                ("hash",),
            )
        if not hashes and self.hash is not None:
            raise SettingsError(
                f"has no effect with policy {self.policy}: leave it out, or choose"
                f" {' or '.join(HASHING)}",
                ("hash",),
            )
        return self
