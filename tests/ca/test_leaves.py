"""When a node's leaf is made and replaced; the time is passed in."""

from pathlib import Path

import envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 as tls_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest
from cryptography import x509

from controlplane.ca.certificates import certificates_of
from controlplane.ca.folder import CaFolder
from controlplane.ca.issuing import Leaves
from controlplane.resources.resource import SECRET
from controlplane.resources.secret_sources import IDENTITY, ROOTS, Secrets

NOW = 1_800_000_000.0
DOMAIN = "mesh.example"
A, B = (f"spiffe://{DOMAIN}/node/a",), (f"spiffe://{DOMAIN}/node/b", f"spiffe://{DOMAIN}/pool/p")
DAY = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> CaFolder:
    made = CaFolder(tmp_path / "ca")
    made.create(DOMAIN, NOW)
    return made


def leaves_of(folder: CaFolder, random: float = 0.0) -> Leaves:
    return Leaves(folder.load(NOW), DAY, lambda: random)


def read(secrets: Secrets, name: str) -> tls_v3.Secret:
    """A secret as an Envoy reads it."""
    resource = secrets.get(SECRET, name)
    assert resource is not None
    return tls_v3.Secret.parse(protobuf.Any.parse(resource.packed).value)


def leaf(secrets: Secrets) -> x509.Certificate:
    """The certificate among secrets."""
    certificate = read(secrets, IDENTITY).tls_certificate
    assert certificate is not None
    assert certificate.certificate_chain is not None
    return certificates_of(certificate.certificate_chain.inline_bytes or b"")[0]


def named(certificate: x509.Certificate) -> tuple[str, ...]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def test_each_client_gets_a_leaf_of_its_own_name(folder: CaFolder) -> None:
    leaves = leaves_of(folder)
    assert [named(leaf(leaves.secrets_of(uris, NOW))) for uris in (A, B)] == [A, B]


def test_roots_and_leaf_come_together(folder: CaFolder) -> None:
    secrets = leaves_of(folder).secrets_of(A, NOW)
    assert {*secrets.names(SECRET)} == {IDENTITY, ROOTS}
    context = read(secrets, ROOTS).validation_context
    assert context is not None
    assert context.trusted_ca is not None
    assert context.trusted_ca.inline_bytes == folder.load(NOW).roots


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.5), (1.0, 0.4)])
def test_a_leaf_is_replaced_at_half_of_its_time_or_somewhat_before(
    folder: CaFolder, random: float, share: float
) -> None:
    leaves = leaves_of(folder, random)
    first = leaves.secrets_of(A, NOW)
    assert leaves.secrets_of(A, NOW + share * DAY - 1) is first
    second = leaves.secrets_of(A, NOW + share * DAY)
    assert leaf(second).serial_number != leaf(first).serial_number
    assert second.get(SECRET, ROOTS) == first.get(SECRET, ROOTS)
    assert leaf(second).not_valid_after_utc.timestamp() == NOW + share * DAY + DAY


def test_another_intermediate_replaces_all_leaves_at_once_and_trust_comes_first(
    folder: CaFolder,
) -> None:
    leaves = leaves_of(folder)
    before = {uris: leaves.secrets_of(uris, NOW) for uris in (A, B)}
    folder.rotate(NOW)
    leaves.adopt(folder.load(NOW))
    trusting = {uris: leaves.secrets_of(uris, NOW) for uris in (A, B)}
    for uris in (A, B):
        assert trusting[uris].get(SECRET, IDENTITY) == before[uris].get(SECRET, IDENTITY)
        assert trusting[uris].get(SECRET, ROOTS) != before[uris].get(SECRET, ROOTS)
    folder.rotate(NOW)
    leaves.adopt(folder.load(NOW))
    for uris in (A, B):
        issued = leaves.secrets_of(uris, NOW)
        assert issued.get(SECRET, IDENTITY) != trusting[uris].get(SECRET, IDENTITY)
        assert issued.get(SECRET, ROOTS) == trusting[uris].get(SECRET, ROOTS)


def test_a_revocation_replaces_no_leaf(folder: CaFolder) -> None:
    leaves = leaves_of(folder)
    before = leaves.secrets_of(A, NOW)
    folder.revoke(node="b")
    leaves.adopt(folder.load(NOW))
    assert leaves.content.revoked.include("b")
    assert leaves.secrets_of(A, NOW) is before


def test_a_client_that_comes_back_finds_its_leaf_until_that_would_be_replaced(
    folder: CaFolder,
) -> None:
    leaves = leaves_of(folder)
    first = leaves.secrets_of(A, NOW)
    leaves.keep([], NOW + 1)
    assert leaves.secrets_of(A, NOW + 2) is first
    leaves.keep([], NOW + DAY)
    assert not leaves._leaves


def test_the_version_of_a_leaf_tells_nothing_of_its_key(folder: CaFolder) -> None:
    resource = leaves_of(folder).secrets_of(A, NOW).get(SECRET, IDENTITY)
    assert resource is not None
    assert "PRIVATE KEY" not in repr(resource)
    assert b"PRIVATE KEY" in resource.packed
