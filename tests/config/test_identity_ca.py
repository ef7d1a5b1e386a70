"""``identity.ca`` in the config file."""

import pytest

from controlplane.config import SettingsError, load_config

TLS = "xds: {tls: {certificate: c, key: k, client_ca: r}}\n"


def test_a_leaf_lasts_a_day_unless_it_is_said() -> None:
    ca = load_config(TLS + "identity: {ca: {path: ca}}", "f").identity.ca
    assert ca is not None
    assert (ca.path, ca.leaf_ttl, ca.ingresses) == ("ca", 86_400, {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("identity: {ca: {path: ca}}", "f:1: identity.ca: goes with xds.tls"),
        (TLS + "identity: {ca: {}}", "f:2: identity.ca.path: is required"),
        (TLS + "identity: {ca: {path: ca, leaf_ttl: 0.5s}}", "500ms is out of range: 1s to 24h"),
        (TLS + "identity: {ca: {path: ca, leaf_ttl: 48h}}", "out of range"),
        (TLS + "identity: {ca: {path: ca, ingresses: {'a*b': [p]}}}", "'a*b' is not a node id"),
        (TLS + "identity: {ca: {path: ca, ingresses: {a: ['*']}}}", "identity.ca.ingresses"),
        (TLS + "identity: {ca: {path: ca, key: k}}", "identity.ca.key"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_config(text, "f")
    assert problem in str(raised.value)
