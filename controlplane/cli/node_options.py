"""Options that describe an Envoy, of ``plimsoll bootstrap`` and ``plimsoll export``."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Final, get_args

import click

from controlplane.cli.terminal import USAGE, fail, parsed
from controlplane.cli.terminal import options as taking
from controlplane.config import (
    Address,
    Locality,
    SettingsError,
    parse_address,
    parse_listener_address,
    validated,
)
from controlplane.config.tls import GatewayTls
from controlplane.config.values import format_size, parse_size
from controlplane.resources.bootstrap import MAX_CONNECTIONS, MAX_HEAP, Protocol, bootstrap
from controlplane.resources.listeners import LogFormat
from controlplane.resources.secret_sources import (
    ADS,
    SPIRE,
    NodeTls,
    SecretSource,
    SpireTls,
    secret_files,
)
from controlplane.resources.views import MAX_NODE_ID, MAX_PROXIES


def _node(_context: click.Context, _option: click.Parameter, text: str) -> str:
    if not (0 < len(text) <= MAX_NODE_ID and text.isprintable()):
        fail(f"--node: give 1 to {MAX_NODE_ID} printable characters", USAGE)
    return text


node_option = click.option(
    "--node", required=True, callback=_node, help="Name of this Envoy; unique."
)

mesh_options = taking(
    click.option(
        "--ingress",
        metavar="POOL=HOST:PORT,HOST:PORT",
        help="Run beside a replica of a pool: take requests at the first address, and pass them to"
        " the replica at the second.",
    ),
    click.option(
        "--identity",
        type=click.Choice(("ads",)),
        help="Take the certificate for other Envoys from the control plane.",
    ),
    click.option(
        "--spire",
        metavar="SOCKET",
        help="Take all certificates from the SPIRE agent at this socket. With --tls-name, the"
        " connection to the control plane shows one, too.",
    ),
    click.option(
        "--identity-certificate",
        metavar="FILE",
        help="Certificate that this Envoy shows other Envoys.",
    ),
    click.option("--identity-key", metavar="FILE", help="Private key of that certificate."),
    click.option("--identity-ca", metavar="FILE", help="Roots of other Envoys' certificates."),
    click.option(
        "--identity-secrets",
        metavar="FOLDER",
        help="Folder in which identity.json and roots.json are written for these. Default: that of"
        " --identity-certificate.",
    ),
)


def ingress_of(text: str) -> tuple[str, Address, Address]:
    """Read ``--ingress``: the pool, where the Envoy listens, and where the replica serves."""
    pool, equals, places = text.partition("=")
    listen, comma, replica = places.partition(",")
    if not (pool and equals and comma):
        raise ValueError(
            f"{text!r} is not POOL=HOST:PORT,HOST:PORT, as in"
            ' "minilm=10.0.0.11:9443,127.0.0.1:9001"'
        )
    found = pool, parse_listener_address(listen), parse_listener_address(replica)
    if found[1] == found[2]:
        raise ValueError(f"{found[1]} is both where it listens and where it sends to")
    return found


def tls_of(options: Mapping[str, str | None], host: str, node: str) -> NodeTls | SpireTls | None:
    """How the Envoy `node` connects to the control plane at `host`; None: without TLS."""
    if not any(value for name, value in options.items() if name.startswith("tls_")):
        return None
    name, files = options["tls_name"] or host, _files(options, "tls")
    if options["spire"] is not None and not any(files):
        own = re.match("spiffe://[^/]*/", name)
        return SpireTls(name, f"{own[0]}node/{node}" if own else None)
    if not all(files):
        raise ValueError("--tls-certificate, --tls-key and --tls-ca go together")
    return _node_tls(files, options["tls_secrets"], name)


def secrets_of(options: Mapping[str, str | None], *, has_tls: bool) -> SecretSource | None:
    """Where the Envoy's certificate for other Envoys comes from; None: it has none."""
    files = _files(options, "identity")
    if (socket := options["spire"]) is not None:
        if any(files) or options["identity"] is not None:
            raise ValueError("--spire and --identity exclude each other")
        if not socket.startswith("/"):
            raise ValueError(f"--spire: {socket!r} is not the absolute path of a socket")
        return SPIRE
    if options["identity"] is not None:
        if any(files):
            raise ValueError("--identity and --identity-certificate exclude each other")
        if not has_tls:
            raise ValueError(
                "--identity ads goes with --tls-certificate: the control plane sends keys over TLS"
                " only, and only to known nodes"
            )
        return ADS
    if not any(files):
        return None
    if not all(files):
        raise ValueError("--identity-certificate, --identity-key and --identity-ca go together")
    return SecretSource.in_folder(_node_tls(files, options["identity_secrets"]).secrets)


def write_secrets(options: Mapping[str, str | None], tls: NodeTls | None) -> None:
    """Write the files with certificates that Envoy reads, for `tls` and for `secrets_of`."""
    if tls is not None:
        _write("--tls-secrets", tls, may_replace=True)
    files = _files(options, "identity")
    if all(files):
        _write("--identity-secrets", _node_tls(files, options["identity_secrets"]))


def _write(option: str, tls: NodeTls, *, may_replace: bool = False) -> None:
    for name, content in secret_files(tls).items():
        path = Path(tls.secrets) / name
        text = json.dumps(content, indent=2) + "\n"
        try:
            if not may_replace and path.exists() and path.read_text() not in (text, ""):
                fail(
                    f"{path} exists and names other files: remove it, or give {option}"
                    " another folder"
                )
            path.write_text(text)
        except OSError as error:
            fail(f"{option}: {path} cannot be written: {error.strerror}")
        click.echo(f"plimsoll: wrote {path}, which Envoy reads", err=True)


def _files(options: Mapping[str, str | None], kind: str) -> tuple[str, ...]:
    """The certificate, the key and the roots; empty where one is not given."""
    return tuple(options[f"{kind}_{name}"] or "" for name in ("certificate", "key", "ca"))


def _node_tls(files: tuple[str, ...], folder: str | None, name: str = "") -> NodeTls:
    # Relative paths start here, not where Envoy is started.
    certificate, key, ca = (str(Path(file).absolute()) for file in files)
    secrets = str(Path(folder).absolute()) if folder else str(Path(certificate).parent)
    return NodeTls(certificate, key, ca, secrets, name)


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
