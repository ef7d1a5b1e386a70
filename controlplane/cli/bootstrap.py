"""``plimsoll bootstrap``: print the bootstrap with which an Envoy finds this control plane."""

import json
from typing import get_args

import click
import yaml

from controlplane.cli.failure import USAGE, fail
from controlplane.resources.bootstrap import MAX_CONNECTIONS, Protocol, bootstrap
from controlplane.resources.downstream import LogFormat
from controlplane.resources.views import MAX_PROXIES
from controlplane.settings import Address, Locality, SettingsError, parse_address, validated


@click.command
@click.option("--node", required=True, help="Names this Envoy; no two may have the same.")
@click.option(
    "--xds", default="127.0.0.1:18000", show_default=True, help="HOST:PORT of the control plane."
)
@click.option("--pool", "pools", multiple=True, help="A pool it wants; without any it gets all.")
@click.option("--locality", help="REGION/ZONE it runs in.")
@click.option(
    "--admin-port",
    type=click.IntRange(0, 65535),
    default=9901,
    show_default=True,
    help="Of Envoy's admin interface, on loopback.",
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
    "--protocol",
    type=click.Choice(get_args(Protocol)),
    default="delta",
    show_default=True,
    help="What it speaks with the control plane; delta sends only what has changed.",
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
    help="How many proxies in front of this Envoy may say in x-forwarded-for who the client is.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1, 2**31 - 1),
    default=MAX_CONNECTIONS,
    show_default=True,
    help="Of clients, at a time; further ones are closed at once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; Envoy reads both.")
def command(
    node: str,
    xds: str,
    pools: tuple[str, ...],
    locality: str | None,
    admin_port: int,
    listen: tuple[str, ...],
    gateway: str | None,
    protocol: Protocol,
    log: LogFormat | None,
    trusted_proxies: int,
    max_connections: int,
    as_json: bool,
) -> None:
    """Print the bootstrap of an Envoy, ready for `envoy -c`."""
    if gateway and listen:
        fail("--listen moves a sidecar's listeners, and a gateway has none of them", USAGE)
    try:
        data = bootstrap(
            node,
            _served("--xds", xds),
            pools=pools,
            locality=_locality(locality),
            admin_port=admin_port,
            listen=dict(_moved(text) for text in listen),
            gateway=_listened("--gateway", gateway) if gateway else None,
            protocol=protocol,
            log=log,
            trusted_proxies=trusted_proxies,
            max_connections=max_connections,
        )
    except ValueError as error:
        fail(str(error), USAGE)
    click.echo(
        json.dumps(data, indent=2) if as_json else yaml.safe_dump(data, sort_keys=False), nl=as_json
    )


def _served(option: str, text: str) -> Address:
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
    if address.port == 0:
        raise ValueError(f"{option}: port 0 of {text!r} reaches nothing; give 1 to 65535")
    return address


def _moved(text: str) -> tuple[str, Address]:
    pool, equals, address = text.partition("=")
    if not pool or not equals:
        raise ValueError(
            f'--listen: {text!r} is not POOL=HOST:PORT, as in "minilm=127.0.0.1:10001"'
        )
    return pool, _listened("--listen", address)


def _listened(option: str, text: str) -> Address:
    address = _served(option, text)
    if address.ip is None:
        raise ValueError(f"{option}: {address.host!r} is a name; Envoy listens on an IP address")
    return address


def _locality(text: str | None) -> Locality | None:
    if text is None:
        return None
    region, _, zone = text.partition("/")
    try:
        return validated(Locality, {"region": region or None, "zone": zone or None})
    except SettingsError as error:
        raise ValueError(f"--locality: {error}") from None
