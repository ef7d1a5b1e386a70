"""Which part of the fleet one Envoy asked for, and where it wants its listeners."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args
from weakref import WeakKeyDictionary, ref

from controlplane.config import (
    Address,
    OtlpSettings,
    SettingsError,
    parse_listener_address,
    shown,
    validated,
)
from controlplane.config.tls import GatewayTls
from controlplane.resources.listeners import Downstream, LogFormat
from controlplane.resources.places import NOWHERE, Place
from controlplane.resources.resource import Resource
from controlplane.resources.secret_sources import SecretSource, secret_source
from controlplane.resources.tls import Terminated, gateway_secrets, terminated

METADATA_KEY: Final = "plimsoll"
"""The key of the node metadata that `plimsoll bootstrap` writes and `View.of` reads."""


SIDECAR: Final = "sidecar"
GATEWAY: Final = "gateway"
INGRESS: Final = "ingress"
ALL_POOLS: Final = "*"
"""In place of a pool's name: the listener of a gateway."""
MAX_POOLS: Final = 1_000
"""That one Envoy may name; who wants more wants all, and names none."""
MAX_NAME: Final = 256
"""Characters that such a name may have."""
MAX_PROXIES: Final = 16
"""In front of one Envoy."""
_PROXIES: Final = range(MAX_PROXIES + 1)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class View:
    """What one Envoy or gRPC client sees; equal views share the same resources.

    Attributes:
        pools: The names of the pools it wants, sorted; None for all.
        listen: Pools whose listener it moves, with the address, sorted by name.
        place: Where it runs.
        gateway: Where a gateway opens its one listener for all of them; None for other roles.
        access_log: See `Downstream`, as the following two.
        identity: Where its certificates come from; None: it has none.
        tls: How a gateway terminates TLS; None: it does not.
        replica: Where the replica of an ingress serves. It has one pool, for which `listen` says
            where it listens.
        is_grpc: Whether it is a gRPC client, and no Envoy.
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
        said = (self.pools, self.listen, self.place, self.gateway, self.access_log)
        more = (self.log, self.trusted_proxies, self.identity, self.tls, self.replica)
        which = (self.is_grpc, self.ejects)
        object.__setattr__(self, "_hash", hash((*said, *more, *which)))

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
        """Read the metadata of a node in this place; for a gRPC client see `View.ejects`.

        Raises:
            ValueError: With one sentence, when the metadata cannot be understood.
        """
        wanted = metadata.get(METADATA_KEY, {})
        if not isinstance(wanted, Mapping):
            raise ValueError(f"node metadata {METADATA_KEY!r} must be a mapping")
        pools, listen = wanted.get("pools"), wanted.get("listen", {})
        if pools is not None and not (
            isinstance(pools, list) and all(isinstance(name, str) for name in pools)
        ):
            raise ValueError(f"node metadata {METADATA_KEY}.pools must be a list of pool names")
        if not isinstance(listen, Mapping):
            raise ValueError(f"node metadata {METADATA_KEY}.listen must map pools to host:port")
        for key, names in (("pools", pools or ()), ("listen", listen)):
            if len(names) > MAX_POOLS:
                raise ValueError(f"node metadata {METADATA_KEY}.{key} names over {MAX_POOLS} pools")
            if any(len(str(name)) > MAX_NAME for name in names):
                raise ValueError(
                    f"node metadata {METADATA_KEY}.{key}: a name is longer than {MAX_NAME}"
                    " characters"
                )
        addresses = {str(name): _address(name, text) for name, text in listen.items()}
        if is_grpc and addresses:
            raise ValueError(f"node metadata {METADATA_KEY}.listen: a gRPC client listens nowhere")
        if is_grpc and wanted.get("identity") is not None:
            raise ValueError(
                f"node metadata {METADATA_KEY}.identity is for Envoys: the application of a gRPC"
                " client has the credentials that it shows replicas"
            )
        role = wanted.get("role", SIDECAR)
        gateway = _gateway(role, addresses)
        replica = _replica(role, wanted.get("replica"), pools, addresses)
        return _shared(
            View(
                None if pools is None else tuple(sorted(set(pools))),
                () if gateway else tuple(sorted(addresses.items())),
                place,
                gateway,
                _access_log(wanted.get("access_log")),
                _log(wanted.get("log")),
                _trusted_proxies(wanted.get("trusted_proxies", 0)),
                secret_source(wanted.get("identity"), f"node metadata {METADATA_KEY}.identity"),
                _tls(wanted.get("tls"), is_gateway=gateway is not None),
                replica,
                is_grpc,
                ejects,
            )
        )

    def downstream(
        self, upload: float, tls: Terminated | None, otlp: OtlpSettings | None
    ) -> Downstream:
        """How one of its listeners treats clients; `upload`: seconds for a whole request."""
        gateway = self.gateway is not None
        told = (self.access_log, self.log, self.trusted_proxies)
        return Downstream(*told, gateway, upload, tls, otlp)

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
        """The same view of no other pools than these.

        Raises:
            ValueError: With one sentence, when it names another one.
        """
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


def _access_log(cluster: object) -> str | None:
    if cluster is None:
        return None
    if (
        not isinstance(cluster, str)
        or not cluster.isprintable()
        or not 0 < len(cluster) <= MAX_NAME
    ):
        raise ValueError(
            f"node metadata {METADATA_KEY}.access_log must be the name of a cluster, of"
            f" {MAX_NAME} characters at most"
        )
    return cluster


def _log(form: object) -> LogFormat | None:
    known: LogFormat
    for known in get_args(LogFormat):
        if form == known:
            return known
    if form is not None:
        raise ValueError(
            f"node metadata {METADATA_KEY}.log must be {' or '.join(get_args(LogFormat))}, not"
            f" {shown(form)}"
        )
    return None


def _trusted_proxies(count: object) -> int:
    # Every number in a node's metadata is a float.
    if isinstance(count, bool) or not isinstance(count, int | float) or count not in _PROXIES:
        raise ValueError(
            f"node metadata {METADATA_KEY}.trusted_proxies must be a whole number from 0 to"
            f" {MAX_PROXIES}, not {shown(count)}"
        )
    return int(count)


def _tls(files: object, *, is_gateway: bool) -> GatewayTls | None:
    if files is None:
        return None
    if not isinstance(files, Mapping):
        raise ValueError(f"node metadata {METADATA_KEY}.tls must be a mapping")
    if not is_gateway:
        raise ValueError(
            f"node metadata {METADATA_KEY}.tls is for gateways: a sidecar terminates TLS as"
            " listener.tls of each pool says"
        )
    try:
        return validated(GatewayTls, files)
    except SettingsError as error:
        raise ValueError(f"node metadata {METADATA_KEY}.tls: {error}") from None


def _gateway(role: object, addresses: Mapping[str, Address]) -> Address | None:
    """Where a gateway listens; None for a sidecar."""
    if role not in (SIDECAR, GATEWAY, INGRESS):
        raise ValueError(
            f"node metadata {METADATA_KEY}.role must be {SIDECAR}, {GATEWAY} or {INGRESS}, not"
            f" {shown(role)}"
        )
    if (role == GATEWAY) != (ALL_POOLS in addresses) or (len(addresses) > 1 and role == GATEWAY):
        raise ValueError(
            f'node metadata {METADATA_KEY}.listen: a gateway, and nobody else, has "{ALL_POOLS}"'
            " with the address that it listens on, and nothing beside it"
        )
    return addresses.get(ALL_POOLS)


def _replica(
    role: object, text: object, pools: object, addresses: Mapping[str, Address]
) -> Address | None:
    """Where the replica serves that an ingress is beside; None for any other Envoy."""
    if role != INGRESS:
        if text is not None:
            raise ValueError(f"node metadata {METADATA_KEY}.replica is for the role {INGRESS}")
        return None
    if len(addresses) != 1 or pools != [*addresses]:
        raise ValueError(
            f"node metadata {METADATA_KEY}.listen: an ingress has one pool, and the address that it"
            " listens on for it"
        )
    try:
        replica = parse_listener_address(text)
    except ValueError as error:
        raise ValueError(f"node metadata {METADATA_KEY}.replica: {error}") from None
    if replica in addresses.values():
        raise ValueError(
            f"node metadata {METADATA_KEY}.replica: {replica} is where the ingress itself listens:"
            " requests would come back for ever"
        )
    return replica


def _address(name: object, text: object) -> Address:
    try:
        return parse_listener_address(text)
    except ValueError as error:
        raise ValueError(
            f"node metadata {METADATA_KEY}.listen: pool {shown(name)}: {error}"
        ) from None
