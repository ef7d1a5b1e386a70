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
from controlplane.cli.bootstrap_mesh import (
    ingress_of,
    mesh_options,
    secrets_of,
    tls_of,
    write_secrets,
)
from controlplane.cli.terminal import USAGE, fail, parsed, printable
from controlplane.client import Client, ClientError
from controlplane.config import Address, Locality, SettingsError, parse_address, validated
from controlplane.config.tls import GatewayTls
from controlplane.config.values import format_size, parse_size
from controlplane.resources.bootstrap import (
    MAX_CONNECTIONS,
    MAX_HEAP,
    Protocol,
    bootstrap,
    grpc_bootstrap,
)
from controlplane.resources.listeners import LogFormat
from controlplane.resources.secret_sources import NodeTls
from controlplane.resources.views import MAX_PROXIES

LEAST_HEAP: Final = 128 << 20
"""Bytes: twice what Envoy takes with a pool and without requests."""

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
@click.option("--node", required=True, help="Name of this Envoy; unique.")
@click.option(
    "--xds", default="127.0.0.1:18000", show_default=True, help="HOST:PORT of the control plane."
)
@click.option(
    "--pool", "pools", multiple=True, help="Pool to serve; repeat for more. Default: all pools."
)
@click.option("--locality", help="REGION/ZONE of this Envoy.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    default=9901,
    show_default=True,
    help="Port of Envoy's admin interface, on loopback.",
)
@click.option(
    "--stats",
    metavar="HOST:PORT",
    help="Serve /stats/prometheus there, and nothing else of the admin interface.",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="POOL=HOST:PORT",
    help="Move a pool's listener, so that several Envoys fit on one host.",
)
@click.option(
    "--gateway",
    metavar="HOST:PORT",
    help="Open one listener for all pools, chosen by path or header, instead of one for each.",
)
@click.option(
    "--grpc",
    "is_grpc",
    is_flag=True,
    help="Print the JSON with which a gRPC client asks for xds:///POOL, without an Envoy.",
)
@click.option(
    "--gateway-tls",
    multiple=True,
    metavar="CERTIFICATE,KEY",
    help="Files on the gateway's machine to terminate TLS with; repeat for more names (SNI).",
)
@click.option(
    "--gateway-client-ca",
    metavar="FILE",
    help="File on the gateway's machine that signs the certificates clients must present.",
)
@click.option(
    "--protocol",
    type=click.Choice(get_args(Protocol)),
    default="delta",
    show_default=True,
    help="xDS variant; delta sends only what has changed.",
)
@click.option(
    "--max-heap",
    default=format_size(MAX_HEAP),
    show_default=True,
    metavar="SIZE",
    help="Memory limit of Envoy; from 80 % on it refuses requests.",
)
@click.option(
    "--access-log",
    "log",
    type=click.Choice(get_args(LogFormat)),
    help="Write a line for each request to Envoy's standard output.",
)
@click.option(
    "--trusted-proxies",
    type=click.IntRange(0, MAX_PROXIES),
    default=0,
    show_default=True,
    help="Number of proxies in front of this Envoy whose x-forwarded-for is believed.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1, 2**31 - 1),
    default=MAX_CONNECTIONS,
    show_default=True,
    help="Client connections at a time; more are closed at once.",
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
@mesh_options
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
    pools: tuple[str, ...],
    locality: str | None,
    admin_port: int,
    stats: str | None,
    listen: tuple[str, ...],
    gateway: str | None,
    gateway_tls: tuple[str, ...],
    gateway_client_ca: str | None,
    is_grpc: bool,
    protocol: Protocol,
    max_heap: str,
    log: LogFormat | None,
    trusted_proxies: int,
    max_connections: int,
    url: str,
    token: str | None,
    as_json: bool,
    ingress: str | None,
    **files: str | None,
) -> None:
    """Print the bootstrap of an Envoy, ready for `envoy -c`, or that of a gRPC client.

    A control plane that answers at --url is asked whether it has the named pools.
    """
    if is_grpc:
        _refuse_for_grpc()
    if gateway and listen:
        fail("--listen moves a sidecar's listeners, and a gateway has none of them", USAGE)
    if (gateway_tls or gateway_client_ca) and not gateway:
        fail("--gateway-tls and --gateway-client-ca go with --gateway", USAGE)
    if gateway_client_ca and not gateway_tls:
        fail("--gateway-client-ca goes with --gateway-tls", USAGE)
    if ingress and (gateway or listen or pools):
        fail("--ingress excludes --gateway, --listen and --pool: it is for one pool", USAGE)
    if stats and not admin_port:
        fail("--stats needs an --admin-port that is not 0: its metrics come from there", USAGE)
    address = parsed("--xds", _reachable, xds)
    here = parsed("--locality", _locality, locality) if locality is not None else None
    moved = dict(parsed("--listen", _moved, text) for text in listen)
    replica = None
    if ingress:
        pool, listens, replica = parsed("--ingress", ingress_of, ingress)
        pools, moved = (pool,), {pool: listens}
    try:
        tls = tls_of(files, address.host)
        secrets = secrets_of(files, has_tls=tls is not None)
        if is_grpc:
            proven = tls if isinstance(tls, NodeTls) else None
            data = grpc_bootstrap(node, address, pools=pools, locality=here, tls=proven)
        else:
            data = bootstrap(
                node,
                address,
                pools=pools,
                locality=here,
                admin_port=admin_port,
                stats=parsed("--stats", _listened, stats) if stats else None,
                listen=moved,
                gateway=parsed("--gateway", _listened, gateway) if gateway else None,
                gateway_tls=_gateway_tls(gateway_tls, gateway_client_ca) if gateway_tls else None,
                replica=replica,
                secrets=secrets,
                protocol=protocol,
                max_heap=parsed("--max-heap", _heap, max_heap),
                log=log,
                trusted_proxies=trusted_proxies,
                max_connections=max_connections,
                tls=tls,
                spire=files["spire"],
            )
    except ValueError as error:
        fail(str(error), USAGE)
    write_secrets(files, tls if isinstance(tls, NodeTls) and not is_grpc else None)
    is_json = as_json or is_grpc
    click.echo(json.dumps(data, indent=2) if is_json else _yaml(data), nl=is_json)
    for pool in (pool for pool in moved if pools and pool not in pools):
        _warn(f"--listen moves pool {pool!r}, which no --pool names: this Envoy does not get it")
    if named := dict.fromkeys((*pools, *moved)):
        _warn_of_unknown(named.keys(), url, token)


def _refuse_for_grpc() -> None:
    """Refuse options that a gRPC client has no use for."""
    context = click.get_current_context()
    for name in context.params.keys() - _FOR_GRPC:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            fail(f"{option} is for an Envoy: leave it out with --grpc", USAGE)


def _reachable(text: str) -> Address:
    address = parse_address(text)
    if address.port == 0:
        raise ValueError(f"port 0 of {text!r} reaches nothing; give 1 to 65535")
    return address


def _listened(text: str) -> Address:
    address = _reachable(text)
    if address.ip is None:
        raise ValueError(f"{address.host!r} is a name; Envoy listens on an IP address")
    return address


def _moved(text: str) -> tuple[str, Address]:
    pool, equals, address = text.partition("=")
    if not pool or not equals:
        raise ValueError(f'{text!r} is not POOL=HOST:PORT, as in "minilm=127.0.0.1:10001"')
    return pool, _listened(address)


def _heap(text: str) -> int:
    size = parse_size(text)
    if size < LEAST_HEAP:
        least = format_size(LEAST_HEAP)
        raise ValueError(f"{text} is less than Envoy runs in; give {least} at least")
    return size


def _locality(text: str) -> Locality:
    region, _, zone = text.partition("/")
    return validated(Locality, {"region": region or None, "zone": zone or None})


def _gateway_tls(pairs: tuple[str, ...], client_ca: str | None) -> GatewayTls:
    certificates = []
    for text in pairs:
        certificate, comma, key = text.partition(",")
        if not comma:
            raise ValueError(
                f"--gateway-tls: {text!r} is not CERTIFICATE,KEY, as in"
                ' "/etc/envoy/tls.crt,/etc/envoy/tls.key"'
            )
        certificates.append({"certificate": certificate, "key": key})
    try:
        return validated(GatewayTls, {"certificates": certificates, "client_ca": client_ca})
    except SettingsError as error:
        option = "--gateway-client-ca" if error.path[0] == "client_ca" else "--gateway-tls"
        raise ValueError(f"{option}: {error.problem}") from None


class _Dumper(yaml.SafeDumper):
    """Writes every text so that any reader of YAML, 1.1 or 1.2, reads a text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Quote a text that could be read as something else."""
        is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def _yaml(data: dict[str, Any]) -> str:
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
