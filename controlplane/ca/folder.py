"""The folder of the certificate authority: its keys, the trusted roots, join tokens, revocations.

Both the command line and a control plane that runs use it, also at the same time: a file is
replaced whole, and a join token is a file that only one of them can remove.
"""

import json
import os
import secrets
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ca.certificates import Authority, CaError, KeyPair, certificates_of, new_root
from controlplane.files import read_file

_ROOT: Final = "root"
_INTERMEDIATE: Final = "intermediate"
_ROOTS: Final = "roots.pem"
_TOKENS: Final = "tokens"
_REVOKED: Final = "revoked.txt"
_NEXT: Final = "next"

_REVOKED_HEADER: Final = "# node ID, or serial HEX; a line that is removed is forgotten\n"


@dataclass(frozen=True, slots=True)
class Revocations:
    """What is not to be believed any more: nodes, by id, and certificates, by serial number."""

    nodes: frozenset[str] = frozenset()
    serials: frozenset[int] = frozenset()

    def include(self, node: str, serial: int | None = None) -> bool:
        """Whether a node is revoked, or the certificate that it shows."""
        return node in self.nodes or serial in self.serials


@dataclass(frozen=True, slots=True)
class Content:
    """What is in the folder at one moment; the roots are trusted, in PEM."""

    authority: Authority
    roots: bytes
    revoked: Revocations


class CaFolder:
    """Reads and writes the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, trust_domain: str, now: float) -> None:
        """Make the folder with a new root and intermediate; `CaError`: it has something."""
        if self.path.exists() and any(self.path.iterdir()):
            raise CaError(f"{self.path} is not empty; a new CA takes a folder of its own")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        root = self._create_in(self.path, trust_domain, now)
        write_private(self.path / _ROOTS, root.certificate)
        (self.path / _TOKENS).mkdir(mode=0o700)
        write_private(self.path / _REVOKED, _REVOKED_HEADER.encode())

    def load(self, now: float) -> Content:
        """Read what is needed to issue, or raise a `CaError` that names the file."""
        path, authority = self.path / f"{_INTERMEDIATE}.crt", self._authority()
        if authority.expires <= now:
            raise CaError(f"{path} has expired; `plimsoll ca rotate` replaces it")
        pem = self._read(self.path / _ROOTS)
        try:
            roots = certificates_of(pem)
        except CaError as error:
            raise CaError(f"{self.path / _ROOTS} {error}") from None
        if not any(
            authority.is_signed_by(root) and root.not_valid_after_utc.timestamp() > now
            for root in roots
        ):
            raise CaError(f"{path} is signed by none of the roots in {self.path / _ROOTS}")
        return Content(authority, pem, self._revocations())

    @property
    def files(self) -> tuple[Path, ...]:
        """What `load` reads."""
        names = (f"{_INTERMEDIATE}.crt", f"{_INTERMEDIATE}.key", _ROOTS, _REVOKED)
        return tuple(self.path / name for name in names)

    def rotate(self, now: float) -> str:
        """Take the next of three steps to a new root; returns what was done, what to wait for.

        A step that was cut off is taken again. The intermediate may have expired.
        """
        following = self.path / _NEXT
        roots = certificates_of(self._read(self.path / _ROOTS))
        if following.exists():
            for name in (_ROOT, _INTERMEDIATE):
                for end in ("key", "crt"):
                    # The key of a root may be kept elsewhere.
                    if (made := following / f"{name}.{end}").exists():
                        made.replace(self.path / made.name)
            following.rmdir()
            return (
                "leaves are issued by the new intermediate now; take the last step once every"
                " certificate of the old one was replaced"
            )
        if len(roots) > 1:
            write_private(self.path / _ROOTS, self._read(self.path / f"{_ROOT}.crt"))
            return "only the new root is trusted now; the rotation is over"
        made = self.path / f"{_NEXT}.new"
        if made.exists():
            shutil.rmtree(made)
        made.mkdir(mode=0o700)
        root = self._create_in(made, self._authority().trust_domain, now)
        write_private(self.path / _ROOTS, self._read(self.path / _ROOTS) + root.certificate)
        made.rename(following)
        return (
            "both roots are trusted now, and the old one goes on issuing; take the next step once"
            f" everything has {_ROOTS}"
        )

    def add_token(self, node: str, expires: float) -> str:
        """Make a join token, kept as a hash, for a node id or a pattern with ``*``."""
        token = secrets.token_urlsafe(32)
        folder = self.path / _TOKENS
        folder.mkdir(mode=0o700, exist_ok=True)
        document = json.dumps({"node": node, "expires": int(expires)})
        write_private(folder / _digest(token), document.encode())
        return token

    def redeem(self, token: str, node: str, now: float) -> None:
        """Use up a join token. `CaError`: it is for another node, was used, or has expired."""
        file = self.path / _TOKENS / _digest(token)
        unknown = CaError("the join token is unknown, was used already, or has ended")
        try:
            document = json.loads(read_file(file))
            pattern, expires = document["node"], document["expires"]
        except (OSError, ValueError, KeyError, TypeError):
            raise unknown from None
        if now >= expires:
            file.unlink(missing_ok=True)
            raise unknown
        if not fnmatchcase(node, pattern):
            raise CaError(f"the join token is not for a node {node!r}")
        try:
            # Of several that come at once one succeeds.
            file.unlink()
        except OSError:
            raise unknown from None

    def forget_tokens(self, now: float) -> None:
        """Remove the join tokens that have ended."""
        for file in (self.path / _TOKENS).glob("*"):
            try:
                has_ended = json.loads(read_file(file))["expires"] <= now
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if has_ended:
                file.unlink(missing_ok=True)

    def revoke(self, *, node: str | None = None, serial: int | None = None) -> None:
        """Revoke a node, or one certificate, for ever."""
        line = f"node {node}" if node is not None else f"serial {serial:x}"
        file = self.path / _REVOKED
        # People edit it, too, and a last line without an end would take this one in.
        has_end = self._read(file)[-1:] in (b"", b"\n")
        with file.open("a") as opened:
            opened.write(f"{'' if has_end else chr(10)}{line}\n")

    def _create_in(self, folder: Path, trust_domain: str, now: float) -> KeyPair:
        root = new_root(trust_domain, now=now)
        intermediate = Authority(root).intermediate(now=now)
        for name, pair in ((_ROOT, root), (_INTERMEDIATE, intermediate)):
            write_private(folder / f"{name}.key", pair.key)
            write_private(folder / f"{name}.crt", pair.certificate)
        return root

    def _authority(self) -> Authority:
        key, certificate = (self.path / f"{_INTERMEDIATE}.{end}" for end in ("key", "crt"))
        pair = KeyPair(self._read(certificate), self._read(key))
        if key.stat().st_mode & 0o007:
            raise CaError(f"{key} may be read by everybody on this machine: chmod 600 {key}")
        try:
            authority = Authority(pair)
            _ = authority.trust_domain
        except CaError as error:
            raise CaError(f"{certificate} {error}") from None
        return authority

    def _revocations(self) -> Revocations:
        file, nodes, serials = self.path / _REVOKED, set[str](), set[int]()
        for number, line in enumerate(self._read(file).decode(errors="replace").splitlines(), 1):
            match line.split():
                case []:
                    continue
                case [word, *_] if word.startswith("#"):
                    continue
                case ["node", node]:
                    nodes.add(node)
                case ["serial", serial] if _is_hex(serial):
                    serials.add(int(serial, 16))
                case _:
                    raise CaError(f'{file}:{number} must be "node ID" or "serial HEX"')
        return Revocations(frozenset(nodes), frozenset(serials))

    def _read(self, file: Path) -> bytes:
        try:
            return read_file(file)
        except OSError as error:
            raise CaError(f"{file} cannot be read: {error.strerror or error}") from None


def write_private(file: Path, content: bytes) -> None:
    """Replace a file by one that only its owner may read; nobody sees a part of it."""
    made = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    number = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(number)
    made.replace(file)


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _is_hex(text: str) -> bool:
    return (
        bool(text) and len(text) <= 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)
    )


CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
ROOTS: Final = "roots.pem"


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """A certificate, with its chain in PEM, the leaf first, and its key."""

    chain: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    leaf: x509.Certificate

    def is_half_over(self, now: float) -> bool:
        """Whether half of its time is over."""
        begins = self.leaf.not_valid_before_utc.timestamp()
        return now >= (begins + self.leaf.not_valid_after_utc.timestamp()) / 2


class NodeFiles:
    """Reads and writes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> NodeCertificate | None:
        """Read the certificate and the key; None where there is none. May raise `CaError`."""
        try:
            chain, key = (read_file(self._folder / name) for name in (CERTIFICATE, KEY))
        except FileNotFoundError:
            return None
        try:
            private = serialization.load_pem_private_key(key, password=None)
        except (ValueError, TypeError):
            raise CaError(f"{self._folder / KEY} is not a private key in PEM") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise CaError(f"{self._folder / KEY} is not a key of an elliptic curve")
        return NodeCertificate(chain.decode(), private, certificates_of(chain)[0])

    def write(self, chain: bytes, roots: bytes, key: bytes) -> int:
        """Replace all three, each in one step, for its owner alone; returns the serial number."""
        serial = certificates_of(chain)[0].serial_number
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, content in ((ROOTS, roots), (KEY, key), (CERTIFICATE, chain)):
            # What has not changed needs no look of those who watch it.
            if not _is(self._folder / name, content):
                write_private(self._folder / name, content)
        return serial


def _is(file: Path, content: bytes) -> bool:
    try:
        return read_file(file) == content
    except OSError:
        return False
