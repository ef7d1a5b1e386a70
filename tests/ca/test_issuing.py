"""A certificate authority that runs: it follows its folder, takes nodes in, and refuses others."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.ca.certificates import (
    Authority,
    CaError,
    KeyPair,
    certificates_of,
    key_pem,
    new_key,
    new_request,
)
from controlplane.ca.folder import CaFolder
from controlplane.ca.issuing import Issuer, JoinResult
from controlplane.identity import Admission, Identity
from controlplane.resources.resource import SECRET
from controlplane.resources.secret_sources import IDENTITY, ROOTS, Secrets
from tests.ca.test_leaves import leaf, named

DOMAIN = "mesh.example"
DAY = 86_400.0


class Clock:
    """A time that a test sets."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> CaFolder:
    made = CaFolder(tmp_path / "ca")
    made.create(DOMAIN, clock.now)
    return made


def issuer_of(folder: CaFolder, clock: Clock) -> Issuer:
    ingresses = {"gpu-*": ("minilm", "bge")}
    return Issuer(folder, DOMAIN, DAY, ingresses, clock=clock, random=lambda: 0.0)


@pytest.fixture
def issuer(folder: CaFolder, clock: Clock) -> Issuer:
    return issuer_of(folder, clock)


def identity(node: str = "a", serial: int = 1) -> Identity:
    return Identity(f"spiffe://{DOMAIN}/node/{node}", node, serial, 2e9)


def secrets_of(issuer: Issuer, node: str = "a") -> Secrets:
    found = issuer.secrets_of(identity(node))
    assert isinstance(found, Secrets)
    return found


def joined(issuer: Issuer, token: str, key: ec.EllipticCurvePrivateKey | None = None) -> JoinResult:
    return issuer.join("a", new_request(key or new_key()), token, None)


def test_a_node_that_joins_is_admitted_as_itself(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    got = joined(issuer, folder.add_token("a", clock.now + 60))
    admitted = Admission(DOMAIN).identify(got.certificate.encode(), clock.now)
    assert (admitted.node, admitted.expires) == ("a", got.expires)
    assert got.roots.encode() == folder.load(clock.now).roots


def test_the_log_says_who_was_refused_and_why_but_not_the_token(
    issuer: Issuer, folder: CaFolder, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CaError):
        joined(issuer, "no-such-token")
    token = folder.add_token("b", clock.now + 60)
    with pytest.raises(CaError):
        joined(issuer, token)
    assert caplog.messages == [
        "node a may not join: the join token is unknown, was used already, or has ended",
        "node a may not join: the join token is not for a node 'a'",
    ]


def test_a_token_survives_what_is_refused_for_another_reason(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    token = folder.add_token("a", clock.now + 60)
    with pytest.raises(CaError, match=r"^csr is not"):
        issuer.join("a", "nonsense", token, None)
    with pytest.raises(CaError, match="not for a node 'b'"):
        issuer.join("b", new_request(new_key()), token, None)
    joined(issuer, token)


def test_a_node_joins_again_with_its_certificate_and_the_key_of_it(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    key = new_key()
    first = joined(issuer, folder.add_token("a", clock.now + 60), key)
    clock.now += DAY / 2
    second = issuer.join("a", new_request(key), None, first.certificate)
    assert second.expires == clock.now + DAY


def test_a_certificate_without_its_key_takes_nobody_in(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    first = joined(issuer, folder.add_token("a", clock.now + 60))
    with pytest.raises(CaError, match="not of node 'a' and of the key"):
        issuer.join("a", new_request(new_key()), None, first.certificate)


def test_a_certificate_takes_in_no_other_node(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    key = new_key()
    first = joined(issuer, folder.add_token("a", clock.now + 60), key)
    with pytest.raises(CaError, match="not of node 'b'"):
        issuer.join("b", new_request(key), None, first.certificate)


def test_a_certificate_that_has_expired_takes_nobody_in(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    key = new_key()
    first = joined(issuer, folder.add_token("a", clock.now + 60), key)
    clock.now += DAY
    with pytest.raises(CaError, match="certificate has expired"):
        issuer.join("a", new_request(key), None, first.certificate)


def test_a_certificate_of_another_ca_takes_nobody_in(
    tmp_path: Path, issuer: Issuer, clock: Clock
) -> None:
    other = CaFolder(tmp_path / "other")
    other.create(DOMAIN, clock.now)
    key = new_key()
    foreign = joined(issuer_of(other, clock), other.add_token("a", clock.now + 60), key)
    with pytest.raises(CaError, match="not a certificate of this CA"):
        issuer.join("a", new_request(key), None, foreign.certificate)


def test_a_leaf_signs_nobody_in(folder: CaFolder, issuer: Issuer, clock: Clock) -> None:
    key = new_key()
    own = joined(issuer, folder.add_token("a", clock.now + 60), key)
    forger = Authority(KeyPair(own.certificate.encode(), key_pem(key)))
    forged = forger.issue(
        key.public_key(), [f"spiffe://{DOMAIN}/node/b"], now=clock.now, seconds=60
    )
    with pytest.raises(CaError, match="not a certificate of this CA"):
        issuer.join("b", new_request(key), None, forged.chain.decode())


def test_a_revoked_node_gets_nothing_and_neither_does_a_revoked_certificate(
    folder: CaFolder, issuer: Issuer, clock: Clock
) -> None:
    key = new_key()
    own = joined(issuer, folder.add_token("a", clock.now + 60), key)
    serial = certificates_of(own.certificate.encode())[0].serial_number
    folder.revoke(serial=serial)
    issuer.adopt(issuer.read())
    assert issuer.is_revoked(identity("a").spiffe_id, serial)
    assert not issuer.is_revoked(identity("a").spiffe_id, serial + 1)
    with pytest.raises(CaError, match="certificate is revoked"):
        issuer.join("a", new_request(key), None, own.certificate)
    folder.revoke(node="a")
    issuer.adopt(issuer.read())
    assert issuer.is_revoked(identity("a").spiffe_id, serial + 1)
    assert not issuer.is_revoked(identity("ab").spiffe_id, serial + 1)
    assert not issuer.is_revoked("CN=a", serial + 1)
    with pytest.raises(CaError, match="node 'a' is revoked"):
        joined(issuer, folder.add_token("a", clock.now + 60))


def test_the_leaf_of_an_ingress_names_its_pools_too_and_that_of_others_does_not(
    issuer: Issuer,
) -> None:
    assert named(leaf(secrets_of(issuer, "gpu-1"))) == (
        f"spiffe://{DOMAIN}/node/gpu-1",
        f"spiffe://{DOMAIN}/pool/bge",
        f"spiffe://{DOMAIN}/pool/minilm",
    )
    assert named(leaf(secrets_of(issuer, "a"))) == (f"spiffe://{DOMAIN}/node/a",)


def test_a_rotation_reaches_those_who_are_connected(folder: CaFolder, issuer: Issuer) -> None:
    before = secrets_of(issuer)
    folder.rotate(Clock.now)
    issuer.adopt(issuer.read())
    trusting = secrets_of(issuer)
    assert trusting.get(SECRET, ROOTS) != before.get(SECRET, ROOTS)
    assert trusting.get(SECRET, IDENTITY) == before.get(SECRET, IDENTITY)


def test_the_log_says_once_that_the_intermediate_ends_soon(
    issuer: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.keep([])
    assert not caplog.records
    clock.now += 5 * 365 * DAY - 60 * DAY
    for _ in range(3):
        issuer.keep([])
    (record,) = caplog.records
    assert "ends on 2032-01-14; `plimsoll ca rotate` replaces it" in record.getMessage()


def test_a_ca_of_another_trust_domain_is_refused(folder: CaFolder) -> None:
    with pytest.raises(
        CaError, match=r"signs for mesh\.example, and identity\.trust_domain is other"
    ):
        Issuer(folder, "other", DAY, {}, clock=Clock())


def test_a_ca_of_another_trust_domain_takes_no_place_of_one_that_runs(
    folder: CaFolder, issuer: Issuer, tmp_path: Path
) -> None:
    folder.path.rename(tmp_path / "before")
    folder.create("other", Clock.now)
    with pytest.raises(CaError, match=r"signs for other, and"):
        issuer.read()


def test_a_ca_that_has_expired_takes_no_leaf_away_and_gives_none(
    issuer: Issuer, clock: Clock
) -> None:
    before = secrets_of(issuer)
    clock.now += 20 * 365 * DAY
    assert secrets_of(issuer) is before
    assert not secrets_of(issuer, "b").names(SECRET)


def test_names_of_a_leaf_are_uris_only(issuer: Issuer) -> None:
    names = leaf(secrets_of(issuer)).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [*map(type, names.value)] == [x509.UniformResourceIdentifier]
