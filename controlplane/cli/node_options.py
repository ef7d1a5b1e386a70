"""Options that describe an Envoy, of ``plimsoll bootstrap`` and ``plimsoll export``."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, Final, TypeVar, get_args

import click

from controlplane.cli.failure import fail
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
from controlplane.resources.bootstrap_tls import NodeTls, SpireTls, secret_files
from controlplane.resources.downstream import LogFormat
from controlplane.resources.secret_sources import ADS, SPIRE, SecretSource
from controlplane.resources.views import MAX_PROXIES

LEAST_HEAP: Final = 128 << 20
"""Bytes: twice what Envoy takes with a pool and without requests."""

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
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
    click.option(
        "--ingress",
        metavar="POOL=HOST:PORT,HOST:PORT",
        help="Stand beside a replica of a pool: take its requests at the first address, and hand"
        " them to the replica at the second.",
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


def node_options(command: Command) -> Command:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def envoy_of(
    node: str,
    source: Address | PurePath,
    options: Mapping[str, Any],
    *,
    protocol: Protocol = "delta",
    tls: NodeTls | SpireTls | None = None,
) -> dict[str, Any]:
    """The bootstrap of the Envoy that these options describe.

    Args:
        node: Its id.
        source: Where its resources come from, see `bootstrap`.
        options: Those above by their names.
        protocol: What it speaks with the control plane.
        tls: How it connects to the control plane.

    Raises:
        ValueError: With one sentence, where options are wrong or do not go together.
    """
    pools, listen, ingress = options["pools"], options["listen"], options["ingress"]
    gateway, gateway_tls = options["gateway"], options["gateway_tls"]
    client_ca, stats = options["gateway_client_ca"], options["stats"]
    if gateway and listen:
        raise ValueError("--listen moves a sidecar's listeners, and a gateway has none of them")
    if (gateway_tls or client_ca) and not gateway:
        raise ValueError("--gateway-tls and --gateway-client-ca go with --gateway")
    if client_ca and not gateway_tls:
        raise ValueError("--gateway-client-ca goes with --gateway-tls")
    if ingress and (gateway or listen or pools):
        raise ValueError("--ingress excludes --gateway, --listen and --pool: it is for one pool")
    if stats and not options["admin_port"]:
        raise ValueError("--stats needs an --admin-port that is not 0: its metrics come from there")
    replica = None
    moved = dict(_moved(text) for text in listen)
    if ingress:
        pool, listens, replica = _ingress(ingress)
        pools, moved = (pool,), {pool: listens}
    return bootstrap(
        node,
        source,
        pools=pools,
        locality=locality_of(options["locality"]),
        admin_port=options["admin_port"],
        stats=_listened("--stats", stats) if stats else None,
        listen=moved,
        gateway=_listened("--gateway", gateway) if gateway else None,
        gateway_tls=_terminated(gateway_tls, client_ca) if gateway_tls else None,
        replica=replica,
        secrets=_secrets(options, has_tls=tls is not None),
        protocol=protocol,
        max_heap=_size("--max-heap", options["max_heap"]),
        log=options["log"],
        trusted_proxies=options["trusted_proxies"],
        max_connections=options["max_connections"],
        tls=tls,
        spire=options["spire"],
    )


def _ingress(text: str) -> tuple[str, Address, Address]:
    """Read ``--ingress``: the pool, where the Envoy listens, and where the replica serves.

    Raises:
        ValueError: With one sentence that says what would be right.
    """
    pool, equals, places = text.partition("=")
    listen, comma, replica = places.partition(",")
    if not (pool and equals and comma):
        raise ValueError(
            f"--ingress: {text!r} is not POOL=HOST:PORT,HOST:PORT, as in"
            ' "minilm=10.0.0.11:9443,127.0.0.1:9001"'
        )
    try:
        found = pool, parse_listener_address(listen), parse_listener_address(replica)
    except ValueError as error:
        raise ValueError(f"--ingress: {error}") from None
    if found[1] == found[2]:
        raise ValueError(f"--ingress: {found[1]} is both where it listens and where it sends to")
    return found


def _secrets(options: Mapping[str, Any], *, has_tls: bool) -> SecretSource | None:
    """Where the Envoy's certificate for others comes from; None: it has none.

    Args:
        options: Those above by their names.
        has_tls: Whether it connects to the control plane with TLS.

    Raises:
        ValueError: With one sentence, where they do not go together.
    """
    files = [options[f"identity_{it}"] for it in ("certificate", "key", "ca")]
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
                "--identity ads goes with --tls-certificate: the control plane sends a key over TLS"
                " only, and to whom it knows"
            )
        return ADS
    if not any(files):
        return None
    certificate, key, ca = files
    if not (certificate and key and ca):
        raise ValueError("--identity-certificate, --identity-key and --identity-ca go together")
    # Relative paths begin here, and not where Envoy is started.
    return SecretSource.in_folder(str(_folder(options, certificate).absolute()))


def write_secrets(options: Mapping[str, Any]) -> None:
    """Write the files that `secrets_of` names, if it names any."""
    certificate, key, ca = (options[f"identity_{it}"] for it in ("certificate", "key", "ca"))
    if not (certificate and key and ca):
        return
    folder = _folder(options, certificate).absolute()
    certificate, key, ca = (str(Path(it).absolute()) for it in (certificate, key, ca))
    named = NodeTls(certificate, key, ca, str(folder), name="")
    for name, content in secret_files(named).items():
        path = folder / name
        text = json.dumps(content, indent=2) + "\n"
        try:
            if path.exists() and path.read_text() not in (text, ""):
                fail(
                    f"{path} is there already and names other files; give --identity-secrets"
                    " another folder, or remove it"
                )
            path.write_text(text)
        except OSError as error:
            fail(f"--identity-secrets: {path} cannot be written: {error.strerror}")
        click.echo(f"plimsoll: wrote {path}, which Envoy reads", err=True)


def _folder(options: Mapping[str, Any], certificate: str) -> Path:
    return Path(options["identity_secrets"] or Path(certificate).parent)


def served(option: str, text: str) -> Address:
    """Read an address that can be reached.

    Raises:
        ValueError: With one sentence that names the option.
    """
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
    if address.port == 0:
        raise ValueError(f"{option}: port 0 of {text!r} reaches nothing; give 1 to 65535")
    return address


def _size(option: str, text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from None
    if size < LEAST_HEAP:
        least = format_size(LEAST_HEAP)
        raise ValueError(f"{option}: {text} is less than Envoy runs in; give {least} at least")
    return size


def _moved(text: str) -> tuple[str, Address]:
    pool, equals, address = text.partition("=")
    if not pool or not equals:
        raise ValueError(
            f'--listen: {text!r} is not POOL=HOST:PORT, as in "minilm=127.0.0.1:10001"'
        )
    return pool, _listened("--listen", address)


def _listened(option: str, text: str) -> Address:
    address = served(option, text)
    if address.ip is None:
        raise ValueError(f"{option}: {address.host!r} is a name; Envoy listens on an IP address")
    return address


def _terminated(pairs: tuple[str, ...], client_ca: str | None) -> GatewayTls:
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


def locality_of(text: str | None) -> Locality | None:
    """Read ``--locality``.

    Raises:
        ValueError: With one sentence.
    """
    if text is None:
        return None
    region, _, zone = text.partition("/")
    try:
        return validated(Locality, {"region": region or None, "zone": zone or None})
    except SettingsError as error:
        raise ValueError(f"--locality: {error}") from None
