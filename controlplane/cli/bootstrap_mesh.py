"""Options of ``plimsoll bootstrap`` for mutual TLS between Envoys, and what follows from them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from controlplane.cli.terminal import fail
from controlplane.config import Address, parse_listener_address
from controlplane.resources.bootstrap_tls import NodeTls, secret_files
from controlplane.resources.secret_sources import ADS, SPIRE, SecretSource

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
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


def mesh_options(command: Command) -> Command:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def ingress_of(text: str) -> tuple[str, Address, Address]:
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


def secrets_of(options: Mapping[str, str | None], *, has_tls: bool) -> SecretSource | None:
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


def write_secrets(options: Mapping[str, str | None]) -> None:
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


def _folder(options: Mapping[str, str | None], certificate: str) -> Path:
    return Path(options["identity_secrets"] or Path(certificate).parent)
