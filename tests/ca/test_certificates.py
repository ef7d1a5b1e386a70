"""What is in a certificate, and what of a request reaches it: OpenSSL is the judge of chains."""

import asyncio
import subprocess
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from controlplane.ca.certificates import (
    BACKDATED,
    Authority,
    CaError,
    KeyPair,
    certificates_of,
    key_pem,
    new_key,
    new_request,
    new_root,
    node_uri,
    public_key_of,
)
from tests.processes import DEADLINE

NOW = 1_800_000_000.0
DOMAIN = "mesh.example"
NODE = f"spiffe://{DOMAIN}/node/a"


def authorities(trust_domain: str = DOMAIN) -> tuple[KeyPair, Authority]:
    """A root, and an intermediate of it."""
    root = new_root(trust_domain, now=NOW)
    return root, Authority(Authority(root).intermediate(now=NOW))


def verified(folder: Path, root: bytes, chain: bytes, purpose: str = "sslclient") -> str:
    """What OpenSSL says to a chain; empty where nothing is wrong."""
    leaf, *between = certificates_of(chain)
    for name, content in (
        ("root", root),
        ("leaf", _pem(leaf)),
        ("rest", b"".join(map(_pem, between))),
    ):
        (folder / name).write_bytes(content)
    said = subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-attime", str(int(NOW) + 1)),
            *("-purpose", purpose, "-CAfile", folder / "root"),
            *("-untrusted", folder / "rest", folder / "leaf"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stderr if said.returncode else ""


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("purpose", ["sslclient", "sslserver"])
def test_a_leaf_leads_to_the_root_for_clients_and_servers(tmp_path: Path, purpose: str) -> None:
    root, authority = authorities()
    issued = authority.issue(new_key().public_key(), [NODE], now=NOW, seconds=60)
    assert verified(tmp_path, root.certificate, issued.chain, purpose) == ""


def test_a_leaf_of_another_trust_domain_is_refused_although_it_is_signed(tmp_path: Path) -> None:
    root, authority = authorities()
    other = "spiffe://other.example/node/a"
    issued = authority.issue(new_key().public_key(), [other], now=NOW, seconds=60)
    assert "permitted subtree violation" in verified(tmp_path, root.certificate, issued.chain)


def test_an_intermediate_signs_no_other_intermediate(tmp_path: Path) -> None:
    root, authority = authorities()
    below = Authority(authority.intermediate(now=NOW))
    issued = below.issue(new_key().public_key(), [NODE], now=NOW, seconds=60)
    chain = issued.chain + _pem(authority.certificate)
    assert "path length constraint exceeded" in verified(tmp_path, root.certificate, chain)


def test_a_leaf_counts_from_before_now_and_for_as_long_as_was_asked() -> None:
    _, authority = authorities()
    issued = authority.issue(new_key().public_key(), [NODE], now=NOW, seconds=60)
    (leaf, _) = certificates_of(issued.chain)
    assert leaf.not_valid_before_utc == datetime.fromtimestamp(NOW - BACKDATED, UTC)
    assert leaf.not_valid_after_utc == datetime.fromtimestamp(NOW + 60, UTC)
    assert (issued.expires, issued.serial) == (NOW + 60, leaf.serial_number)


def test_nothing_outlives_what_signed_it() -> None:
    root, authority = authorities()
    issued = authority.issue(new_key().public_key(), [NODE], now=NOW, seconds=1e9)
    chain = [*certificates_of(issued.chain), *certificates_of(root.certificate)]
    ends = [each.not_valid_after_utc for each in chain]
    assert all(earlier <= later for earlier, later in pairwise(ends))


def test_serial_numbers_are_random() -> None:
    _, authority = authorities()
    key = new_key().public_key()
    serials = {authority.issue(key, [NODE], now=NOW, seconds=60).serial for _ in range(20)}
    assert len(serials) == 20
    assert min(serials) > 1 << 64


def test_nothing_of_a_request_counts_but_its_key() -> None:
    key = new_key()
    wanted = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{NODE}-other")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .add_extension(wanted, critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    _, authority = authorities()
    public_key = public_key_of(request.public_bytes(serialization.Encoding.PEM).decode())
    leaf, _ = certificates_of(authority.issue(public_key, [NODE], now=NOW, seconds=60).chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [*names] == [x509.UniformResourceIdentifier(NODE)]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.subject.rdns
    assert leaf.public_key() == key.public_key()


def _signed_by_another() -> str:
    """A request whose signature is not of the key in it."""
    pem = new_request(new_key()).encode()
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(serialization.Encoding.DER))
    der[-5] ^= 1
    forged = x509.load_der_x509_csr(bytes(der))
    return forged.public_bytes(serialization.Encoding.PEM).decode()


def _request(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ("", "is not a certificate request"),
        ("-----BEGIN CERTIFICATE REQUEST-----\n%%\n", "is not a certificate request"),
        ("\udcff", "is not a certificate request"),
        ("x" * 20_000, "is longer than"),
        (key_pem(new_key()).decode(), "is not a certificate request"),
        (_signed_by_another(), "signed by its own key"),
        (_request(rsa.generate_private_key(65537, 2048)), "of the elliptic curve P-256"),
        (_request(ec.generate_private_key(ec.SECP384R1())), "of the elliptic curve P-256"),
    ],
    ids=["empty", "no-base64", "no-text", "long", "a-key", "forged", "rsa", "p-384"],
)
def test_a_request_that_is_none_is_refused_in_one_sentence(request_: str, problem: str) -> None:
    with pytest.raises(CaError, match=problem):
        public_key_of(request_)


def test_a_certificate_that_is_bound_to_no_trust_domain_does_not_issue() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    _, authority = authorities()
    leaf = authority.issue(key.public_key(), [NODE], now=NOW, seconds=60)
    with pytest.raises(CaError, match="not bound to one trust domain"):
        _ = Authority(KeyPair(leaf.chain, key_pem(key))).trust_domain


def test_a_key_of_another_certificate_is_refused() -> None:
    root, other = new_root(DOMAIN, now=NOW), new_root(DOMAIN, now=NOW)
    with pytest.raises(CaError, match="does not belong"):
        Authority(KeyPair(root.certificate, other.key))


def test_a_pair_does_not_show_its_key() -> None:
    root = new_root(DOMAIN, now=NOW)
    assert "PRIVATE" not in repr(root)


@pytest.mark.parametrize("domain", ["prod", "mesh.example", "a-b.x1", f"{'a' * 63}.b"])
def test_a_trust_domain_is_a_dns_name(domain: str) -> None:
    assert Authority(new_root(domain, now=NOW)).trust_domain == domain


@pytest.mark.parametrize(
    "domain",
    ["", "Prod", "my_mesh", ".example", "a..b", "a.", "10.0.0.1", "1", "-a", "a-", "a" * 64, "a\n"],
)
def test_no_other_trust_domain_is_taken_because_envoy_trusts_nothing_under_it(domain: str) -> None:
    with pytest.raises(CaError, match="must be a DNS name"):
        new_root(domain, now=NOW)


async def test_grpc_trusts_a_leaf_under_a_root_of_one_label() -> None:
    now = time.time()
    root = new_root("prod", now=now)
    authority, key = Authority(Authority(root).intermediate(now=now)), new_key()
    uri = node_uri("prod", "a")
    issued = authority.issue(key.public_key(), [uri], ["127.0.0.1"], now=now, seconds=3600)
    pair = key_pem(key), issued.chain
    server = grpc.aio.server()
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials([pair], root.certificate, require_client_auth=True),
    )
    await server.start()
    credentials = grpc.ssl_channel_credentials(root.certificate, *pair)
    async with (
        asyncio.timeout(DEADLINE),
        grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel,
    ):
        await channel.channel_ready()
    await server.stop(0)
