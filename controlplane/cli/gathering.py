"""What a report of a fault needs, from the control plane, from Envoys and from this machine.

Each part is asked for alone: what cannot be had is said, and the others come all the same.
"""

import asyncio
import json
import os
import platform
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import aclosing
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import yaml

from controlplane import __version__
from controlplane.client import Client, ClientError, Replica, UnreachableError
from controlplane.config import Address

MOST_BYTES: Final = 16 << 20
"""Of one answer of an Envoy; a longer one is left out."""
MOST_REPLICAS: Final = 2_000
MOST_HISTORIES: Final = 200
MOST_EVENTS: Final = 4_096
MOST_AUDIT: Final = 1_000

_SECONDS: Final = 10.0
"""For an answer of an Envoy, and for all events."""

_OF_ENVOY: Final = {
    "server_info.json": "/server_info",
    "clusters.json": "/clusters?format=json",
    "listeners.json": "/listeners?format=json",
    "stats.txt": "/stats?usedonly",
    "certs.json": "/certs",
    "config_dump.json": "/config_dump?include_eds",
}
"""Files, and where Envoy's admin interface has what goes into them."""


class Part(NamedTuple):
    """A file of the report.

    Attributes:
        name: Of the file.
        content: Plain data, or text.
    """

    name: str
    content: Any


class Gathered:
    """The parts so far, and what could not be had, each with the reason."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.missing: dict[str, str] = {}

    async def take(self, name: str, question: Awaitable[Any]) -> Any:
        """Take a part; returns its content, or None where it cannot be had."""
        try:
            content = await question
        except (ClientError, OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.missing[name] = str(error) or type(error).__name__
            return None
        self.parts.append(Part(name, content))
        return content


async def from_api(client: Client, found: Gathered) -> None:
    """Ask the control plane for all that it says of itself and of its pools."""
    await asyncio.gather(
        found.take("control-plane.json", _itself(client)),
        found.take("nodes.json", _nodes(client)),
        found.take("metrics.txt", client.metrics()),
        found.take("events.json", _events(client)),
        found.take("audit.json", _audit(client)),
        _pools(client, found),
    )


async def _itself(client: Client) -> dict[str, Any]:
    document = await client.openapi()
    is_ready = await client.is_ready()
    return {"url": client.url, "version": document["info"]["version"], "ready": is_ready}


async def _nodes(client: Client) -> Any:
    return (await client.node_list()).document()


async def _audit(client: Client) -> list[Any]:
    return await _first(MOST_AUDIT, (it.document() async for it in client.each_audit_entry()))


async def _events(client: Client) -> list[Any]:
    """The events that the control plane still has: those since its start, or the newest."""
    async with asyncio.timeout(_SECONDS):
        async with aclosing(client.events()) as present:
            newest = (await anext(present)).id or ""
        start, _, number = newest.rpartition("-")
        many = min(int(number), MOST_EVENTS)
        after = f"{start}-{int(number) - many}"
        async with aclosing(client.events(after=after)) as events:
            told = ({"id": it.id, "event": it.kind, "data": it.document} async for it in events)
            return await _first(many, told)


async def _pools(client: Client, found: Gathered) -> None:
    pools = await found.take("pools.json", _all_pools(client))
    by_pool: dict[str, list[tuple[str, str]]] = {}
    left = MOST_REPLICAS
    for name in [pool["name"] for pool in pools or ()]:
        asked = _replicas(client, name, left, by_pool)
        replicas = await found.take(f"replicas/{name}.json", asked)
        left -= len(replicas or ())
    if left == 0:
        found.missing["replicas"] = f"these are {MOST_REPLICAS} replicas, and there are more"
    # Some of each pool, rather than all of the first.
    ids = [it for row in zip_longest(*by_pool.values()) for it in row if it is not None]
    for number, (pool, id_) in enumerate(ids):
        if number == MOST_HISTORIES:
            found.missing["history"] = f"of {len(ids)} replicas {MOST_HISTORIES} were asked for"
            return
        name = f"history/{pool}/{id_}.json"
        await found.take(name, _history(client, pool, id_))
        if name in found.missing and not await _answers(client):
            found.missing["history"] = "the control plane does not answer any more"
            return


async def _all_pools(client: Client) -> list[Any]:
    return [it.document() async for it in client.each_pool()]


async def _replicas(
    client: Client, pool: str, most: int, ids: dict[str, list[tuple[str, str]]]
) -> list[Any]:
    found: list[Replica] = await _first(most, client.each_replica(pool))
    ids[pool] = [(pool, it.id) for it in found]
    return [it.document() for it in found]


async def _history(client: Client, pool: str, id_: str) -> Any:
    return (await client.history(pool, id_)).document()


async def _answers(client: Client) -> bool:
    try:
        return await client.is_live()
    except UnreachableError:
        return False


async def _first(most: int, items: AsyncIterator[Any]) -> list[Any]:
    """As many as these; an iterator without an end is left there."""
    found: list[Any] = []
    while len(found) < most:
        try:
            found.append(await anext(items))
        except StopAsyncIteration:
            break
    return found


async def from_envoys(envoys: Iterable[Address], found: Gathered) -> None:
    """Ask Envoys' admin interfaces for what they hold and have counted."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        for envoy in envoys:
            for name, path in _OF_ENVOY.items():
                where = f"envoy/{envoy.host}-{envoy.port}/{name}"
                await found.take(where, _of_envoy(session, f"http://{envoy}{path}"))


async def _of_envoy(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as response:
        if response.status != 200:
            raise ValueError(f"{url} answers {response.status}")
        data = b""
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > MOST_BYTES:
                raise ValueError(f"{url} answers with more than {MOST_BYTES >> 20} MiB")
    text = data.decode("utf-8", "replace")
    return json.loads(text) if response.content_type == "application/json" else text


async def from_here(found: Gathered, config: Path | None) -> None:
    """Look at this machine, and at the config file if one is named."""
    await found.take("versions.json", _versions())
    if config is not None:
        await found.take("config.json", _config(config))


async def _versions() -> dict[str, Any]:
    wanted = [re.split(r"[^\w.-]", it)[0] for it in metadata.requires("plimsoll") or ()]
    return {
        "plimsoll": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "envoy": await _installed_envoy(),
        "packages": {name: it for name in sorted({*wanted}) if (it := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


async def _installed_envoy() -> str | None:
    """What the Envoy of this machine says of its version; None where there is none."""
    from controlplane.envoy import find_envoy

    if (path := find_envoy()) is None:
        return None
    process = await asyncio.create_subprocess_exec(
        path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        return f"{path} does not say"
    return said.decode("utf-8", "replace").strip()


async def _config(path: Path) -> Any:
    """The config file as data: its comments may have anything in them."""
    text = await asyncio.to_thread(path.read_text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        # What is wrong would be repeated.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path} is no YAML{line}") from None
