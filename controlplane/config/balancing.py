"""How Envoy chooses a replica of a pool, as a user says it: a policy, and what some need."""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import StringConstraints, model_validator

from controlplane.config.errors import SettingsError
from controlplane.config.values import Duration, Settings

Policy: TypeAlias = Literal[
    "capacity-tiers",
    "weighted-least-request",
    "least-request",
    "round-robin",
    "client-side-weighted-round-robin",
    "ring-hash",
    "maglev",
]
"""By what Envoy chooses; ``docs/balancing.md`` says what each does, uses and ignores."""

WEIGHED: Final[frozenset[Policy]] = frozenset({"capacity-tiers", "weighted-least-request"})
"""Policies for which Envoy is told what each replica can carry."""

COMPARING: Final[frozenset[Policy]] = frozenset({*WEIGHED, "least-request"})
"""Policies that compare how many requests each replica has in flight."""

HASHING: Final[tuple[Policy, ...]] = ("ring-hash", "maglev")
"""Policies that send what has the same hash to the same replica."""

Token = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
"""The name of a header (RFC 9110, section 5.6.2) or of a cookie (RFC 6265, section 4.1.1)."""


class HashSettings(Settings):
    """What of a request is hashed: one of header, cookie and source address.

    A request without it goes to any replica.

    Attributes:
        header: The name of a request header.
        cookie: The name of a cookie.
        ttl: Seconds for which Envoy gives a client a cookie that has none; None: it gives none.
        source_address: Whether it is the client's IP address.
    """

    header: Token | None = None
    cookie: Token | None = None
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
            # Envoy cuts off what is less than a second, and 0 would be another kind of cookie.
            raise SettingsError("must be whole seconds", ("ttl",))
        return self

    def __str__(self) -> str:
        if self.header is not None:
            return f"header {self.header}"
        return f"cookie {self.cookie}" if self.cookie is not None else "source address"


class BalancingSettings(Settings):
    """How Envoy chooses a replica.

    Attributes:
        policy: By what it chooses.
        hash: What is hashed, for the policies that do; None for the others.
        locality: Whether replicas in its own zone are used first, then those in its region.
        slow_start: Seconds in which a replica that has become ready comes to its full share, for
            the policies that have shares; None: it gets it at once.
        long_requests: Whether long ones go to the fast replicas alone, where a pool with capacity
            tiers has fast and slow ones and they count their tokens.
    """

    policy: Policy = "capacity-tiers"
    hash: HashSettings | None = None
    locality: Literal["any", "nearest"] = "any"
    slow_start: Duration | None = 10.0
    long_requests: Literal["fast-replicas", "any-replica"] = "fast-replicas"

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
                f"means nothing to policy {self.policy}: leave it out, or choose"
                f" {' or '.join(HASHING)}",
                ("hash",),
            )
        return self
