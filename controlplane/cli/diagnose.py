"""``plimsoll diagnose``: one file with what a report of a fault needs, without secrets."""

import asyncio
import io
import json
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from controlplane.cli.admin import Api, api_options, print_json
from controlplane.cli.failure import USAGE, fail
from controlplane.cli.gathering import Gathered, from_api, from_envoys, from_here
from controlplane.cli.printable import printable
from controlplane.cli.redaction import Redaction
from controlplane.config import Address, parse_address

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
