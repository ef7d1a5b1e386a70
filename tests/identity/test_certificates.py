"""What a server would serve with is checked before it does."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from controlplane.identity import CertificateError, Credentials, checked
from tests.certificates import DAY, WEAK, Authority, Key, Leaf, self_signed

CA = Authority()
NOW = time.time()
GOOD = CA.server()
OTHER = CA.server()


def test_a_certificate_with_its_key_is_taken() -> None:
    credentials = Credentials(GOOD.certificate, GOOD.key, CA.root)
    assert checked(credentials, NOW) == credentials


def test_text_beside_certificates_is_left_out() -> None:
    text = "# Főtanúsítvány\n".encode()
    credentials = Credentials(text + GOOD.certificate, GOOD.key, text + CA.root)
    assert checked(credentials, NOW) == Credentials(GOOD.certificate, GOOD.key, CA.root)


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())],
    ids=["rsa-2048", "p-384"],
)
def test_a_key_that_envoy_and_openssl_take_is_taken(key: Key) -> None:
    leaf = self_signed(key)
    credentials = Credentials(leaf.certificate, leaf.key, None)
    assert checked(credentials, NOW) == credentials


@pytest.mark.parametrize(
    "leaf",
    [
        WEAK,
        self_signed(ec.generate_private_key(ec.SECP521R1())),
        self_signed(ec.generate_private_key(ec.SECP256K1())),
        self_signed(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["rsa-1024", "p-521", "secp256k1", "ed25519"],
)
def test_a_key_that_not_all_take_is_refused(leaf: Leaf) -> None:
    with pytest.raises(CertificateError, match=r"^key must be RSA of 2048 bits or more"):
        checked(Credentials(leaf.certificate, leaf.key, None), NOW)


@pytest.mark.parametrize(
    ("credentials", "why"),
    [
        (Credentials(b"", GOOD.key, None), "certificate holds no certificate"),
        (Credentials(GOOD.key, GOOD.key, None), "certificate holds no certificate"),
        (Credentials(GOOD.certificate, b"", None), "key holds no private key"),
        (Credentials(GOOD.certificate, GOOD.certificate, None), "key holds no private key"),
        (Credentials(GOOD.certificate, OTHER.key, None), "key does not belong"),
        (Credentials(GOOD.certificate, GOOD.key, b"none"), "client_ca holds no certificate"),
    ],
)
def test_what_does_not_fit_is_named_by_its_key(credentials: Credentials, why: str) -> None:
    with pytest.raises(CertificateError, match=why):
        checked(credentials, NOW)


def test_a_certificate_out_of_its_time_is_refused() -> None:
    leaf = CA.node("a")
    credentials = Credentials(leaf.certificate, leaf.key, None)
    with pytest.raises(CertificateError, match="certificate expired at 2"):
        checked(credentials, NOW + 2 * DAY)
    with pytest.raises(CertificateError, match="certificate is not valid before 2"):
        checked(credentials, NOW - 2 * DAY)


def test_no_text_of_credentials_shows_the_key() -> None:
    credentials = Credentials(GOOD.certificate, GOOD.key, CA.root)
    assert "PRIVATE" not in repr(credentials)
