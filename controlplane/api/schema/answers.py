"""The base of all answers, and the answers that are about no single pool."""

from typing import Annotated, Any, ClassVar, Unpack

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema


def one_of(*values: str) -> WithJsonSchema:
    """Describe a text as one of some values; a client also takes values of a newer version."""
    return WithJsonSchema({"type": "string", "enum": [*values]})


class Answer(BaseModel):
    """Base of all answers: frozen, and open to keys of a newer control plane.

    Attributes:
        settings_model: The settings that the answer repeats. The OpenAPI document describes the
            answer by them; a client reads them as text.
    """

    # A process reads few of these models, and a validator takes time to build.
    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        use_attribute_docstrings=True,
        defer_build=True,
        json_schema_serialization_defaults_required=True,
    )

    settings_model: ClassVar[type[BaseModel] | None] = None

    def __init_subclass__(
        cls, *, settings: type[BaseModel] | None = None, **config: Unpack[ConfigDict]
    ) -> None:
        super().__init_subclass__(**config)
        cls.settings_model = settings

    def document(self) -> dict[str, Any]:
        """Return the answer as the control plane has sent it, unknown keys included."""
        return self.model_dump(mode="json", exclude_unset=True)


class Declared(Answer):
    """Something declared: its settings as they can be put, and the origin of each."""

    sources: dict[str, Annotated[str, one_of("file", "api", "discovery", "default")]]
    """Where the value of each setting comes from."""
    etag: str | None = Field(default=None, exclude=True)
    """ETag for `if_match`; None in a list."""

    @property
    def settings(self) -> dict[str, Any]:
        """What is declared, as it can be put; keys of a newer control plane included."""
        document = self.document()
        return {key: document[key] for key in self.sources if key in document}


class Sender(Answer):
    """The sender of a request."""

    name: str
    """Name of the token or of the certificate; `loopback` for a program of this machine."""
    role: Annotated[str, one_of("read", "register", "operate")]
    kind: Annotated[str, one_of("token", "certificate", "loopback")]
    """What the sender has shown."""
    version: str
    """Version of the control plane."""


class NodeLocality(Answer):
    """Where an Envoy runs, as its bootstrap says; empty where it does not say."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class Rejection(Answer):
    """A response that an Envoy has rejected."""

    names: tuple[str, ...]
    """The resources in it."""
    message: str
    """Envoy's words."""
    age_s: float


class NodeType(Answer):
    """What an Envoy holds of one type of resource."""

    type_url: str
    wildcard: bool
    """Whether it subscribes to all resources."""
    subscribed: int | None = None
    """Resources that it subscribes to by name."""
    held: int
    """Resources that it has acknowledged."""
    sent: str | None = None
    """The version sent last."""
    sent_age_s: float | None = None
    acknowledged: str | None = None
    """The version acknowledged last."""
    acknowledged_age_s: float | None = None
    in_sync: bool
    """Whether the two versions are the same and no rejection is open."""
    refused: tuple[str, ...] = ()
    """Resources that it rejected and that have not changed since."""
    last_rejection: Rejection | None = None


class Disagreement(Answer):
    """A replica whose health an Envoy and the control plane see differently."""

    pool: str
    replica: str
    sees: Annotated[str, one_of("healthy", "unhealthy")]
    """What the Envoy sees."""
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
    """Whether it holds the newest version of every type."""
    types: tuple[NodeType, ...]
    disagrees: tuple[Disagreement, ...] = ()
    """Replicas whose health it sees differently."""
    identity: str = ""
    """The SPIFFE id of its certificate; empty without TLS."""
    sends: dict[str, float] = {}
    """Requests per second that it sends, by pool; empty where it reports none."""


class RefusedNode(Answer):
    """A client of xDS that was not admitted within the last ten minutes."""

    id: str
    """The node that its certificate names; an IP address where it names none."""
    peer: str
    """The address that it last came from."""
    reason: str
    age_s: float


class NodeList(Answer):
    """The connected Envoys, and the Envoys refused lately."""

    nodes: tuple[Node, ...]
    refused: tuple[RefusedNode, ...] = ()


class AuditEntry(Answer):
    """One change of what is declared."""

    number: int
    at: str
    """UTC, RFC 3339."""
    who: str
    """The token's name, `loopback`, `config file`, `discovery` or `control plane`."""
    change: Annotated[str, one_of("added", "changed", "removed")]
    pool: str
    replica: str | None = None
    """None where the pool itself changed."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Audit(Answer):
    """A page of the audit log, the newest entries first."""

    entries: tuple[AuditEntry, ...]
    next: int | None = None
    """Value for `before` on the next page; None where there are no older entries."""


class Put(Answer):
    """The ids of replicas that were put together, by what has changed."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


class Difference(Answer):
    """One difference between what Envoys would be sent and what they hold."""

    type_url: str
    name: str
    pointer: str
    """JSON pointer into the resource; empty for all of it."""
    before: Any
    after: Any


class Preview(Answer):
    """What a change would lead to. Nothing was changed."""

    dry_run: Annotated[bool, WithJsonSchema({"type": "boolean", "const": True})]
    changes: bool
    """Whether Envoys would be sent anything new."""
    when_ready: tuple[str, ...]
    """Replicas that Envoys get only once they are ready; the preview shows them as ready."""
    resources: dict[str, dict[str, Any]]
    """The resources of the pools that change, as Envoys would get them, by type and name."""
    diff: tuple[Difference, ...]


class NodeCertificate(Answer):
    """A node's certificate."""

    certificate: str
    """The certificate, and the one that signed it, in PEM."""

    roots: str
    """The certificates to trust, in PEM."""

    expires: float
    """When the certificate ends, in seconds since 1970."""


class Live(Answer):
    """Whether the process answers."""

    live: bool


class Ready(Answer):
    """Whether Envoys are served."""

    ready: bool


class ErrorDocument(Answer):
    """An error (RFC 9457)."""

    # Keys that do not apply are left out.
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str
    title: str
    status: int
    detail: str
    """One sentence: what is wrong and what would be right."""
    pointer: str | None = None
    """JSON pointer to the part of the body that is wrong."""
    parameter: str | None = None
    """The query parameter, or the header, that is wrong."""


class PoolEvent(Answer):
    """Event `pool`: a pool was added, changed or removed."""

    pool: str
    change: Annotated[str, one_of("added", "changed", "removed")]
    etag: str | None


class PartingEvent(Answer):
    """Event `parting`: requests of a pool begin or cease to go by class, or a class has changed."""

    pool: str
    change: Annotated[str, one_of("begun", "changed", "ended")]
    classes: dict[str, int]
    """How many replicas serve each class first, by its name; empty where it ended."""
    reasons: tuple[str, ...]


class NodeEvent(Answer):
    """Event `node`: an Envoy has connected, has left, has rejected a response, or was refused."""

    # Keys that do not apply are left out.
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    id: str
    change: Annotated[str, one_of("connected", "left", "rejected", "refused")]
    peer: str | None = None
    """The address that a refused one called from."""
    locality: NodeLocality | None = None
    reason: str | None = None
    type_url: str | None = None
    names: tuple[str, ...] | None = None
    message: str | None = None


class MissedEvent(Answer):
    """Event `missed`: some events are no longer kept; `state` follows."""

    detail: str = ""
