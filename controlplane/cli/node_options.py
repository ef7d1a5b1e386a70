"""Options that describe an Envoy, of ``plimsoll bootstrap`` and ``plimsoll export``."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, get_args

import click

from controlplane.cli.bootstrap_mesh import ingress_of, mesh_options, secrets_of
from controlplane.cli.terminal import USAGE, fail, parsed
from controlplane.cli.terminal import options as taking
from controlplane.config import Address, Locality, SettingsError, parse_address, validated
from controlplane.config.tls import GatewayTls
from controlplane.config.values import format_size, parse_size
from controlplane.resources.bootstrap import MAX_CONNECTIONS, MAX_HEAP, Protocol, bootstrap
from controlplane.resources.listeners import LogFormat
from controlplane.resources.secret_sources import NodeTls, SpireTls
from controlplane.resources.views import MAX_PROXIES

LEAST_HEAP: Final = 128 << 20
"""Bytes: twice what Envoy takes with a pool and without requests."""

node_options = taking(
    click.option(
        "--pool", "pools", multiple=True, help="Pool to serve; repeat for more. Default: all pools."
    ),
    click.option("--locality", help="REGION/ZONE of this Envoy."),
    click.option(
        "--admin-port",
        type=click.IntRange(0, 65535),
        default=9901,
        show_default=True,
        help="Port of Envoy's admin interface, on loopback.",
    ),
    click.option(
        "--stats",
        metavar="HOST:PORT",
        help="Serve /stats/prometheus there, and nothing else of the admin interface.",
    ),
    click.option(
        "--listen",
        multiple=True,
        metavar="POOL=HOST:PORT",
        help="Move a pool's listener, so that several Envoys fit on one host.",
    ),
    click.option(
        "--gateway",
        metavar="HOST:PORT",
        help="Open one listener for all pools, chosen by path or header, instead of one for each.",
    ),
    click.option(
        "--gateway-tls",
        multiple=True,
        metavar="CERTIFICATE,KEY",
        help="Files on the gateway's machine to terminate TLS with; repeat for more names (SNI).",
    ),
    click.option(
        "--gateway-client-ca",
        metavar="FILE",
        help="File on the gateway's machine that signs the certificates clients must present.",
    ),
    click.option(
        "--max-heap",
        default=format_size(MAX_HEAP),
        show_default=True,
        metavar="SIZE",
        help="Memory limit of Envoy; from 80 % on it refuses requests.",
    ),
    click.option(
        "--access-log",
        "log",
        type=click.Choice(get_args(LogFormat)),
        help="Write a line for each request to Envoy's standard output.",
    ),
    click.option(
        "--trusted-proxies",
        type=click.IntRange(0, MAX_PROXIES),
        default=0,
        show_default=True,
        help="Number of proxies in front of this Envoy whose x-forwarded-for is believed.",
    ),
    click.option(
        "--max-connections",
        type=click.IntRange(1, 2**31 - 1),
        default=MAX_CONNECTIONS,
        show_default=True,
        help="Client connections at a time; more are closed at once.",
    ),
    mesh_options,
)
"""Describe an Envoy, and its certificates."""


def envoy_of(
    node: str,
    source: Address | PurePath,
    options: Mapping[str, Any],
    *,
    protocol: Protocol = "delta",
    tls: NodeTls | SpireTls | None = None,
) -> dict[str, Any]:
    """The bootstrap of the Envoy that these options describe; exits where they are wrong."""
    pools, listen, ingress = options["pools"], options["listen"], options["ingress"]
    gateway, gateway_tls = options["gateway"], options["gateway_tls"]
    client_ca, stats = options["gateway_client_ca"], options["stats"]
    if gateway and listen:
        fail("--listen moves a sidecar's listeners, and a gateway has none of them", USAGE)
    if (gateway_tls or client_ca) and not gateway:
        fail("--gateway-tls and --gateway-client-ca go with --gateway", USAGE)
    if client_ca and not gateway_tls:
        fail("--gateway-client-ca goes with --gateway-tls", USAGE)
    if ingress and (gateway or listen or pools):
        fail("--ingress excludes --gateway, --listen and --pool: it is for one pool", USAGE)
    if stats and not options["admin_port"]:
        fail("--stats needs an --admin-port that is not 0: its metrics come from there", USAGE)
    replica = None
    moved = dict(parsed("--listen", _moved, text) for text in listen)
    if ingress:
        pool, listens, replica = parsed("--ingress", ingress_of, ingress)
        pools, moved = (pool,), {pool: listens}
    return bootstrap(
        node,
        source,
        pools=pools,
        locality=locality_in(options),
        admin_port=options["admin_port"],
        stats=parsed("--stats", _listened, stats) if stats else None,
        listen=moved,
        gateway=parsed("--gateway", _listened, gateway) if gateway else None,
        gateway_tls=_gateway_tls(gateway_tls, client_ca) if gateway_tls else None,
        replica=replica,
        secrets=secrets_of(options, has_tls=tls is not None),
        protocol=protocol,
        max_heap=parsed("--max-heap", _heap, options["max_heap"]),
        log=options["log"],
        trusted_proxies=options["trusted_proxies"],
        max_connections=options["max_connections"],
        tls=tls,
        spire=options["spire"],
    )


def locality_in(options: Mapping[str, Any]) -> Locality | None:
    """What ``--locality`` says; None: nothing."""
    text = options["locality"]
    return None if text is None else parsed("--locality", _locality, text)


def reachable(text: str) -> Address:
    """Read an address that is not of any free port."""
    address = parse_address(text)
    if address.port == 0:
        raise ValueError(f"port 0 of {text!r} reaches nothing; give 1 to 65535")
    return address


def _listened(text: str) -> Address:
    address = reachable(text)
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
