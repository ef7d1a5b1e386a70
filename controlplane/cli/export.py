"""``plimsoll export``: write an Envoy's resources as files, so that it needs no control plane."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import click

from controlplane.balancing import Place
from controlplane.cli.admin import Api, api_options
from controlplane.cli.bootstrap import as_yaml
from controlplane.cli.check import loaded
from controlplane.cli.node_options import envoy_of, node_option, node_options, write_secrets
from controlplane.cli.terminal import USAGE, fail
from controlplane.plane import first_catalog
from controlplane.resources.filesystem import CURRENT, Files, files, longest_check, steps
from controlplane.resources.messages import snapshot_to_json
from controlplane.resources.views import METADATA_KEY, View

BOOTSTRAP: Final = "envoy.yaml"

_XDS: Final = "xds"
"""The folder that Envoy watches; a bootstrap that moves beside it reloads nothing."""

_SETTLED: Final = 1.0
"""Seconds for Envoy to act upon files, beside the health checks of new clusters."""


@click.command
@click.argument("folder", metavar="DIR")
@node_option
@click.option(
    "--config",
    metavar="FILE",
    help="Read the config file and take every replica of it for healthy, instead of asking --url.",
)
@node_options
@api_options
def command(folder: str, node: str, config: str | None, api: Api, **options: Any) -> None:
    """Write the resources of an Envoy into DIR, and a bootstrap that reads them.

    The Envoy needs no control plane: `envoy -c DIR/envoy.yaml`. A further export into the same DIR
    takes effect at once, and loses no request.
    """
    target = Path(folder).absolute()
    if options["identity"]:
        fail("--identity ads needs a control plane: give --spire or --identity-certificate", USAGE)
    try:
        data = envoy_of(node, target / _XDS, options)
    except ValueError as error:
        fail(str(error), USAGE)
    described = data["node"]
    metadata, locality = described["metadata"], described.get("locality")
    resources = (
        _declared(config, metadata, locality or {})
        if config is not None
        else api.ask(lambda client: client.node_resources(metadata, locality)).resources
    )
    write_secrets(options, None)
    try:
        with _alone_in(target):
            _write(target, as_yaml(data), files(resources, target / _XDS))
    except OSError as error:
        fail(f"{target} cannot be written: {error.strerror or error}")


def _declared(
    file: str, metadata: Mapping[str, Any], locality: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    try:
        config, fleet = loaded(file)
    except ValueError as error:
        fail(str(error), USAGE)
    wanted = metadata[METADATA_KEY]
    for name in (*wanted.get("pools", ()), *wanted.get("listen", ())):
        if name not in fleet.pools and name != "*":
            known = ", ".join(sorted(fleet.pools)) or "none"
            fail(f"{file} has no pool {name!r}; it has {known}", USAGE)
    catalog = first_catalog(fleet, config.identity.trust_domain, config.otlp)
    place = Place(locality.get("region", ""), locality.get("zone", ""))
    return snapshot_to_json(catalog.view(View.of(metadata, place)))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other exports out of a folder, and refuse one that has something else in it."""
    folder.mkdir(exist_ok=True)
    if (folder / BOOTSTRAP).exists() and not (folder / _XDS / CURRENT).is_symlink():
        fail(
            f"{folder / BOOTSTRAP} exists and was not written by an export: give another folder",
            USAGE,
        )
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"another export is writing into {folder}")
    else:
        yield
    finally:
        os.close(number)


def _write(folder: Path, bootstrap: str, found: Files) -> None:
    xds = folder / _XDS
    xds.mkdir(exist_ok=True)
    before = _read(xds)
    _write_bootstrap(folder / BOOTSTRAP, bootstrap)
    for number, step in enumerate(steps(before, found) if before != found else ()):
        if number:
            seconds = _SETTLED + longest_check(step)
            click.echo(f"plimsoll: Envoy is given {seconds:g} s to apply that", err=True)
            time.sleep(seconds)
        _swap(xds, step)
    click.echo(f"{folder}: {len(found)} files; envoy -c {folder / BOOTSTRAP}")


def _read(xds: Path) -> Files:
    """What an Envoy of this folder has; nothing where that cannot be read."""
    here = xds / CURRENT
    try:
        return {
            str(path.relative_to(here)): json.loads(path.read_text())
            for path in here.rglob("*.json")
        }
    except (OSError, ValueError):
        return {}


def _write_bootstrap(path: Path, text: str) -> None:
    was_there = path.exists()
    if was_there and path.read_text() == text:
        return
    new = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        new.write_text(text)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    if was_there:
        click.echo(f"plimsoll: {path} has changed: restart Envoy to apply it", err=True)


def _swap(xds: Path, step: Files) -> None:
    """Put a folder with these files in the place of the one before, in one step for Envoy."""
    new = xds / token_hex(8)
    link = xds / f"{new.name}.link"
    try:
        for path, content in step.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_text(json.dumps(content, indent=1) + "\n")
        link.symlink_to(new.name)
        link.replace(xds / CURRENT)
    except OSError:
        link.unlink(missing_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        raise
    # Those before, and what exports left that were cut off.
    for other in xds.iterdir():
        if other.name not in (CURRENT, new.name):
            with suppress(OSError):
                shutil.rmtree(other) if other.is_dir() else other.unlink()
