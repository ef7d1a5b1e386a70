"""Which part of the fleet one Envoy asked for, and where it wants its listeners."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Final, Literal, Self
from weakref import WeakKeyDictionary, ref

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    model_validator,
)

from controlplane.balancing import NOWHERE, Place
from controlplane.config import Address, OtlpSettings, SettingsError, shown, validated
from controlplane.config.addresses import ListenerAddress
from controlplane.config.tls import GatewayTls
from controlplane.resources.listeners import Downstream, LogFormat
from controlplane.resources.resource import Resource
from controlplane.resources.secret_sources import SecretSource, secret_source
from controlplane.resources.tls import Terminated, gateway_secrets, terminated

METADATA_KEY: Final = "plimsoll"
"""The key of the node metadata that `plimsoll bootstrap` writes and `View.of` reads."""

GATEWAY: Final = "gateway"
INGRESS: Final = "ingress"
ALL_POOLS: Final = "*"
"""Stands for a pool's name at the listener of a gateway."""
MAX_POOLS: Final = 1_000
"""Pools that one Envoy may name. With more it names none, and gets all."""
MAX_NAME: Final = 256
"""Characters that such a name may have."""
MAX_NODE_ID: Final = 256
"""Characters of a node's id, and of what else it says about itself."""
MAX_PROXIES: Final = 16
"""Proxies in front of one Envoy at most."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{shown(text)} has characters that do not print")
    return text


def _whole(value: object) -> object:
    # Every number in a node's metadata is a float.
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Name = Annotated[str, StringConstraints(max_length=MAX_NAME)]


class _Metadata(BaseModel):
    """The metadata that a bootstrap gives its node; keys of newer bootstraps are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    role: Literal["sidecar", "gateway", "ingress"] = "sidecar"
    pools: Annotated[list[_Name], Field(max_length=MAX_POOLS)] | None = None
    listen: dict[_Name, ListenerAddress] = Field(default_factory=dict, max_length=MAX_POOLS)
    access_log: Annotated[_Name, Field(min_length=1), AfterValidator(_printable)] | None = None
    log: LogFormat | None = None
    trusted_proxies: Annotated[int, Field(ge=0, le=MAX_PROXIES), BeforeValidator(_whole)] = 0
    identity: Annotated[SecretSource | None, PlainValidator(secret_source)] = None
    tls: GatewayTls | None = None
    replica: ListenerAddress | None = None

    @model_validator(mode="after")
    def _fits_role(self) -> Self:
        is_gateway, addresses = self.role == GATEWAY, self.listen
        if is_gateway != (ALL_POOLS in addresses) or (is_gateway and len(addresses) > 1):
            raise SettingsError(
                f'a gateway, and nobody else, has "{ALL_POOLS}" with the address that it listens'
                " on, and nothing beside it",
                ("listen",),
            )
        if self.tls is not None and not is_gateway:
            raise SettingsError(
                "is for gateways: a sidecar terminates TLS as listener.tls of each pool says",
                ("tls",),
            )
        if self.replica is None and self.role == INGRESS:
            raise SettingsError("an ingress has the address of its replica", ("replica",))
        if self.replica is not None and self.role != INGRESS:
            raise SettingsError(f"is for the role {INGRESS}", ("replica",))
        if self.role == INGRESS and (len(addresses) != 1 or self.pools != [*addresses]):
            raise SettingsError(
                "an ingress has one pool, and the address that it listens on for it", ("listen",)
            )
        if self.replica in addresses.values():
            raise SettingsError(
                f"{self.replica} is where the ingress itself listens: requests would come back for"
                " ever",
                ("replica",),
            )
        return self


@dataclass(frozen=True, slots=True, weakref_slot=True)
class View:
    """What one Envoy or gRPC client sees; equal views share the same resources.

    Attributes:
        pools: The names of the pools it wants, sorted; None for all.
        listen: Pools whose listener it moves, with the address, sorted by name.
        gateway: Where a gateway opens its one listener for all of them; None for other roles.
        access_log: See `Downstream`, as the following two.
        replica: Where the replica of an ingress serves. It has one pool, for which `listen` says
            where it listens.
        ejects: Whether a gRPC client leaves out replicas that fail most calls.
    """

    pools: tuple[str, ...] | None = None
    listen: tuple[tuple[str, Address], ...] = ()
    place: Place = NOWHERE
    gateway: Address | None = None
    access_log: str | None = None
    log: LogFormat | None = None
    trusted_proxies: int = 0
    identity: SecretSource | None = None
    tls: GatewayTls | None = None
    replica: Address | None = None
    is_grpc: bool = False
    ejects: bool = True
    # It is looked up for every stream at every change.
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = tuple(getattr(self, each.name) for each in fields(self) if each.compare)
        object.__setattr__(self, "_hash", hash(values))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(
        cls,
        metadata: Mapping[str, Any],
        place: Place = NOWHERE,
        *,
        is_grpc: bool = False,
        ejects: bool = True,
    ) -> "View":
        """Read a node's metadata; `ValueError` where it is wrong. For gRPC see `View.ejects`."""
        wanted = metadata.get(METADATA_KEY, {})
        if not isinstance(wanted, Mapping):
            raise ValueError(f"node metadata {METADATA_KEY!r} must be a mapping")
        try:
            given = validated(_Metadata, wanted)
        except SettingsError as error:
            raise ValueError(f"node metadata {METADATA_KEY}.{error}") from None
        if is_grpc and given.listen:
            raise ValueError(f"node metadata {METADATA_KEY}.listen: a gRPC client listens nowhere")
        if is_grpc and given.identity is not None:
            raise ValueError(
                f"node metadata {METADATA_KEY}.identity is for Envoys: the application of a gRPC"
                " client has the credentials that it shows replicas"
            )
        pools = None if given.pools is None else tuple(sorted(set(given.pools)))
        gateway = given.listen.get(ALL_POOLS)
        listen = () if gateway else tuple(sorted(given.listen.items()))
        downstream = (given.access_log, given.log, given.trusted_proxies)
        own = (given.identity, given.tls, given.replica)
        return _shared(View(pools, listen, place, gateway, *downstream, *own, is_grpc, ejects))

    def downstream(
        self, upload: float, tls: Terminated | None, otlp: OtlpSettings | None
    ) -> Downstream:
        """How one of its listeners treats clients; `upload`: seconds for a whole request."""
        is_gateway, told = self.gateway is not None, (self.access_log, self.log)
        return Downstream(*told, self.trusted_proxies, is_gateway, upload, tls, otlp)

    @property
    def terminated(self) -> Terminated | None:
        """How the listener of a gateway terminates TLS; None: it does not."""
        if self.tls is None:
            return None
        asks_clients = self.tls.client_ca is not None
        return terminated(ALL_POOLS, len(self.tls.certificates), asks_clients=asks_clients)

    @property
    def files(self) -> tuple[Resource, ...]:
        """The secrets that the listener of a gateway takes its files from."""
        return gateway_secrets(ALL_POOLS, self.tls) if self.tls is not None else ()

    def within(self, allowed: Collection[str]) -> "View":
        """The same view of no other pools than these; `ValueError` where it names another one."""
        named = {*(self.pools or ()), *(name for name, _ in self.listen)}
        if beyond := sorted(named - set(allowed)):
            raise ValueError(f"it may not have pool {shown(beyond[0])}")
        if self.pools is not None:
            return self
        return _shared(replace(self, pools=tuple(sorted(allowed))))

    def shows(self, pool: str) -> bool:
        """Whether the pool of this name is part of the view."""
        return self.pools is None or pool in self.pools


_KNOWN: Final[WeakKeyDictionary["View", "ref[View]"]] = WeakKeyDictionary()
"""The views of connected clients; those of others are garbage."""


def _shared(made: View) -> View:
    """One object for equal views: it is looked up for every stream at every change."""
    known = found() if (found := _KNOWN.get(made)) is not None else None
    if known is not None:
        return known
    _KNOWN[made] = ref(made)
    return made
