"""`plimsoll bootstrap`: print the bootstrap with which an Envoy finds this control plane."""

import asyncio
import json
import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any, Final, get_args

import click
import yaml
from click.core import ParameterSource

from controlplane.cli.admin import DEFAULT_URL, files_of_environment
from controlplane.cli.node_options import (
    envoy_of,
    locality_in,
    node_option,
    node_options,
    reachable,
    tls_of,
    write_secrets,
)
from controlplane.cli.terminal import USAGE, fail, parsed, printable
from controlplane.client import Client, ClientError
from controlplane.resources.bootstrap import Protocol, grpc_bootstrap
from controlplane.resources.secret_sources import NodeTls
from controlplane.resources.views import ALL_POOLS, METADATA_KEY

_POOLS_SECONDS: Final = 2.0
"""For a control plane to list its pools."""

_FOR_GRPC: Final = frozenset(
    (
        *("node", "xds", "pools", "locality", "is_grpc", "url", "token", "as_json"),
        *("tls_certificate", "tls_key", "tls_ca"),
    )
)
"""The options that apply to a gRPC client."""

_PLAIN: Final = re.compile(r"[A-Za-z_@][A-Za-z0-9_.@/-]*")
"""Texts that need no quotes in YAML, except for the words below."""

_WORDS: Final = frozenset(
    ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity")
)
"""What some reader of YAML takes for a boolean, for null or for a number."""


@click.command
@node_option
@click.option(
    "--xds", default="127.0.0.1:18000", show_default=True, help="HOST:PORT of the control plane."
)
@node_options
@click.option(
    "--grpc",
    "is_grpc",
    is_flag=True,
    help="Print the JSON with which a gRPC client asks for xds:///POOL, without an Envoy.",
)
@click.option(
    "--protocol",
    type=click.Choice(get_args(Protocol)),
    default="delta",
    show_default=True,
    help="xDS variant; delta sends only what has changed.",
)
@click.option(
    "--tls-certificate", metavar="FILE", help="Certificate that this Envoy shows the control plane."
)
@click.option("--tls-key", metavar="FILE", help="Private key of the certificate.")
@click.option("--tls-ca", metavar="FILE", help="Roots of the control plane's certificate.")
@click.option(
    "--tls-name",
    metavar="NAME",
    help="Name in the control plane's certificate: host, IP address or SPIFFE id. Default: that of"
    " --xds.",
)
@click.option(
    "--tls-secrets",
    metavar="FOLDER",
    help="Folder in which identity.json and roots.json are written, which Envoy reads. Default:"
    " that of --tls-certificate.",
)
@click.option(
    "--url",
    envvar="PLIMSOLL_URL",
    default=DEFAULT_URL,
    show_default=True,
    help="API that is asked whether the pools exist; also PLIMSOLL_URL.",
)
@click.option(
    "--token", envvar="PLIMSOLL_TOKEN", help="Token for the API; better in PLIMSOLL_TOKEN."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; Envoy reads both, gRPC no YAML.")
def command(
    node: str,
    xds: str,
    is_grpc: bool,
    protocol: Protocol,
    url: str,
    token: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Print the bootstrap of an Envoy, ready for `envoy -c`, or that of a gRPC client.

    A control plane that answers at --url is asked whether it has the named pools.
    """
    if is_grpc:
        _refuse_for_grpc()
    address = parsed("--xds", reachable, xds)
    try:
        tls = tls_of(options, address.host, node)
        if is_grpc:
            data = grpc_bootstrap(
                node,
                address,
                pools=options["pools"],
                locality=locality_in(options),
                tls=tls if isinstance(tls, NodeTls) else None,
            )
        else:
            data = envoy_of(node, address, options, protocol=protocol, tls=tls)
    except ValueError as error:
        fail(str(error), USAGE)
    write_secrets(options, tls if isinstance(tls, NodeTls) and not is_grpc else None)
    is_json = as_json or is_grpc
    click.echo(json.dumps(data, indent=2) if is_json else as_yaml(data), nl=is_json)
    wanted = data["node"]["metadata"][METADATA_KEY]
    pools, moved = wanted.get("pools", []), wanted.get("listen", {}).keys() - {ALL_POOLS}
    for pool in sorted(pool for pool in moved if pools and pool not in pools):
        _warn(f"--listen moves pool {pool!r}, which no --pool names: this Envoy does not get it")
    if named := dict.fromkeys((*pools, *sorted(moved))):
        _warn_of_unknown(named.keys(), url, token)


def _refuse_for_grpc() -> None:
    context = click.get_current_context()
    for name in context.params.keys() - _FOR_GRPC:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            fail(f"{option} is for an Envoy: leave it out with --grpc", USAGE)


class _Dumper(yaml.SafeDumper):
    """Writes every text so that any reader of YAML, 1.1 or 1.2, reads a text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def as_yaml(data: dict[str, Any]) -> str:
    """Write plain data so that any reader of YAML takes every text for a text."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _warn_of_unknown(named: Collection[str], url: str, token: str | None) -> None:
    """Warn of pools that the control plane does not have.

    Nothing is said where no control plane answers: a bootstrap may be made before it runs.
    """
    try:
        known = asyncio.run(_pools(url, token))
    except (ClientError, ValueError):
        return
    for pool in (pool for pool in named if pool not in known):
        near = get_close_matches(pool, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"
        _warn(f"the control plane at {url} has no pool {pool!r}{hint}")


def _warn(sentence: str) -> None:
    click.echo(f"plimsoll: warning: {printable(sentence)}", err=True)


async def _pools(url: str, token: str | None) -> list[str]:
    files = files_of_environment()
    async with Client(url, token=token, timeout=_POOLS_SECONDS, **files) as client:
        return [pool.name async for pool in client.each_pool()]
