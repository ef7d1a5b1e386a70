"""What requests carry: the parameters of each query, and the body for many replicas.

An ignored misspelt parameter (`?dryrun=true`) would do the opposite of what is wanted, so unknown
parameters are refused.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from controlplane.config import (
    Locality,
    ReplicaEntry,
    ReplicaSettings,
    SettingsError,
    parse_duration,
    shown,
)
from controlplane.config.errors import check_distinct
from controlplane.config.values import Name, Settings, format_duration

MAX_PAGE: Final = 10_000
MAX_BATCH: Final = 1_000

_LABEL: Final = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}(=[A-Za-z0-9._/:@+-]{0,128})?$"


def _text(parse: Callable[[str], object]) -> BeforeValidator:
    """Parse a text; a query has nothing else."""
    return BeforeValidator(lambda given: parse(given) if isinstance(given, str) else given)


def _integer(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text, re.ASCII):
        raise ValueError(f"{shown(text)} is not a whole number from 1 on")
    return int(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text == "true"


Flag = Annotated[bool, _text(_boolean)]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE), _text(_integer)]

_DURATION: Final = WithJsonSchema(
    {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)$", "examples": ["5m"]}
)


class Query(BaseModel):
    """No parameters."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True
    )


class Change(Query):
    """The parameters of every change."""

    dry_run: Flag = False
    """Change nothing: answer with what Envoys would get, and how it differs from what they hold."""


class Removal(Change):
    """The parameters that remove a replica."""

    force: Flag = False
    """Remove the replica, however many were removed before."""


class Batch(Change):
    """The parameters that put many replicas."""

    force: Flag = False
    """Put the replicas even if most of the pool moves to other addresses."""


class Page(Query):
    """A page of a list. Names are in alphabetical order, so a page still fits after a change."""

    limit: Limit | None = None
    """The most names on the page; all by default."""

    after: Name | None = None
    """The last name of the page before, which is its `next`."""


class PoolPage(Page):
    """A page of the list of pools."""

    replicas: Flag = True
    """With `false`, `replicas` of each pool is empty; `counts` and `traffic` are as they are."""


class ReplicaPage(Page):
    """A page of the list of replicas."""

    label: tuple[Annotated[str, Field(pattern=_LABEL)], ...] = Field(default=(), max_length=32)
    """Only replicas with this label: `rack=7`, or `rack` with any value. Repeat it for more."""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a replica with these labels is listed."""
        for wanted in self.label:
            key, equals, value = wanted.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
        return True


class Since(Query):
    """How far back a history goes."""

    since: Annotated[float, _text(parse_duration), PlainSerializer(format_duration), _DURATION] = (
        3600.0
    )
    """How far back, as in `5m`; everything that is kept by default."""


class AuditPage(Query):
    """A page of the audit log."""

    limit: Limit = 100
    """The most entries on the page, the newest first."""

    before: Annotated[int, Field(ge=1), _text(_integer)] | None = None
    """Only entries with a smaller number: the page before this one has it as `next`."""


class JoinRequest(Settings):
    """What a node shows to get its certificate: a join token, or the certificate that it has."""

    node: str = Field(pattern=r"^[A-Za-z0-9._-]{1,255}$")
    """The node's id."""

    csr: str = Field(min_length=1, max_length=16_384)
    """A certificate request in PEM with a key of the elliptic curve P-256; only the key counts."""

    token: str | None = Field(default=None, min_length=1, max_length=256)
    """A join token, which is used up."""

    certificate: str | None = Field(default=None, min_length=1, max_length=65_536)
    """In place of a token: the certificate until now, and the one that signed it, in PEM."""

    @model_validator(mode="after")
    def _shows_one_thing(self) -> Self:
        if (self.token is None) == (self.certificate is None):
            raise SettingsError("give either token or certificate", ("token",))
        return self


class NodeRequest(Settings):
    """An Envoy, as its bootstrap describes it under `node`."""

    metadata: dict[str, Any] = Field(default_factory=dict)
    """What `plimsoll bootstrap` writes there."""

    locality: Locality = Locality()


class ReplicaBatch(Settings):
    """Replicas to add or change together; replicas that are not named stay as they are."""

    replicas: tuple[ReplicaEntry, ...] = Field(strict=False, min_length=1, max_length=MAX_BATCH)

    @model_validator(mode="after")
    def _replicas_differ(self) -> Self:
        check_distinct("replicas", self.replicas, ("id", "address", "ingress"))
        return self

    def by_id(self) -> dict[str, ReplicaSettings]:
        """The settings of each replica."""
        return {replica.id: replica.settings() for replica in self.replicas}
