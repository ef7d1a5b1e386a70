"""Where replicas may be: the networks that addresses put through the API must be in."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from controlplane.config.errors import Path, SettingsError, shown
from controlplane.config.pool import PoolSettings
from controlplane.config.replica import ReplicaSettings
from controlplane.config.values import Address

_Network: TypeAlias = IPv4Network | IPv6Network


def parse_network(text: object) -> _Network:
    """Read a network such as ``10.0.0.0/8``.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
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


def check_replica(
    allowed: Iterable[_Network] | None, settings: ReplicaSettings, path: Path = ()
) -> None:
    """Check where a replica is.

    Args:
        allowed: The networks; None: anywhere.
        settings: Of the replica.
        path: Of the settings in what was sent.

    Raises:
        SettingsError: It is elsewhere.
    """
    _check(allowed, settings.address, (*path, "address"))


def check_pool(allowed: Iterable[_Network] | None, settings: PoolSettings) -> None:
    """Check where a pool's exporters of GPU memory are, for those are asked by us as well.

    Raises:
        SettingsError: One is elsewhere.
    """
    if settings.metrics.gpu is not None:
        for index, address in enumerate(settings.metrics.gpu.addresses):
            _check(allowed, address, ("metrics", "gpu", "addresses", index))


def _check(allowed: Iterable[_Network] | None, address: Address, path: Path) -> None:
    if allowed is None:
        return
    networks, ip = tuple(allowed), address.ip
    if ip is None or not any(ip in network for network in networks):
        known = ", ".join(map(str, networks)) or "none"
        raise SettingsError(
            f"{address.host} is in none of the networks of admin.networks ({known})", path
        )
