"""``plimsoll check``: whether a config file would be taken, and if not, why, on one line."""

import json
from pathlib import Path

import click

from controlplane.cli.failure import USAGE, fail
from controlplane.fleet import Fleet, Refused, declare
from controlplane.settings import Config, SettingsError, load_config


@click.command
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also of an error.")
def command(file: str, as_json: bool) -> None:
    """Check the config FILE and say what is wrong with it."""
    try:
        config = _checked(file)
    except ValueError as error:
        if not as_json:
            fail(str(error), USAGE)
        click.echo(json.dumps({"file": file, "ok": False, "error": str(error)}))
        raise SystemExit(USAGE) from None
    pools, replicas = len(config.pools), sum(len(pool.replicas) for pool in config.pools)
    if as_json:
        counts = {"pools": pools, "replicas": replicas}
        click.echo(json.dumps({"file": file, "ok": True, **counts}))
    else:
        click.echo(f"{file}: ok: {_counted(pools, 'pool')}, {_counted(replicas, 'replica')}")


def _checked(file: str) -> Config:
    """The config of a file that an empty fleet takes.

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
        declare(Fleet(), config, 0.0)
    except Refused as refused:
        raise SettingsError(str(refused), place=file) from None
    return config


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
