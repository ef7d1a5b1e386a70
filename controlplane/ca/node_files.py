"""The files of one node: its certificate, its key, and the roots that it trusts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ca.certificates import CaError, certificates_of
from controlplane.ca.folder import write_private
from controlplane.files import read_file

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
        """Point to a folder, which need not exist."""
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
