"""`plimsoll diagnose`: one file with what a report of a fault needs, without secrets.

Each part is asked for alone: a part that cannot be had is named, and the others still come.
"""

import asyncio
import io
import json
import os
import platform
import re
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import click
import yaml

from controlplane import __version__
from controlplane.cli.admin import Api, api_options, print_json
from controlplane.cli.redaction import Redaction
from controlplane.cli.terminal import USAGE, fail, printable
from controlplane.client import Client, ClientError, Replica, UnreachableError
from controlplane.config import Address, parse_address

MOST_ANSWER_BYTES: Final = 16 << 20
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
        _about_pools(client, found),
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


async def _about_pools(client: Client, found: Gathered) -> None:
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
            if len(data) > MOST_ANSWER_BYTES:
                raise ValueError(f"{url} answers with more than {MOST_ANSWER_BYTES >> 20} MiB")
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


MOST_BYTES: Final = 64 << 20
"""Of all parts together, before they are compressed to some hundredth."""


@click.command
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write, a tar.gz.  [default: plimsoll-diagnose-TIME.tar.gz]",
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Config file to include, without comments and secrets.",
)
@click.option(
    "--envoy",
    "envoys",
    multiple=True,
    metavar="HOST:PORT",
    help="Admin interface of an Envoy to ask for its configuration and stats; repeat for more.",
)
@api_options
@click.option("--json", "as_json", is_flag=True, help="Print what is in the file as JSON.")
def command(
    output: Path | None, config: Path | None, envoys: tuple[str, ...], api: Api, as_json: bool
) -> None:
    """Write one file with what a report of a fault needs, without secrets.

    It says what could not be gathered. Names and addresses of pools, replicas and Envoys are in it.
    """
    addresses = [_address(text) for text in envoys]
    now = datetime.now(UTC)
    stem = f"plimsoll-diagnose-{now:%Y%m%dT%H%M%SZ}"
    path = output or Path(f"{stem}.tar.gz")
    found = Gathered()
    asyncio.run(_gather(api, found, config, addresses))
    redaction = Redaction([api.token, os.environ.get("PLIMSOLL_TOKEN")])
    files = _files(found, redaction, now)
    try:
        size = _write(path, stem, files)
    except OSError as error:
        fail(f"--output: {path} cannot be written: {error.strerror}")
    missing = {name: redaction.text(why) for name, why in found.missing.items()}
    if as_json:
        print_json({"file": str(path), "bytes": size, "parts": [*files], "missing": missing})
        return
    for name, why in missing.items():
        click.echo(printable(f"plimsoll: not gathered: {name}: {why}"), err=True)
    click.echo(f"wrote {path}: {len(files)} parts, {size / 1024:,.0f} KiB")
    click.echo("look through it before you send it: names and addresses are in it")


async def _gather(api: Api, found: Gathered, config: Path | None, envoys: list[Address]) -> None:
    async with api.client() as client:
        await from_here(found, config)
        await from_api(client, found)
    await from_envoys(envoys, found)


def _files(found: Gathered, redaction: Redaction, now: datetime) -> dict[str, bytes]:
    """The content of each file; what there is no room for is missing."""
    for part in found.parts:
        redaction.learn(part.content)
    files, left = {}, MOST_BYTES
    for name, content in sorted(found.parts):
        clean = redaction.document(content)
        data = (clean if isinstance(clean, str) else json.dumps(clean, indent=1)).encode()
        if len(data) > left:
            found.missing[name] = f"the report would be larger than {MOST_BYTES >> 20} MiB"
            continue
        files[name], left = data, left - len(data)
    summary = {"at": now.isoformat(timespec="seconds"), "parts": [*files], "missing": found.missing}
    return {"summary.json": json.dumps(redaction.document(summary), indent=1).encode(), **files}


def _write(path: Path, folder: str, files: dict[str, bytes]) -> int:
    """Write a tar.gz that only its owner reads; returns its size in bytes.

    Raises:
        OSError: It cannot be written, or there is a file of that name.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        with tarfile.open(fileobj=output, mode="w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mode = len(data), 0o600
                archive.addfile(member, io.BytesIO(data))
        return output.tell()


def _address(text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError as error:
        fail(f"--envoy: {error}", USAGE)
    if address.port == 0:
        fail(f'--envoy: {text!r} is not HOST:PORT, as in "127.0.0.1:9901"', USAGE)
    return address
