"""The config file: where the servers listen, what istiod gets, where spans go, and the pools."""

import os
import re
from decimal import Decimal
from itertools import chain
from typing import Annotated, ClassVar, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from controlplane.config.addresses import (
    Address,
    BindAddress,
    Listeners,
    Network,
    check_network,
    parse_address,
)
from controlplane.config.document import load
from controlplane.config.errors import Path, SettingsError, check_distinct, shown
from controlplane.config.identity import AdminTlsSettings, IdentitySettings, XdsTlsSettings
from controlplane.config.pool import PoolEntry, PoolSettings
from controlplane.config.replica import ReplicaSettings
from controlplane.config.tls import UpstreamTls
from controlplane.config.values import File, Port, Settings, matching

_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE: Final = matching(
    _LABEL,
    "is not a namespace of Kubernetes: write lower-case letters, digits and dashes, as in"
    ' "plimsoll"',
)
_DNS_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)

MAX_HOST: Final = 253
"""Characters that a host name may have."""


def is_dns_name(text: str) -> bool:
    """Whether a text is a host name, or the beginning of one, as Istio takes it."""
    return len(text) <= MAX_HOST and _DNS_NAME.fullmatch(text) is not None


def _domain(text: str) -> str:
    # The longest name of a pool has 63 characters.
    if not is_dns_name(text) or len(text) > MAX_HOST - 64:
        raise ValueError(
            f'{shown(text)} is not a domain: write it in lower case, as in "plimsoll.internal"'
        )
    return text


class Exposed(Settings):
    """A server that takes TLS, or is meant to be insecure, where other machines can reach it.

    Attributes:
        clients: Who reaches it, with the verb.
        insecure: Allows plain text on an address that other machines can reach.
    """

    clients: ClassVar[str]
    address: BindAddress
    tls: Settings | None
    insecure: bool = False

    @model_validator(mode="after")
    def _tls_off_loopback(self) -> Self:
        if self.tls is not None and self.insecure:
            raise SettingsError("insecure and tls exclude each other", ("insecure",))
        if self.tls is None and not (self.insecure or self.address.is_loopback):
            raise SettingsError(
                f"{self.address} can be reached from other machines: set tls, listen on 127.0.0.1,"
                f" or set insecure: true where only {self.clients} it",
                ("address",),
            )
        return self


class IstioTlsSettings(Settings):
    """TLS of the server that istiod connects to. istiod shows no certificate of its own.

    Attributes:
        certificate: File with the server's certificate and those between it and a root, in PEM.
        key: File with its private key.
    """

    certificate: File
    key: File


class IstioSettings(Exposed):
    """What istiod is given: each pool as a host of its mesh.

    Attributes:
        address: Where istiod connects.
        tls: None: in plain text.
        namespace: Namespace of the resources. Not that of istiod: resources there apply to the
            hosts of others, too.
        domain: A pool's host is its name, a dot, and this.
        port: Port of the host.
    """

    clients = "istiod reaches"

    address: BindAddress
    tls: IstioTlsSettings | None = None
    namespace: Annotated[str, _NAMESPACE] = "plimsoll"
    domain: Annotated[str, AfterValidator(_domain)] = "plimsoll.internal"
    port: Port = 80


_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%", re.ASCII)


def parse_percent(text: object) -> float:
    """Read a part such as ``1%`` or ``0.25%``; the result is in percent."""
    found = _PERCENT.fullmatch(text) if isinstance(text, str) else None
    if found is None or Decimal(found[1]) > 100:
        raise ValueError(
            f'{shown(text)} is not a share of the requests: write "0%" to "100%", in steps of 0.01'
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
    """Where Envoys and the control plane send spans and access logs, as OTLP over gRPC.

    Attributes:
        address: Address of the collector, as Envoys reach it; Envoys resolve names.
        sampling: Percentage of requests without a ``traceparent`` that get a trace; a request with
            one is traced where the header says so.
        access_log: Whether a record of every request is sent, too.
        control_plane: Whether the control plane sends spans of what changes the fleet, too.
        tls: How they verify the collector, by default by the name in the address. None: plain
            text.
    """

    address: Collector
    sampling: Percent = 1.0
    access_log: bool = False
    control_plane: bool = False
    tls: UpstreamTls | None = None

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if self.tls is not None and self.tls.server_name is None and self.address.ip is not None:
            raise SettingsError(
                f"{self.address} has no name: say whose certificate it shows",
                ("tls", "server_name"),
            )
        return self


class AdminSettings(Settings):
    """The REST API.

    Attributes:
        address: Where the API listens.
        token_file: A file with one token, or with lines of a role and the hash of a token, relative
            to the config file. Every request must carry a token. An address that other machines
            can reach needs this, or `tls` with `clients`.
        tls: For https; None: http.
        networks: Replicas put through the API must be in one of these; None: anywhere but where no
            replica ever is, such as a cloud's metadata. The config file may name any address.
    """

    address: BindAddress = Address("127.0.0.1", 8080)
    token_file: File | None = None
    tls: AdminTlsSettings | None = None
    networks: Annotated[tuple[Network, ...], Field(strict=False, max_length=64)] | None = None

    @model_validator(mode="after")
    def _token_off_loopback(self) -> Self:
        if not (self.token_file or (self.tls and self.tls.clients) or self.address.is_loopback):
            raise SettingsError(
                f"{self.address} can be reached from other machines: set token_file to a file"
                " that holds a token, or tls with clients, or listen on 127.0.0.1",
                ("address",),
            )
        return self

    def check_replica(self, settings: ReplicaSettings, path: Path = ()) -> None:
        """Check that a replica put through the API is in one of the networks."""
        check_network(self.networks, settings.address, (*path, "address"))

    def check_pool(self, settings: PoolSettings) -> None:
        """Check gateways and exporters of GPU memory in the same way."""
        for path, via in settings.gateways.items():
            for index, address in enumerate(via):
                check_network(self.networks, address, (*path, index))
        if settings.metrics.gpu is not None:
            for index, address in enumerate(settings.metrics.gpu.addresses):
                check_network(self.networks, address, ("metrics", "gpu", "addresses", index))


class XdsSettings(Exposed):
    """Where Envoys connect for their configuration.

    Attributes:
        address: Where xDS is served.
        tls: Certificates, and the nodes to admit; None: plain text, and every node is admitted.
    """

    clients = "Envoys reach"

    address: BindAddress = Address("127.0.0.1", 18000)
    tls: XdsTlsSettings | None = None


class StoreSettings(Settings):
    """The database of registrations; a path is relative to the config file."""

    path: File = "plimsoll.db"


class Config(Settings):
    """The whole file."""

    admin: AdminSettings = AdminSettings()
    xds: XdsSettings = XdsSettings()
    store: StoreSettings = StoreSettings()
    identity: IdentitySettings = IdentitySettings()
    otlp: OtlpSettings | None = None
    istio: IstioSettings | None = None
    pools: tuple[PoolEntry, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _leaves_are_for_proven_nodes(self) -> Self:
        if self.identity.ca is not None and self.xds.tls is None:
            raise SettingsError(
                "goes with xds.tls: only a node that shows a certificate gets a leaf",
                ("identity", "ca"),
            )
        return self

    @model_validator(mode="after")
    def _servers_differ(self) -> Self:
        at = self.xds.address
        if at == self.admin.address and at.port:
            problem = f"{at} is admin.address: each server needs an address of its own"
            raise SettingsError(problem, ("xds", "address"))
        return self

    @model_validator(mode="after")
    def _pools_differ(self) -> Self:
        check_distinct("pools", self.pools, ("name", "listener.address"))
        return self

    @model_validator(mode="after")
    def _no_loops(self) -> Self:
        listeners = Listeners((each.listener.address, f"pool {each.name!r}") for each in self.pools)
        for index, pool in enumerate(self.pools):
            for path, via in pool.gateways.items():
                for place, at in enumerate(via):
                    if (why := listeners.refusal(at)) is not None:
                        raise SettingsError(why, ("pools", index, *path, place))
        for pool in self.pools:
            for at in chain(*pool.gateways.values()):
                listeners.add(at, f"pool {pool.name!r} as its gateway")
        for index, pool in enumerate(self.pools):
            for place, replica in enumerate(pool.replicas):
                for key in ("address", "ingress"):
                    at = getattr(replica, key)
                    if at is not None and (why := listeners.refusal(at)) is not None:
                        raise SettingsError(why, ("pools", index, "replicas", place, key))
        return self


def load_config(text: str, source: str) -> Config:
    """Read the text of a config file; `source` is its name, for messages."""
    config, document = load(Config, text, source, may_be_empty=True)
    # The store moves a file aside that is not a database.
    if (other := _other_use(config, source)) is not None:
        path: Path = ("store", "path")
        problem = f"{config.store.path} is {other}; name a file that only Plimsoll uses"
        raise SettingsError(problem, path, f"{source}:{document.line(path)}")
    return config


def _other_use(config: Config, source: str) -> str | None:
    """Return what else the file of the database is, by the config; None: nothing."""

    def is_store(file: str) -> bool:
        return os.path.abspath(os.path.join(folder, file)) == store

    folder = os.path.dirname(source)
    store = os.path.abspath(os.path.join(folder, config.store.path))
    if is_store(os.path.basename(source)):
        return "the config file"
    parts = (("admin", config.admin), ("admin.tls", config.admin.tls), ("xds.tls", config.xds.tls))
    for name, part in parts:
        for key in ("token_file", "certificate", "key", "client_ca"):
            file = getattr(part, key, None)
            if file is not None and is_store(file):
                return f"{name}.{key}"
    return None
