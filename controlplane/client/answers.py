"""What the control plane answers: the base of it, and the answers that are about no pool."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controlplane.client.errors import UnexpectedAnswerError


class Answer(BaseModel):
    """Base of all: frozen, and open to keys that only a newer control plane knows."""

    # To build what validates takes time: many of these are never read by a process.
    model_config = ConfigDict(
        frozen=True, extra="allow", use_attribute_docstrings=True, defer_build=True
    )

    @classmethod
    def of(cls, document: Any) -> Self:
        """Read plain data.

        Raises:
            UnexpectedAnswerError: It is something else.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = "/".join(map(str, first["loc"])) or "the whole of it"
            raise UnexpectedAnswerError(
                f"the control plane's answer is no {cls.__name__.lower()}: {where}:"
                f" {first['msg'][:1].lower()}{first['msg'][1:]}"
            ) from None

    def document(self) -> dict[str, Any]:
        """The same as plain data, as the control plane has sent it, unknown keys included."""
        return self.model_dump(mode="json", exclude_unset=True)


class Tagged(Answer):
    """What can be changed on the condition that nobody else has.

    Attributes:
        etag: Stands for what is declared of it, for `if_match`; None of one in a list.
    """

    etag: str | None = Field(default=None, exclude=True)


class NodeLocality(Answer):
    """Where an Envoy runs, as it says itself; empty where it does not."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class Rejection(Answer):
    """A response that an Envoy has rejected."""

    names: tuple[str, ...]
    """Of the resources in it."""
    message: str
    """In Envoy's words."""
    age_s: float


class NodeType(Answer):
    """What an Envoy holds of one type of resource."""

    type_url: str
    wildcard: bool
    """Whether it wants all there are."""
    subscribed: int | None = None
    """Resources that it asks for by name."""
    held: int
    """Resources that it has acknowledged."""
    sent: str | None = None
    """The version sent last."""
    sent_age_s: float | None = None
    acknowledged: str | None = None
    """The version acknowledged last."""
    acknowledged_age_s: float | None = None
    in_sync: bool
    """Whether the two are the same, and nothing stands refused."""
    refused: tuple[str, ...] = ()
    """What it refused and was not sent otherwise since."""
    last_rejection: Rejection | None = None


class Disagreement(Answer):
    """A replica whose health an Envoy has seen otherwise for a while than the control plane."""

    pool: str
    replica: str
    sees: str
    """The Envoy: `healthy` or `unhealthy`."""
    for_s: float


class Node(Answer):
    """A connected Envoy, or another client of xDS."""

    id: str
    cluster: str = ""
    locality: NodeLocality
    user_agent: str
    version: str
    connected_s: float | None = None
    in_sync: bool = False
    """Whether it holds the newest of every type."""
    types: tuple[NodeType, ...]
    disagrees: tuple[Disagreement, ...] = ()
    """About the health of replicas."""


class NodeList(Answer):
    """The connected Envoys."""

    nodes: tuple[Node, ...]


class AuditEntry(Answer):
    """One change of what is declared."""

    number: int
    at: str
    """UTC, as RFC 3339 has it."""
    who: str
    """The token's name, `loopback`, `config file`, `discovery` or `control plane`."""
    change: str
    """`added`, `changed` or `removed`."""
    pool: str
    replica: str | None = None
    """None where it is about the pool."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Audit(Answer):
    """A page of the audit log, the newest first."""

    entries: tuple[AuditEntry, ...]
    next: int | None = None
    """For `before`; None where there are no older ones."""


class Put(Answer):
    """What has become of many replicas, by id."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


class Difference(Answer):
    """One place where what Envoys would be told differs from what they hold."""

    type_url: str
    name: str
    pointer: str
    """JSON pointer into the resource; empty for the whole of it."""
    before: Any
    after: Any


class Preview(Answer):
    """What a change would come to. Nothing was changed."""

    dry_run: bool
    changes: bool
    """Whether Envoys would be told anything new."""
    when_ready: tuple[str, ...]
    """Replicas that Envoys are told of only once they are ready; here they are taken to be."""
    resources: dict[str, dict[str, Any]]
    """The resources of the pools that change, as Envoys would get them, by type and name."""
    diff: tuple[Difference, ...]


class Live(Answer):
    """It answers."""

    live: bool


class Ready(Answer):
    """Whether Envoys are served."""

    ready: bool
