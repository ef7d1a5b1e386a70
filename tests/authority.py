"""Certificates for tests, and files with them that are replaced as operators replace them."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509


class Files:
    """A certificate, its key and the authority's, in a folder of their own.

    Attributes:
        certificate: Where the certificate is.
        key: Where its key is.
        ca: Where the authority's certificate is.
    """

    def __init__(
        self, folder: Path, authority: trustme.CA, *names: str, has_ended: bool = False
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.ca = folder / "ca.crt"
        self._authority = authority
        authority.cert_pem.write_to_path(self.ca)
        self.renew(*names, has_ended=has_ended)

    def renew(self, *names: str, has_ended: bool = False) -> int:
        """Put another certificate in the place of this one; returns its serial number."""
        ends = datetime.now(UTC) - timedelta(hours=1) if has_ended else None
        made = self._authority.issue_cert(*names, not_after=ends)
        replaced(self.key, made.private_key_pem.bytes())
        replaced(self.certificate, b"".join(pem.bytes() for pem in made.cert_chain_pems))
        return serial_of(made.cert_chain_pems[0].bytes())

    @property
    def listener(self) -> dict[str, str]:
        """As a listener names them."""
        return {"certificate": str(self.certificate), "key": str(self.key)}

    def server_context(self) -> ssl.SSLContext:
        """For a server with this certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context


def replaced(path: Path, content: bytes) -> None:
    """Put a file in the place of another one at once."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def serial_of(pem: bytes) -> int:
    """The serial number of a certificate."""
    return x509.load_pem_x509_certificate(pem).serial_number


def client_context(authority: trustme.CA, *alpn: str) -> ssl.SSLContext:
    """For a client that trusts an authority."""
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    context.set_alpn_protocols([*alpn])
    return context
