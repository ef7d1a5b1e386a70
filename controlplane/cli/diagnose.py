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
from typing import Any, Final

import aiohttp
import click
import yaml

from controlplane import __version__
from controlplane.cli.admin import Api, api_options
from controlplane.cli.redaction import Redaction
from controlplane.cli.terminal import USAGE, fail, parsed, print_json, printable
from controlplane.client import Answer, Client, ClientError, UnreachableError
from controlplane.config import Address, parse_address

MAX_BYTES: Final = 64 << 20
"""Of all parts together, before they are compressed to some hundredth."""

_MAX_ANSWER: Final = 16 << 20
"""Bytes of one answer of an Envoy; a longer one is left out."""

MAX_HISTORIES: Final = 200
_MAX_REPLICAS: Final = 2_000
_MAX_EVENTS: Final = 4_096
_MAX_AUDIT: Final = 1_000

_SECONDS: Final = 10.0
"""For an answer of an Envoy, and for all events."""

_FROM_ENVOY: Final = {
    "server_info.json": "/server_info",
    "clusters.json": "/clusters?format=json",
    "listeners.json": "/listeners?format=json",
    "stats.txt": "/stats?usedonly",
    "certs.json": "/certs",
    "config_dump.json": "/config_dump?include_eds",
}
"""Files, and the paths of Envoy's admin interface that fill them."""


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
    """Write one file for a bug report, without secrets.

    The file names what could not be gathered. It has names and addresses of pools, replicas and
    Envoys.
    """
    addresses = [_address(text) for text in envoys]
    now = datetime.now(UTC)
    stem = f"plimsoll-diagnose-{now:%Y%m%dT%H%M%SZ}"
    path = output or Path(f"{stem}.tar.gz")
    report = _Report()
    asyncio.run(_gather(api, report, config, addresses))
    redaction = Redaction([api.token, os.environ.get("PLIMSOLL_TOKEN")])
    files = report.files(redaction, now)
    try:
        size = _write(path, stem, files)
    except OSError as error:
        fail(f"--output: {path} cannot be written: {error.strerror}")
    missing = {name: redaction.text(why) for name, why in report.missing.items()}
    if as_json:
        print_json({"file": str(path), "bytes": size, "parts": [*files], "missing": missing})
        return
    for name, why in missing.items():
        click.echo(printable(f"plimsoll: not gathered: {name}: {why}"), err=True)
    click.echo(f"wrote {path}: {len(files)} parts, {size / 1024:,.0f} KiB")
    click.echo("look through it before you send it: names and addresses are in it")


def _address(text: str) -> Address:
    address = parsed("--envoy", parse_address, text)
    if address.port == 0:
        fail(f'--envoy: {text!r} is not HOST:PORT, as in "127.0.0.1:9901"', USAGE)
    return address


def _write(path: Path, folder: str, files: dict[str, bytes]) -> int:
    """Write a tar.gz that only its owner reads; returns its size in bytes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        with tarfile.open(fileobj=output, mode="w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mode = len(data), 0o600
                archive.addfile(member, io.BytesIO(data))
        return output.tell()


class _Report:
    """The parts of a report by file name, and why the others are missing."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self.missing: dict[str, str] = {}

    async def take(self, name: str, question: Awaitable[Any]) -> Any:
        """Take a part; returns its content, or None where it cannot be had."""
        try:
            content = await question
            content = content.document() if isinstance(content, Answer) else content
        except (ClientError, OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.missing[name] = _why(error)
            return None
        self.parts[name] = content
        return content

    def files(self, redaction: Redaction, now: datetime) -> dict[str, bytes]:
        """The content of each file; a part that there is no room for is missing."""
        for content in self.parts.values():
            redaction.learn(content)
        files, left = {}, MAX_BYTES
        for name, content in sorted(self.parts.items(), key=lambda part: part[0]):
            clean = redaction.document(content)
            data = (clean if isinstance(clean, str) else json.dumps(clean, indent=1)).encode()
            if len(data) > left:
                self.missing[name] = f"the report would be larger than {MAX_BYTES >> 20} MiB"
                continue
            files[name], left = data, left - len(data)
        at = now.isoformat(timespec="seconds")
        summary = redaction.document({"at": at, "parts": [*files], "missing": self.missing})
        return {"summary.json": json.dumps(summary, indent=1).encode(), **files}


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be read: {error.strerror}"
    return str(error) or type(error).__name__


async def _gather(api: Api, report: _Report, config: Path | None, envoys: list[Address]) -> None:
    async with api.client() as client:
        await report.take("versions.json", _versions())
        if config is not None:
            await report.take("config.json", _config(config))
        await asyncio.gather(
            report.take("control-plane.json", _control_plane(client)),
            report.take("nodes.json", client.node_list()),
            report.take("metrics.txt", client.metrics()),
            report.take("events.json", _events(client)),
            report.take("audit.json", _first(_MAX_AUDIT, client.each_audit_entry())),
            _gather_pools(client, report),
        )
    await _gather_envoys(envoys, report)


async def _control_plane(client: Client) -> dict[str, Any]:
    match await client.openapi():
        case {"info": {"version": str(version)}}:
            return {"url": client.url, "version": version, "ready": await client.is_ready()}
    raise ValueError(f"the server at {client.url} is no control plane")


async def _events(client: Client) -> list[Any]:
    """The events that the control plane still has: those since its start, or the newest."""
    async with asyncio.timeout(_SECONDS):
        async with aclosing(client.events()) as present:
            newest = (await anext(present)).id or ""
        start, _, number = newest.rpartition("-")
        count = min(int(number), _MAX_EVENTS)
        found: list[Any] = []
        async with aclosing(client.events(after=f"{start}-{int(number) - count}")) as events:
            # The stream of events has no end.
            while len(found) < count:
                event = await anext(events)
                found.append({"id": event.id, "event": event.kind, "data": event.document})
        return found


async def _gather_pools(client: Client, report: _Report) -> None:
    pools = await report.take("pools.json", _first(None, client.each_pool()))
    by_pool: list[list[tuple[str, str]]] = []
    left = _MAX_REPLICAS
    for name in [pool["name"] for pool in pools or ()]:
        reading = _first(left, client.each_replica(name))
        replicas = await report.take(f"replicas/{name}.json", reading) or []
        by_pool.append([(name, replica["id"]) for replica in replicas])
        left -= len(replicas)
    if left == 0:
        report.missing["replicas"] = f"these are {_MAX_REPLICAS} replicas, and there are more"
    # Some of each pool, rather than all of the first.
    ids = [key for row in zip_longest(*by_pool) for key in row if key is not None]
    for number, (pool, id_) in enumerate(ids):
        if number == MAX_HISTORIES:
            report.missing["history"] = f"of {len(ids)} replicas {MAX_HISTORIES} were asked for"
            return
        name = f"history/{pool}/{id_}.json"
        await report.take(name, client.history(pool, id_))
        if name in report.missing and not await _is_there(client):
            report.missing["history"] = "the control plane does not answer any more"
            return


async def _is_there(client: Client) -> bool:
    try:
        return await client.is_live()
    except UnreachableError:
        return False


async def _first(most: int | None, answers: AsyncIterator[Any]) -> list[Any]:
    """At most so many answers as plain data; None: all of them."""
    found: list[Any] = []
    if most == 0:
        return found
    async for answer in answers:
        found.append(answer.document())
        if len(found) == most:
            break
    return found


async def _gather_envoys(envoys: Iterable[Address], report: _Report) -> None:
    """Ask Envoys' admin interfaces for what they hold and have counted."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        for envoy in envoys:
            for name, path in _FROM_ENVOY.items():
                file = f"envoy/{envoy.host}-{envoy.port}/{name}"
                await report.take(file, _from_envoy(session, f"http://{envoy}{path}"))


async def _from_envoy(session: aiohttp.ClientSession, url: str) -> Any:
    async with session.get(url) as response:
        if response.status != 200:
            raise ValueError(f"{url} answers {response.status}")
        data = b""
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > _MAX_ANSWER:
                raise ValueError(f"{url} answers with more than {_MAX_ANSWER >> 20} MiB")
    text = data.decode("utf-8", "replace")
    return json.loads(text) if response.content_type == "application/json" else text


async def _versions() -> dict[str, Any]:
    wanted = {re.split(r"[^\w.-]", each)[0] for each in metadata.requires("plimsoll") or ()}
    versions = {name: _version(name) for name in sorted(wanted)}
    return {
        "plimsoll": __version__,
        "python": sys.version,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "envoy": await _installed_envoy(),
        "packages": {name: version for name, version in versions.items() if version},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


async def _installed_envoy() -> str | None:
    """The version of this machine's Envoy; None where there is none."""
    from controlplane.envoy import find_envoy

    if (path := find_envoy()) is None:
        return None
    process = await asyncio.create_subprocess_exec(
        path, "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        return f"{path} does not say"
    return output.decode("utf-8", "replace").strip()


async def _config(path: Path) -> Any:
    """The config file as data: its comments may hold anything."""
    text = await asyncio.to_thread(path.read_text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The message would repeat what is in the file.
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path} is no YAML{line}") from None
