"""TLS, admission and roles of certificates in the config file, and what is wrong with them."""

import pytest

from controlplane.config import Config, Role, SettingsError, load_config

FILES = "certificate: c.pem, key: k.pem, client_ca: ca.pem"


def load(text: str) -> Config:
    return load_config(text, "plimsoll.yaml")


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as raised:
        load(text)
    return str(raised.value)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "10.0.0.1", "[::ffff:10.0.0.1]", "plimsoll.example"]
)
def test_off_loopback_xds_needs_tls_or_that_plain_text_is_meant(host: str) -> None:
    assert refusal(f'xds:\n  address: "{host}:18000"\n').endswith(
        " can be reached from other machines: set tls, listen on 127.0.0.1, or set insecure: true"
        " where only Envoys reach it"
    )
    assert load(f'xds: {{address: "{host}:18000", insecure: true}}').xds.insecure
    assert load(f'xds: {{address: "{host}:18000", tls: {{{FILES}}}}}').xds.tls


def test_the_refusal_names_file_line_and_key() -> None:
    assert refusal('xds:\n  address: "0.0.0.0:1"\n').startswith("plimsoll.yaml:2: xds.address: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_on_loopback_xds_needs_neither(host: str) -> None:
    assert load(f'xds: {{address: "{host}:18000"}}').xds.tls is None


def test_plain_text_is_not_meant_beside_tls() -> None:
    assert "xds.insecure: insecure and tls exclude each other" in refusal(
        f"xds: {{insecure: true, tls: {{{FILES}}}}}"
    )


@pytest.mark.parametrize("key", ["certificate", "key", "client_ca"])
def test_tls_of_xds_takes_all_three_files(key: str) -> None:
    files = ", ".join(item for item in FILES.split(", ") if not item.startswith(f"{key}:"))
    assert f"xds.tls.{key}: is required and missing" in refusal(f"xds: {{tls: {{{files}}}}}")


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ("{'a*b': [m]}", "xds.tls.nodes['a*b']: 'a*b' is not a node id"),
        ("{'': [m]}", "is not a node id"),
        ("{'a/b': [m]}", "is not a node id"),
        ("{a: ['-']}", "xds.tls.nodes.a[0]: '-' is not the name of a pool"),
        ("{a: ['m*']}", "is not the name of a pool"),
        ("{a: m}", "xds.tls.nodes.a: "),
    ],
)
def test_nodes_map_ids_to_pools(nodes: str, why: str) -> None:
    assert why in refusal(f"xds: {{tls: {{{FILES}, nodes: {nodes}}}}}")


def test_nodes_may_be_ids_their_beginnings_or_all() -> None:
    text = "{a: [m, n], 'b-*': ['*'], '*': []}"
    tls = load(f"xds: {{tls: {{{FILES}, nodes: {text}}}}}").xds.tls
    assert tls is not None
    assert tls.nodes == {"a": ("m", "n"), "b-*": ("*",), "*": ()}


@pytest.mark.parametrize(
    ("clients", "why"),
    [
        ("{me: read}", "'me' is neither a SPIFFE id"),
        ("{'CN=a*': read}", "is neither a SPIFFE id"),
        ("{'spiffe://x/*/y': read}", "is neither a SPIFFE id"),
        ("{'CN=a': boss}", "admin.tls.clients['CN=a']: 'boss' is not one of 'read', 'regis"),
        ("{}", "client_ca and clients go together"),
    ],
)
def test_clients_map_names_to_roles(clients: str, why: str) -> None:
    assert why in refusal(f"admin: {{tls: {{{FILES}, clients: {clients}}}}}")


def test_clients_go_with_roots() -> None:
    files = "certificate: c.pem, key: k.pem, clients: {'CN=a': read}"
    assert "client_ca and clients go together" in refusal(f"admin: {{tls: {{{files}}}}}")


def test_off_loopback_the_api_takes_certificates_instead_of_tokens() -> None:
    text = f'admin: {{address: "0.0.0.0:1", tls: {{{FILES}, clients: {{"CN=a": read}}}}}}'
    tls = load(text).admin.tls
    assert tls is not None
    assert tls.clients == {"CN=a": Role.READ}
    # Encrypted is not yet authenticated.
    without = 'admin: {address: "0.0.0.0:1", tls: {certificate: c.pem, key: k.pem}}'
    assert "admin.address: " in refusal(without)


@pytest.mark.parametrize("domain", ["Plimsoll", "a b", "spiffe://x", "a/b", "''"])
def test_a_trust_domain_is_plain(domain: str) -> None:
    assert "is not a trust domain" in refusal(f"identity: {{trust_domain: {domain}}}")


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
