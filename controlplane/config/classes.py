"""The classes of requests that a user names: their requests, and their objectives.

A class has replicas of its own, so its requests wait for no others. Envoy finds the class of a
request before it chooses a replica: by a header, the path, or the length of the body.
"""

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from controlplane.config.balancing import BalancingSettings, Gateways
from controlplane.config.errors import SettingsError, check_distinct
from controlplane.config.values import (
    Duration,
    HeaderName,
    Name,
    PathPrefix,
    Percentage,
    Settings,
    is_below,
)

DEFAULT: Final = "default"
"""The name under which the class of all other requests is shown."""

MAX_CLASSES: Final = 8
"""Of one pool: every Envoy checks the health of every replica once for each class."""

MAX_BYTES: Final = 1 << 50
"""More than any request has."""

HeaderValue = Annotated[
    str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]{0,254}[\x21-\x7e])?$")
]
"""Of a request header: visible ASCII, with spaces inside at most (RFC 9110, section 5.5)."""

Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]


class ObjectiveSettings(Settings):
    """What a pool, or a class of its requests, is to achieve.

    Attributes:
        p99: The 99th percentile of request durations, in seconds.
        availability: The part of requests to answer without an error, 0 to 1; None: no objective.
    """

    p99: Duration
    availability: Percentage | None = None


class HeaderMatch(Settings):
    """A request header that has exactly this value."""

    name: HeaderName
    value: HeaderValue


class ClassMatch(Settings):
    """Which requests belong to a class: a request must meet all given conditions.

    A request that does not state its length (chunked) has no length that could match.

    Attributes:
        header: A request header.
        prefix: The first segments of the path.
        min_bytes: The least length of the body.
        max_bytes: The greatest length of the body.
    """

    header: HeaderMatch | None = None
    prefix: PathPrefix | None = None
    min_bytes: Bytes | None = None
    max_bytes: Bytes | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.header is None and self.prefix is None and self.lengths is None:
            raise ValueError(
                "must say which requests belong to the class: a header, a prefix, min_bytes or"
                " max_bytes"
            )
        if self.lengths is not None and self.lengths.first > self.lengths.last:
            raise SettingsError(
                f"is more than max_bytes, {self.lengths.last}: no request has such a length",
                ("min_bytes",),
            )
        return self

    @property
    def lengths(self) -> "Lengths | None":
        """The lengths that match; None where the length does not matter."""
        if self.min_bytes is None and self.max_bytes is None:
            return None
        last = MAX_BYTES if self.max_bytes is None else self.max_bytes
        return Lengths(self.min_bytes or 0, last)

    def takes_all_of(self, other: "ClassMatch") -> bool:
        """Whether every request that matches `other` matches this, too."""
        if self.header is not None and not _same(self.header, other.header):
            return False
        if self.prefix is not None and not is_below(other.prefix or "", self.prefix):
            return False
        mine, others = self.lengths, other.lengths
        return mine is None or (
            others is not None and mine.first <= others.first and others.last <= mine.last
        )


class Lengths(NamedTuple):
    """Lengths of a body in bytes, `first` and `last` included."""

    first: int
    last: int


def _same(header: HeaderMatch, other: HeaderMatch | None) -> bool:
    # The case of a header's name means nothing (RFC 9110, section 5.1).
    return (
        other is not None
        and header.name.lower() == other.name.lower()
        and header.value == other.value
    )


class ClassSettings(Settings):
    """A class of requests with replicas of its own.

    Attributes:
        name: Unique in the pool.
        match: Which requests belong to the class.
        objective: None: no objective.
        via: The gateways that its requests go through; empty: none.
    """

    name: Name
    match: ClassMatch
    objective: ObjectiveSettings | None = None
    via: Gateways = ()

    @model_validator(mode="after")
    def _name_is_free(self) -> Self:
        if self.name == DEFAULT:
            raise SettingsError(
                f"{DEFAULT} is the class of all requests that no other takes: choose another name",
                ("name",),
            )
        return self


def check_classes(
    classes: Sequence[ClassSettings], prefix: str, balancing: BalancingSettings
) -> None:
    """Check that classes, in matching order, fit each other, the pool's route and its balancing."""
    if not classes:
        raise SettingsError(
            "has no class in it: leave it out, and requests are parted by length where that helps",
            ("classes",),
        )
    if balancing.policy != "capacity-tiers":
        raise SettingsError(
            f"need policy capacity-tiers, not {balancing.policy}: a class has replicas of its own",
            ("classes",),
        )
    check_distinct("classes", classes, ("name",))
    for index, one in enumerate(classes):
        _check_prefix(one.match, prefix, ("classes", index, "match"))
        for above in classes[:index]:
            _check_order(above, one, prefix, ("classes", index, "match"))


def _check_prefix(match: ClassMatch, prefix: str, path: tuple[str | int, ...]) -> None:
    if match.prefix is None:
        return
    if not is_below(match.prefix, prefix):
        raise SettingsError(
            f"{match.prefix} is not below the pool's route, {prefix}: no such request comes here",
            (*path, "prefix"),
        )
    if match.prefix == prefix and match.header is None and match.lengths is None:
        raise SettingsError(
            "takes every request of the pool, so that the other classes have none",
            (*path, "prefix"),
        )


def _check_order(
    above: ClassSettings, one: ClassSettings, prefix: str, path: tuple[str | int, ...]
) -> None:
    first, second = (
        match if match.prefix is not None else match.model_copy(update={"prefix": prefix})
        for match in (above.match, one.match)
    )
    if not first.takes_all_of(second):
        return
    if second.takes_all_of(first):
        raise SettingsError(f"is the same as that of class {above.name}", path)
    raise SettingsError(
        f"takes nothing that class {above.name} above does not take first: put the narrower one"
        " first",
        path,
    )
