"""The config file: where the servers listen, and the pools it declares."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from controlplane.config.document import located, read_document
from controlplane.config.errors import SettingsError, shown, validated
from controlplane.config.identity import AdminTlsSettings, IdentitySettings, XdsTlsSettings
from controlplane.config.istio import IstioSettings
from controlplane.config.listeners import Listeners
from controlplane.config.networks import Network
from controlplane.config.otlp import OtlpSettings
from controlplane.config.pool import PoolEntry
from controlplane.config.values import Address, BindAddress, Settings


class AdminSettings(Settings):
    """The REST API.

    Attributes:
        address: Where it listens.
        token_file: A file with the bearer token that every request must carry, its path relative
            to the config file. It holds one token, or a line for each with its role and its hash.
            An address that other machines can reach needs this, or `tls` with `clients`.
        tls: Makes it https; None: it is http.
        networks: What is put through the API must be in one of these; None: anywhere but where
            no replica ever is, such as a cloud's metadata. The config file may name any address.
    """

    address: BindAddress = Address("127.0.0.1", 8080)
    token_file: str | None = None
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


class XdsSettings(Settings):
    """Where Envoys connect for their configuration.

    Attributes:
        address: Where xDS is served.
        tls: Certificates, and which nodes are admitted; None: anybody is, in plain text.
        insecure: Whether plain text is meant on an address that other machines can reach.
    """

    address: BindAddress = Address("127.0.0.1", 18000)
    tls: XdsTlsSettings | None = None
    insecure: bool = False

    @model_validator(mode="after")
    def _tls_off_loopback(self) -> Self:
        if self.tls is not None and self.insecure:
            raise SettingsError("insecure and tls exclude each other", ("insecure",))
        if not (self.tls or self.insecure or self.address.is_loopback):
            raise SettingsError(
                f"{self.address} can be reached from other machines: set tls, listen on 127.0.0.1,"
                " or set insecure: true where only Envoys reach it",
                ("address",),
            )
        return self


class StoreSettings(Settings):
    """Where registrations are kept; a path is relative to the config file."""

    path: str = Field(default="plimsoll.db", min_length=1)


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
    def _pools_differ(self) -> Self:
        names: set[str] = set()
        addresses: set[Address] = set()
        for index, pool in enumerate(self.pools):
            if pool.name in names:
                raise SettingsError(
                    f"two pools have the name {pool.name}; each needs its own",
                    ("pools", index, "name"),
                )
            if (address := pool.listener.address) in addresses:
                raise SettingsError(
                    f"two pools have the listener address {address}; each needs its own",
                    ("pools", index, "listener", "address"),
                )
            names.add(pool.name)
            addresses.add(address)
        return self

    @model_validator(mode="after")
    def _no_loops(self) -> Self:
        listeners = Listeners((it.listener.address, f"pool {it.name!r}") for it in self.pools)
        for index, pool in enumerate(self.pools):
            for place, replica in enumerate(pool.replicas):
                for key in ("address", "ingress"):
                    at = getattr(replica, key)
                    if at is not None and (why := listeners.refusal(at)) is not None:
                        raise SettingsError(why, ("pools", index, "replicas", place, key))
        return self


def load_config(text: str, source: str) -> Config:
    """Read the text of a config file.

    Args:
        text: The whole of the file.
        source: The file's name, for messages.

    Raises:
        SettingsError: For the first thing that is wrong, with file, line and key.
    """
    document = read_document(text, source)
    data: Any = {} if document.data is None else document.data
    if not isinstance(data, dict):
        raise SettingsError(
            f"must be a mapping with the keys {', '.join(Config.model_fields)}, not {shown(data)}",
            place=f"{source}:{document.line(())}",
        )
    try:
        return validated(Config, data)
    except SettingsError as error:
        raise located(error, document, source) from None
