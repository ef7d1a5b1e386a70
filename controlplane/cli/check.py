"""``plimsoll check``: whether a config file would be taken, and if not, why, on one line.

With ``--scrape``: which metric profile a live endpoint fits.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import click

from controlplane.cli import scrape_check
from controlplane.cli.failure import USAGE, fail
from controlplane.config import Config, SettingsError, load_config
from controlplane.fleet import Fleet, Refused, declare
from controlplane.scraping.scrape import ScrapeError

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
        config, fleet = checked(file)
    except ValueError as error:
        _fail_file(file, str(error), USAGE, as_json)
    # Envoy's messages take seconds to import: a slip in the file is said without them.
    from controlplane.cli import envoy_check

    verdict = envoy_check.verdict(fleet, config.otlp)
    if verdict.refused is not None:
        _fail_file(file, f"{file}: {verdict.refused}", USAGE, as_json)
    if verdict.problem is not None:
        _fail_file(file, f"{file}: {verdict.problem}", 1, as_json)
    pools, replicas = len(config.pools), sum(len(pool.replicas) for pool in config.pools)
    if as_json:
        counts = {"pools": pools, "replicas": replicas}
        asked = {"path": str(verdict.envoy), "resources": verdict.resources}
        envoy = asked if verdict.envoy else None
        click.echo(json.dumps({"file": file, "ok": True, **counts, "envoy": envoy}))
        return
    click.echo(f"{file}: ok: {_counted(pools, 'pool')}, {_counted(replicas, 'replica')}")
    for pool in (it for it in config.pools if it.is_grpc):
        click.echo(f"plimsoll: pool {pool.name!r} {_GRPC}", err=True)
    if verdict.envoy is None:
        click.echo(f"plimsoll: {envoy_check.MISSING}", err=True)
    else:
        resources = _counted(verdict.resources, "resource")
        click.echo(f"plimsoll: {verdict.envoy} takes the {resources} it would be sent", err=True)


def _fail_file(file: str, sentence: str, code: int, as_json: bool) -> NoReturn:
    if not as_json:
        fail(sentence, code)
    click.echo(json.dumps({"file": file, "ok": False, "error": sentence}))
    raise SystemExit(code)


def _check_endpoint(
    target: str, seconds: float, as_json: bool, access: Mapping[str, str | None]
) -> None:
    try:
        address, path, scheme = scrape_check.parse_target(target)
        asked = scrape_check.access_of(scheme, access)
    except ValueError as error:
        fail(f"--scrape: {error}", USAGE)
    where = f"{address}{path}"
    try:
        texts = asyncio.run(scrape_check.scraped(address, path, seconds, asked))
    except ScrapeError as error:
        if not as_json:
            fail(str(error))
        click.echo(json.dumps({"scrape": where, "ok": False, "error": str(error)}))
        raise SystemExit(1) from None
    found = scrape_check.fitting(texts)
    is_empty = scrape_check.is_empty(texts)
    if as_json:
        answer = scrape_check.as_json(found, is_empty=is_empty)
        click.echo(json.dumps({"scrape": where, **answer}))
    elif is_empty:
        click.echo(scrape_check.EMPTY)
    else:
        for line in scrape_check.as_lines(found):
            click.echo(line)
    if not (found and (found[0].fits or found[0].idle)):
        raise SystemExit(1)


def checked(file: str) -> tuple[Config, Fleet]:
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
