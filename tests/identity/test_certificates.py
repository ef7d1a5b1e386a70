"""What a server would serve with is checked before it does."""

import time

import pytest

from controlplane.identity import CertificateError, Credentials, checked
from tests.certificates import DAY, Authority

CA = Authority()
NOW = time.time()
GOOD = CA.server()
OTHER = CA.server()


def test_a_certificate_with_its_key_is_taken() -> None:
    credentials = Credentials(GOOD.certificate, GOOD.key, CA.root)
    assert checked(credentials, NOW) is credentials


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
