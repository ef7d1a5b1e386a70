"""Addresses: of servers, replicas and listeners, and where no replica may be.

A user who may register an address has the control plane and every Envoy send requests there. A
cloud gives credentials to any program that asks at a well-known address, so none of its spellings
is taken.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final, TypeAlias

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from controlplane.config.errors import Path, SettingsError, shown

IpAddress: TypeAlias = IPv4Address | IPv6Address

_METADATA: Final = tuple(
    map(
        ip_network,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
            "fd00:ec2::/32",  # AWS: metadata at ::254, credentials of a pod at ::23
            "fd20:ce::254",  # Google
            "fd00:c1::a9fe:a9fe",  # Oracle
            "fd00:42::42",  # Scaleway
        ),
    )
)
"""Where clouds hand out credentials, other than link-local."""

_LAST_FOUR: Final = tuple(
    map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
)
"""The last four bytes are IPv4: IPv4-compatible and mapped (RFC 4291), translated (RFC 7915), and
NAT64 (RFC 6052)."""

_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""For prefixes of a network's own choice (RFC 8215)."""

_RFC_6052: Final = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Which bytes are IPv4 under a prefix of 48, 56, 64 and 96 bits."""

_ISATAP: Final = (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")
"""First half of an interface identifier; IPv4 is the second half (RFC 5214)."""

_BROADCAST: Final = IPv4Address("255.255.255.255")


def _is_group(ip: IpAddress) -> bool:
    """Whether many machines share an address, so that TCP neither listens nor connects there."""
    return ip.is_multicast or ip == _BROADCAST


def refusal(ip: IpAddress) -> str | None:
    """Why no replica may be at an IP address: the end of a sentence; None where one may be."""
    if ip.is_unspecified:
        return "is not an address that a replica can be reached at"
    for each in (ip, *_embedded(ip)):
        if _is_group(each):
            return "is not an address that a replica can be reached at"
        if each.is_link_local:
            return "is link-local: cloud metadata lives there, not replicas"
        if any(each in network for network in _METADATA):
            return "is where a cloud keeps its metadata, not a replica"
    return None


def _embedded(ip: IpAddress) -> Iterator[IPv4Address]:
    """The IPv4 addresses at which packets to an IPv6 address may end up."""
    if isinstance(ip, IPv4Address):
        return
    packed = ip.packed
    if any(ip in network for network in _LAST_FOUR) or packed[8:12] in _ISATAP:
        yield IPv4Address(packed[-4:])
    if ip in _LOCAL_NAT64:
        yield from (IPv4Address(bytes(packed[at] for at in places)) for places in _RFC_6052)
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if ip.teredo is not None:
        yield from ip.teredo


_HOST_NAME: Final = re.compile(
    r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII
)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host and a port, never a URL.

    Attributes:
        host: An IP address in canonical form, or a host name.
        port: 0 to 65535; 0 (any free port) only where the control plane binds.
    """

    host: str
    port: int

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host as an IP address, or None when it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (self.ip is not None and self.ip.is_loopback)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """Read ``host:port``; IPv6 hosts stand in brackets, IPv4-mapped ones are unwrapped."""
    if isinstance(text, Address):
        return text
    if not isinstance(text, str):
        raise ValueError('must be "host:port", for example "127.0.0.1:9001"')
    given = shown(text)
    if "://" in text or "/" in text:
        raise ValueError(f'{given} is not "host:port": leave out the scheme and the path')
    address = _split(text, given)
    if address.ip is not None and _is_group(address.ip):
        kind = "multicast" if address.ip.is_multicast else "broadcast"
        raise ValueError(f"{address.host} is a {kind} address: give the address of one machine")
    return address


def _split(text: str, given: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f'{given} is not "host:port" with a port up to 65535')
    if host.startswith("[") and host.endswith("]"):
        return Address(_ipv6(host[1:-1], given), int(port))
    if ":" in host:
        raise ValueError(f'{given}: write an IPv6 host in brackets, as in "[::1]:9001"')
    try:
        return Address(str(IPv4Address(host)), int(port))
    except ValueError:
        if re.fullmatch(r"[\d.]*", host) or not _HOST_NAME.fullmatch(host) or len(host) > 253:
            raise ValueError(f"{given} has no valid IP address or host name") from None
    return Address(host.lower(), int(port))


def _ipv6(host: str, given: str) -> str:
    if "%" in host:
        raise ValueError(f"{given}: an IPv6 zone id means nothing to another machine; leave it out")
    try:
        parsed = IPv6Address(host)
    except ValueError:
        raise ValueError(f"{given} has no valid IPv6 address") from None
    return str(parsed.ipv4_mapped or parsed)


def _bound_port(address: Address) -> Address:
    if address.port == 0:
        raise ValueError("port 0 reaches nothing: give the port that is served, 1 to 65535")
    return address


def _ip_only(address: Address) -> Address:
    if address.ip is None:
        raise ValueError(
            f'{address.host!r} is a name: Envoy takes an IP address here, as in "127.0.0.1:9001"'
        )
    return address


def _reachable(address: Address) -> Address:
    if address.ip is None:
        return _ip_only(address)
    if (why := refusal(address.ip)) is not None:
        raise ValueError(f"{address.host} {why}")
    return address


def parse_listener_address(text: object) -> Address:
    """Read where an Envoy is to listen: an IP address and a port that is not 0."""
    return _ip_only(_bound_port(parse_address(text)))


_AsText = PlainSerializer(str, return_type=str)


_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"


_IP_AND_PORT: Final = WithJsonSchema(
    {
        "type": "string",
        "pattern": rf"^({_OCTET}(\.{_OCTET}){{3}}|\[[0-9A-Fa-f:.]{{2,45}}\]):[0-9]{{1,5}}$",
        "examples": ["10.0.0.11:8080"],
    }
)
"""For the OpenAPI document; `parse_address` is stricter, and says what is wrong."""


BindAddress = Annotated[
    Address,
    BeforeValidator(parse_address),
    _AsText,
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:8080"]}),
]
"""Where the control plane listens; port 0 picks a free one."""


ListenerAddress = Annotated[Address, BeforeValidator(parse_listener_address), _AsText, _IP_AND_PORT]
"""Where an Envoy listens for us: an IP address, ``0.0.0.0`` included, and a port."""


EndpointAddress = Annotated[
    Address,
    BeforeValidator(lambda text: _reachable(_bound_port(parse_address(text)))),
    _AsText,
    _IP_AND_PORT,
]
"""Where Envoy reaches a replica: an IP address and a port (EDS does not resolve names)."""


_Network: TypeAlias = IPv4Network | IPv6Network


def parse_network(text: object) -> _Network:
    """Read a network such as ``10.0.0.0/8``."""
    if isinstance(text, IPv4Network | IPv6Network):
        return text
    if not isinstance(text, str) or "/" not in text:
        raise ValueError(f'{shown(text)} is not a network such as "10.0.0.0/8"')
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(
            f'{shown(text)} is not a network such as "10.0.0.0/8", with no bits set after the mask'
        ) from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError(f"{shown(text)} is IPv4 in IPv6: write the IPv4 network")
    return network


Network = Annotated[_Network, BeforeValidator(parse_network), PlainSerializer(str, return_type=str)]


def check_network(allowed: Iterable[_Network] | None, address: Address, path: Path) -> None:
    """Check that an address is in one of some networks; None: anywhere."""
    if allowed is None:
        return
    networks, ip = tuple(allowed), address.ip
    if ip is None or not any(ip in network for network in networks):
        known = ", ".join(map(str, networks)) or "none"
        raise SettingsError(
            f"{address.host} is in none of the networks of admin.networks ({known})", path
        )


class Listeners:
    """Addresses that Envoys listen on, each with its owner, as in "pool 'a'".

    No replica may be there, or each request would come back to its Envoy.
    """

    def __init__(self, listeners: Iterable[tuple[Address, str]] = ()) -> None:
        self._by_port: dict[int, dict[Address, str]] = {}
        for address, owner in listeners:
            self.add(address, owner)

    def add(self, address: Address, owner: str) -> None:
        """Add a listener, in place of another one at the same address."""
        self._by_port.setdefault(address.port, {})[address] = owner

    def discard(self, address: Address) -> None:
        """Remove the listener at an address, if any."""
        known = self._by_port.get(address.port, {})
        known.pop(address, None)
        if not known:
            self._by_port.pop(address.port, None)

    def refusal(self, replica: Address) -> str | None:
        """Why no replica may be at an address, in a sentence; None where one may be.

        A listener on all addresses of a machine includes all of loopback. The other addresses of an
        Envoy's machine are unknown here.
        """
        # Hardly any replica has the port of a listener.
        if (known := self._by_port.get(replica.port)) is None:
            return None
        for address, owner in known.items():
            ip = address.ip
            is_any = ip is not None and ip.is_unspecified and replica.is_loopback
            if address == replica or is_any:
                where = "" if address == replica else f", on {address}"
                return (
                    f"{replica} is where an Envoy listens for {owner}{where}: requests to a"
                    " replica there would loop"
                )
        return None
