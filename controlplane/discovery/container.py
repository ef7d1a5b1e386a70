"""One container, as the engine describes it, as a replica: pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from controlplane.config import DockerSettings, ReplicaSettings, parse_address
from controlplane.discovery.source import replica

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_SHORT: Final = 12
"""Characters of a container's id that the engine's own tools print."""

_LABELS: Final = frozenset(
    f"plimsoll.{each}"
    for each in ("address", "gpu", "ingress", "network", "pool", "port", "region", "slots", "zone")
)


class Unusable(Exception):  # noqa: N818 - it is a container, not a fault
    """A container that cannot be a replica; the text says why."""


def replica_of(
    container: Mapping[str, Any], settings: DockerSettings
) -> tuple[str, ReplicaSettings]:
    """The id and the settings of the replica that a container is.

    Args:
        container: As ``GET /containers/{id}/json`` answers.
        settings: Of the source.

    Raises:
        Unusable: It has no address, no port, or labels that are wrong.
    """
    name = str(container["Name"]).removeprefix("/")
    try:
        labels: Mapping[str, str] = container["Config"].get("Labels") or {}
        _check(labels)
        host = labels.get("plimsoll.address") or _address(container, settings, labels)
        port = _port(container, settings, labels)
        address = parse_address(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        locality = {"region": labels.get("plimsoll.region"), "zone": labels.get("plimsoll.zone")}
        gpu = labels.get("plimsoll.gpu")
        found = replica(
            {
                "address": str(address),
                "ingress": labels.get("plimsoll.ingress"),
                "slots": _number(labels, "plimsoll.slots"),
                "locality": {key: each for key, each in locality.items() if each is not None},
                "gpu": None if gpu is None else {"uuid": gpu},
                # One that is started again keeps its id, and is another process.
                "instance": f"{container['Id'][:_SHORT]}@{container['State']['StartedAt']}",
            }
        )
    except ValueError as error:
        raise Unusable(f"container {name} is not used: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"container {name} is not described as documented: {error!r}") from None
    return (name if _ID.fullmatch(name) else str(container["Id"])[:_SHORT]), found


def _check(labels: Mapping[str, str]) -> None:
    for key in labels:
        if key.startswith("plimsoll.") and key not in _LABELS:
            raise ValueError(f"label {key} is unknown; known are {', '.join(sorted(_LABELS))}")


def _address(
    container: Mapping[str, Any], settings: DockerSettings, labels: Mapping[str, str]
) -> str:
    """Its address in the network that was asked for, or in the only one that it has one in."""
    networks = container["NetworkSettings"].get("Networks") or {}
    addresses = {
        name: each.get("IPAddress") or each.get("GlobalIPv6Address")
        for name, each in networks.items()
    }
    known = {name: each for name, each in addresses.items() if each}
    wanted = labels.get("plimsoll.network") or settings.network
    if wanted is not None:
        if wanted not in known:
            raise ValueError(f"it has no address in network {wanted}")
        return str(known[wanted])
    if len(known) == 1:
        return str(next(iter(known.values())))
    if not known:
        raise ValueError("it has no network address of its own: set the label plimsoll.address")
    raise ValueError(
        f"it is in networks {', '.join(sorted(known))}: say which by the label plimsoll.network"
    )


def _port(container: Mapping[str, Any], settings: DockerSettings, labels: Mapping[str, str]) -> int:
    port = _number(labels, "plimsoll.port") or settings.port
    if port is not None:
        return port
    exposed = container["Config"].get("ExposedPorts") or {}
    ports = [int(each.removesuffix("/tcp")) for each in exposed if each.endswith("/tcp")]
    if len(ports) != 1:
        raise ValueError(f"its image exposes {len(ports)} TCP ports: set the label plimsoll.port")
    return ports[0]


def _number(labels: Mapping[str, str], key: str) -> int | None:
    text = labels.get(key)
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII):
        raise ValueError(f"label {key} must be a whole number, not {text!r}")
    return int(text)
