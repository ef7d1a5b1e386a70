"""Who is admitted by a certificate, and to what."""

import time

import pytest

from controlplane.identity import Admission, Identity, NotAdmittedError, longest_match
from tests.certificates import DAY, Authority, node

CA = Authority()
NOW = time.time()


def identify(*uris: str, admission: Admission | None = None, now: float = NOW) -> Identity:
    pem = CA.leaf(uris).certificate
    return (admission or Admission("plimsoll.local")).identify(pem, now)


def refusal(*uris: str, admission: Admission | None = None, now: float = NOW) -> str:
    with pytest.raises(NotAdmittedError) as raised:
        identify(*uris, admission=admission, now=now)
    return str(raised.value)


def test_a_node_is_who_its_only_uri_says() -> None:
    found = identify(node("sidecar-1"))
    assert (found.node, found.spiffe_id) == ("sidecar-1", node("sidecar-1"))
    assert found.expires == pytest.approx(time.time() + DAY, abs=60)
    assert found.pools is None


@pytest.mark.parametrize(
    "uris",
    [
        (),
        (node("a"), node("b")),
        (node("a"), "https://plimsoll.local/node/a"),
        ("spiffe://elsewhere/node/a",),
        ("spiffe://plimsoll.local/pool/a",),
        ("spiffe://plimsoll.local/node/",),
        ("spiffe://plimsoll.local/node/a/b",),
        ("spiffe://plimsoll.local/node/a b",),
        ("spiffe://plimsoll.local/node/a\n2026 INFO b connected",),
        ("spiffe://plimsoll.local/node/a?b",),
        ("spiffe://plimsoll.local/node/a%2Fb",),
        ("spiffe://plimsoll.local.elsewhere/node/a",),
        ("https://plimsoll.local/node/a",),
    ],
)
def test_no_other_certificate_is_of_a_node(uris: tuple[str, ...]) -> None:
    assert "spiffe://plimsoll.local/node/ID" in refusal(*uris)


def test_what_is_no_certificate_identifies_nobody() -> None:
    for pem in (b"", b"sesame"):
        with pytest.raises(NotAdmittedError, match="is not a certificate"):
            Admission("plimsoll.local").identify(pem, NOW)


def test_an_expired_certificate_is_refused_and_a_resumed_session_is_named() -> None:
    assert "has expired" in refusal(node("a"), now=NOW + 2 * DAY)
    with pytest.raises(NotAdmittedError, match=r"expired; its TLS session is resumed"):
        Admission("plimsoll.local").identify(CA.node("a").certificate, NOW + 2 * DAY, resumed=True)


def test_a_revoked_certificate_is_refused() -> None:
    admission = Admission("plimsoll.local")
    admission.revoked = lambda name, _serial: name == node("a")
    assert "is revoked" in refusal(node("a"), admission=admission)
    assert identify(node("b"), admission=admission).node == "b"


def test_a_node_may_have_the_pools_of_the_pattern_that_says_most_about_it() -> None:
    admission = Admission(
        "plimsoll.local",
        {"gw-*": ("*",), "gw-eu-*": ("a", "b"), "gw-eu-1": ("b",), "search": ("c",)},
    )
    pools = {
        item: identify(node(item), admission=admission).pools
        for item in ("gw-us", "gw-eu-2", "gw-eu-1", "search")
    }
    assert pools == {"gw-us": None, "gw-eu-2": {"a", "b"}, "gw-eu-1": {"b"}, "search": {"c"}}
    for other in ("search-2", "gw"):
        assert "not in xds.tls.nodes" in refusal(node(other), admission=admission)


def test_a_star_alone_is_for_everybody_else() -> None:
    assert longest_match(["*", "a"], "b") == "*"
    assert longest_match(["*", "a"], "a") == "a"
    assert longest_match([], "a") is None
