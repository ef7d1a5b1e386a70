"""Replicas by labels on containers, asked of one engine over its socket.

The engine's stream of events says when to list anew; where it breaks off, the source fails and is
asked again from the start. The API is used without a version, which is the engine's own newest.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp

from controlplane.config import DockerSettings, ReplicaSettings
from controlplane.discovery.source import Found, SourceError, address_of, listed, replica

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
    """Read the replica of a container, with its id, from ``GET /containers/{id}/json``."""
    name = str(container["Name"]).removeprefix("/")
    try:
        labels: Mapping[str, str] = container["Config"].get("Labels") or {}
        _check_labels(labels)
        host = labels.get("plimsoll.address") or _address(container, settings, labels)
        port = _port(container, settings, labels)
        address = address_of(host, port)
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
        raise Unusable(f"container {name} is described in an unknown way: {error!r}") from None
    return (name if _ID.fullmatch(name) else str(container["Id"])[:_SHORT]), found


def _check_labels(labels: Mapping[str, str]) -> None:
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


ANSWER_SECONDS: Final = 10.0
"""For one request, other than for the stream of events."""

GATHER_SECONDS: Final = 0.1
"""A container that starts makes several events; after the first of them so long is waited."""

AT_ONCE: Final = 8
"""Containers that are inspected at the same time."""

_EVENTS: Final = ("start", "die", "pause", "unpause", "rename", "connect", "disconnect")


class DockerSource:
    """Lists the containers of an engine whenever one of them has changed."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings

    async def sets(self) -> AsyncGenerator[Found, None]:
        """Yield all running containers with the label; see `Source`."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(
            "http://engine",  # the host is not used, and HTTP wants one
            connector=aiohttp.UnixConnector(self._settings.path, limit=0),
            timeout=timeout,
        ) as session:
            try:
                # First the events, then the list: what changes in between is in the former.
                async with asyncio.timeout(ANSWER_SECONDS):
                    events = await self._events(session)
                async with events:
                    while True:
                        yield await self._list(session)
                        await self._something(events)
            except TimeoutError:
                raise SourceError(f"{self._settings.path} did not answer in time") from None
            except aiohttp.ClientConnectorError as error:
                reason = error.os_error.strerror or error.os_error
                raise SourceError(f"cannot connect to {self._settings.path}: {reason}") from None
            except (aiohttp.ClientError, ValueError) as error:
                raise SourceError(f"{self._settings.path}: {error!r}"[:300]) from None

    async def _events(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        filters = {"type": ["container", "network"], "event": list(_EVENTS)}
        params, endless = {"filters": json.dumps(filters)}, aiohttp.ClientTimeout(total=None)
        events = await session.get("/events", params=params, timeout=endless)
        _check(events)
        return events

    async def _something(self, events: aiohttp.ClientResponse) -> None:
        """Wait for an event, or until it is time to look all the same."""
        try:
            async with asyncio.timeout(self._settings.interval):
                if not await events.content.readany():
                    raise SourceError(f"{self._settings.path} has ended its stream of events")
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_SECONDS)
        events.content.read_nowait()

    async def _list(self, session: aiohttp.ClientSession) -> Found:
        filters = {"label": [self._settings.label], "status": ["running"]}
        listing = await _get(session, "/containers/json", {"filters": json.dumps(filters)})
        gate = asyncio.Semaphore(AT_ONCE)

        async def inspected(id_: str) -> Any:
            async with gate:
                return await _get(session, f"/containers/{id_}/json", may_be_gone=True)

        containers = await asyncio.gather(*(inspected(each["Id"]) for each in listing))
        found: dict[str, ReplicaSettings] = {}
        problems = []
        # By name: which of two at one address is taken must not depend on when they started.
        running = (each for each in containers if each and each["State"]["Status"] == "running")
        for container in sorted(running, key=lambda each: str(each["Name"])):
            try:
                id_, settings = replica_of(container, self._settings)
            except Unusable as error:
                problems.append(str(error))
            else:
                found[id_] = settings
        return Found(found, listed(problems))


async def _get(
    session: aiohttp.ClientSession,
    path: str,
    params: Mapping[str, str] | None = None,
    *,
    may_be_gone: bool = False,
) -> Any:
    """A document of the engine; None for a container that is not there any more."""
    async with session.get(path, params=params) as response:
        if response.status == 404 and may_be_gone:
            return None
        _check(response)
        return await response.json(content_type=None)


def _check(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        raise SourceError(f"GET {response.url.path} of the engine answered {response.status}")
