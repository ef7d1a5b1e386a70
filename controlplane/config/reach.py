"""Which IP addresses no replica is at: cloud metadata, link-local, and what no machine has.

Who may register an address has the control plane and every Envoy send requests there. A cloud hands
out credentials to any program that asks at a well-known address, so none of its spellings is taken.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final, TypeAlias

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
"""IPv4 is the last four bytes: IPv4-compatible and mapped (RFC 4291), translated (RFC 7915), and
NAT64 (RFC 6052)."""

_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
"""For prefixes of a network's own choice (RFC 8215)."""

_RFC_6052: Final = ((6, 7, 9, 10), (7, 9, 10, 11), (9, 10, 11, 12), (12, 13, 14, 15))
"""Which bytes are IPv4 under a prefix of 48, 56, 64 and 96 bits."""

_ISATAP: Final = (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")
"""The first half of an interface identifier whose second half is IPv4 (RFC 5214)."""

_BROADCAST: Final = IPv4Address("255.255.255.255")


def refusal(ip: IpAddress) -> str | None:
    """Say why no replica is at an IP address.

    Returns:
        The end of a sentence that begins with the address; None where a replica may be there.
    """
    if ip.is_unspecified:
        return "is not an address that a replica can be reached at"
    for it in (ip, *_embedded(ip)):
        if it.is_multicast or it == _BROADCAST:
            return "is not an address that a replica can be reached at"
        if it.is_link_local:
            return "is link-local; cloud metadata lives there, replicas not"
        if any(it in network for network in _METADATA):
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
