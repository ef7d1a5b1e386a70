"""Where replicas of a pool are found: names in DNS, containers of an engine, files in a folder."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, StringConstraints, model_validator

from controlplane.config.addresses import Address, parse_address
from controlplane.config.document import load
from controlplane.config.errors import SettingsError, shown
from controlplane.config.replica import Locality, ReplicaEntry
from controlplane.config.values import Duration, File, Port, Settings, Slots

DnsName = Annotated[
    str,
    StringConstraints(max_length=254, pattern=r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$"),
]
"""A name to look up; with a dot at the end, the search domains of resolv.conf do not apply."""


def _name_server(text: object) -> Address:
    address = parse_address(text)
    if address.ip is None or address.port == 0:
        raise ValueError(f'{shown(text)} is not a name server: write it like "10.0.0.2:53"')
    return address


NameServer = Annotated[
    Address, BeforeValidator(_name_server), PlainSerializer(str, return_type=str)
]


class DnsSettings(Settings):
    """The addresses of one name, or the targets of one service.

    Attributes:
        name: Its A and AAAA records are replicas, which all serve on `port`.
        port: Port of all replicas; SRV records have ports of their own.
        srv: Its SRV records of the lowest priority are replicas.
        family: Address family to ask for.
        interval: The longest time between two look-ups, in seconds; records with a shorter TTL are
            looked up again when that ends.
        server: The name server; None: those of /etc/resolv.conf.
        slots: Slots of each replica; None: learned.
        locality: Locality of each replica.
    """

    name: DnsName | None = None
    port: Port | None = None
    srv: DnsName | None = None
    family: Literal["any", "ipv4", "ipv6"] = "any"
    interval: Duration = 30.0
    server: NameServer | None = None
    slots: Slots | None = None
    locality: Locality = Locality()

    @model_validator(mode="after")
    def _name_or_srv(self) -> Self:
        if (self.name is None) == (self.srv is None):
            raise SettingsError("takes either name and port, or srv")
        if self.srv is not None and self.port is not None:
            raise SettingsError("SRV records have ports of their own; leave it out", ("port",))
        if self.name is not None and self.port is None:
            raise SettingsError("is required beside name: addresses in DNS have none", ("port",))
        return self

    def __str__(self) -> str:
        return f"dns srv {self.srv}" if self.srv is not None else f"dns {self.name}:{self.port}"


class DockerSettings(Settings):
    """The running containers of one engine that have a label.

    Attributes:
        socket: Socket of the engine.
        label: Label of the containers: ``key=value``, or a key alone for any value.
        network: The network of the addresses; None: the container's only one.
        port: For containers without the label ``plimsoll.port``; None: the only port that the image
            exposes.
        interval: Seconds after which containers are listed again without an event.
    """

    socket: Annotated[str, StringConstraints(pattern=r"^unix:///[\x21-\x7e]{1,96}$")] = (
        "unix:///var/run/docker.sock"
    )
    label: Annotated[
        str, StringConstraints(pattern=r"^[\x21-\x3c\x3e-\x7e]{1,128}(=[\x21-\x7e]{0,128})?$")
    ]
    network: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")] | None
    ) = None
    port: Port | None = None
    interval: Duration = 30.0

    @property
    def path(self) -> str:
        """Of the socket, in the file system."""
        return self.socket.removeprefix("unix://")

    def __str__(self) -> str:
        return f"docker {self.label} at {self.path}"


class DirectorySettings(Settings):
    """A folder of YAML files, each with a list of replicas.

    Attributes:
        path: Path of the folder, relative to the config file. Its .yaml and .yml files count,
            unless they begin with a dot.
        interval: Seconds between two looks at the folder.
    """

    path: File
    interval: Duration = 1.0

    def __str__(self) -> str:
        return f"directory {self.path}"


class DiscoverySettings(Settings):
    """One source; exactly one of its keys is given."""

    dns: DnsSettings | None = None
    docker: DockerSettings | None = None
    directory: DirectorySettings | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_of_them(cls, data: Any) -> Any:
        known = [key for key in cls.model_fields if isinstance(data, dict) and key in data]
        if isinstance(data, dict) and data.keys() <= cls.model_fields.keys() and len(known) != 1:
            raise SettingsError(f"takes exactly one of {', '.join(cls.model_fields)}")
        if len(known) == 1 and data[known[0]] is None:
            raise SettingsError("must be a mapping of keys to values, not null", (known[0],))
        return data

    @property
    def source(self) -> DnsSettings | DockerSettings | DirectorySettings:
        """The given source; as text, its name."""
        found = self.dns or self.docker or self.directory
        assert found is not None  # noqa: S101 - exactly one is given
        return found

    def __str__(self) -> str:
        return str(self.source)


class _ReplicasFile(Settings):
    replicas: Annotated[tuple[ReplicaEntry, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _stays(self) -> Self:
        for index, replica in enumerate(self.replicas):
            if replica.ttl is not None:
                raise SettingsError(
                    "leave it out: a replica in a file stays until the file no longer has it",
                    ("replicas", index, "ttl"),
                )
        return self


def load_replicas(text: str, source: str) -> tuple[tuple[ReplicaEntry, int], ...]:
    """Read a file of replicas: a mapping with the one key ``replicas``, a list as in a pool.

    Args:
        text: Of the file.
        source: The file's name, for messages.
    """
    found, document = load(_ReplicasFile, text, source)
    return tuple(
        (entry, document.line(("replicas", index))) for index, entry in enumerate(found.replicas)
    )
