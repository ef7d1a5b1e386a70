"""Certificates in `plimsoll bootstrap`: for the control plane, and for other Envoys (the mesh)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import click

from controlplane.cli.terminal import fail
from controlplane.cli.terminal import options as taking
from controlplane.config import Address, parse_listener_address
from controlplane.resources.secret_sources import (
    ADS,
    SPIRE,
    NodeTls,
    SecretSource,
    SpireTls,
    secret_files,
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
