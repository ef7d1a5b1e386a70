"""`plimsoll ca`: the built-in certificate authority, from its keys to a node's certificate."""

import json
import re
import time
from collections.abc import Callable, Sequence
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import click

from controlplane.ca.certificates import (
    CaError,
    control_plane_uri,
    key_pem,
    new_key,
    new_request,
    node_uri,
)
from controlplane.ca.folder import CaFolder, Content, NodeFiles
from controlplane.cli.admin import Api, api_options
from controlplane.cli.terminal import USAGE, fail, parsed
from controlplane.config import parse_duration

_NODE: Final = re.compile(r"[A-Za-z0-9._-]{1,255}", re.ASCII)
_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{0,255}\*?", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}", re.ASCII)

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_out = click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for certificate.pem, key.pem and roots.pem.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one object.")


def _errors(command: Callable[..., None]) -> Callable[..., None]:
    """End the process with a sentence when a command fails."""

    @wraps(command)
    def with_errors(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except CaError as error:
            fail(str(error))
        except OSError as error:
            fail(f"{error.filename}: {(error.strerror or str(error)).lower()}")

    return with_errors


@click.group
def command() -> None:
    """Make a certificate authority, and the certificates of nodes."""


@command.command
@_folder
@click.option(
    "--trust-domain",
    default="plimsoll.local",
    show_default=True,
    help="Trust domain of all SPIFFE ids; identity.trust_domain in the config.",
)
@_errors
def init(folder: Path, trust_domain: str) -> None:
    """Make a root and an intermediate in DIR, which only you may read.

    root.key signs nothing but the intermediate: keep it elsewhere.
    """
    CaFolder(folder).create(trust_domain, time.time())
    click.echo(f"{folder} signs for {trust_domain}; set identity.ca.path to it")


@command.command
@_folder
@click.argument("node", required=False)
@click.option("--control-plane", is_flag=True, help="Certify the control plane instead of a node.")
@click.option(
    "--host", "hosts", multiple=True, help="Host name or IP address to name too; repeat for more."
)
@click.option("--ttl", default="2160h", show_default=True, help="Validity of the certificate.")
@_out
@_json
@_errors
def issue(
    folder: Path,
    node: str | None,
    control_plane: bool,
    hosts: Sequence[str],
    ttl: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write the first certificate of NODE.

    Beside it are its key, and the roots that it trusts.
    """
    if (node is None) != control_plane:
        fail("give a NODE, or --control-plane", USAGE)
    for host in hosts:
        try:
            ip_address(host)
        except ValueError:
            _check("--host", host, _HOST)
    content, seconds = _content(folder), parsed("--ttl", parse_duration, ttl)
    domain = content.authority.trust_domain
    if node is not None:
        _check("NODE", node, _NODE)
        if content.revoked.include(node):
            raise CaError(f"node {node!r} is revoked; its line in {folder}/revoked.txt says so")
    uri = control_plane_uri(domain) if node is None else node_uri(domain, node)
    key = new_key()
    issued = content.authority.issue(
        key.public_key(), [uri], hosts, now=time.time(), seconds=seconds
    )
    NodeFiles(out).write(issued.chain, content.roots, key_pem(key))
    _print(out, uri, issued.serial, issued.expires, as_json=as_json)


@command.command
@_folder
@click.argument("node")
@click.option("--ttl", default="1h", show_default=True, help="Validity of the token.")
@_json
@_errors
def token(folder: Path, node: str, ttl: str, as_json: bool) -> None:
    """Make a token with which NODE joins once, by `plimsoll ca join`.

    A * at the end of NODE stands for any further characters. Only a hash of the token is kept.
    """
    if not node or not _PATTERN.fullmatch(node):
        fail(f"NODE {node!r} is not a node id; a * may be at its end", USAGE)
    seconds = parsed("--ttl", parse_duration, ttl)
    _content(folder)
    now = time.time()
    expires = now + seconds
    CaFolder(folder).forget_tokens(now)
    made = CaFolder(folder).add_token(node, expires)
    click.echo(json.dumps({"token": made, "expires": int(expires)}) if as_json else made)


@command.command
@_folder
@click.argument("node", required=False)
@click.option("--serial", help="Revoke this one certificate, by its serial number (hex).")
@_errors
def revoke(folder: Path, node: str | None, serial: str | None) -> None:
    """Refuse NODE from now on, whatever it shows, and give it none.

    A running control plane ends the node's streams within seconds. Envoys trust its certificate
    until that ends: leaves are short-lived for this reason.
    """
    if (node is None) == (serial is None):
        fail("give a NODE, or one certificate by --serial", USAGE)
    number = None
    if node is not None:
        _check("NODE", node, _NODE)
    if serial is not None:
        if not re.fullmatch(r"[0-9A-Fa-f]{1,40}", serial):
            fail(f"--serial {serial!r} is not a serial number in hexadecimal digits", USAGE)
        number = int(serial, 16)
    _content(folder)
    CaFolder(folder).revoke(node=node, serial=number)


@command.command
@_folder
@_errors
def rotate(folder: Path) -> None:
    """Take the next of three steps to a new root.

    They are: trust both, issue by the new one, trust it alone.
    Each step prints what to wait for before the next.
    """
    click.echo(CaFolder(folder).rotate(time.time()))


@command.command
@click.argument("node")
@click.option(
    "--join-token",
    envvar="PLIMSOLL_JOIN_TOKEN",
    help="Token from `plimsoll ca token`; better in PLIMSOLL_JOIN_TOKEN. Without one, the valid"
    " certificate in --out is replaced.",
)
@click.option(
    "--now",
    "at_once",
    is_flag=True,
    help="Replace it also in the first half of its time, as after `plimsoll ca rotate`.",
)
@_out
@_json
@api_options
@_errors
def join(
    node: str, join_token: str | None, at_once: bool, out: Path, as_json: bool, api: Api
) -> None:
    """Have a control plane issue the certificate of NODE.

    The key never leaves this machine. Run this again, without a token, from a timer: in the second
    half of its time the certificate is replaced, and Envoy takes the new one by itself. The roots
    are replaced with it.
    """
    _check("NODE", node, _NODE)
    files = NodeFiles(out)
    known = None if join_token else files.read()
    if known is None and not join_token:
        fail(f"there is no certificate in {out} yet: give --join-token", USAGE)
    if known is not None and not at_once and not known.is_half_over(time.time()):
        click.echo(f"the certificate in {out} is in the first half of its time", err=True)
        return
    key = known.key if known is not None else new_key()
    answer = api.ask(
        lambda client: client.join(
            node,
            new_request(key),
            token=join_token or None,
            certificate=known.chain if known is not None else None,
        )
    )
    serial = files.write(answer.certificate.encode(), answer.roots.encode(), key_pem(key))
    _print(out, f"node {node}", serial, answer.expires, as_json=as_json)


def _print(out: Path, name: str, serial: int, expires: float, *, as_json: bool) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    if as_json:
        click.echo(json.dumps({"name": name, "serial": f"{serial:x}", "expires": ends}))
    else:
        click.echo(f"{out}: {name}, serial {serial:x}, until {ends}")


def _content(folder: Path) -> Content:
    return CaFolder(folder).load(time.time())


def _check(option: str, text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text):
        fail(f"{option} {text!r} has characters that are not allowed", USAGE)
