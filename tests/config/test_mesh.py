"""What a pool says of mutual TLS, and a replica of its ingress."""

import pytest

from controlplane.config import PoolSettings, ReplicaSettings, SettingsError, load_config, validated
from controlplane.config.tls import MeshSettings
from tests.config.test_validated import refused

POOL = """
pools:
  - name: p
    model: m
    listener: {address: "127.0.0.1:10000"}
    replicas:
      - {id: a, address: "10.0.0.1:80", ingress: "10.0.0.1:443"}
      - {id: b, address: "10.0.0.2:80", ingress: "INGRESS"}
"""


def mesh(text: str) -> MeshSettings:
    pools = load_config(POOL.replace("INGRESS", "10.0.0.2:443") + f"    mesh: {text}\n", "f").pools
    return pools[0].mesh


def test_a_pool_has_no_mesh_unless_it_says_so() -> None:
    assert load_config(POOL.replace("INGRESS", "10.0.0.2:443"), "f").pools[0].mesh.mode == "off"


def test_off_is_a_mode_and_no_truth_value() -> None:
    assert mesh("{mode: off}").mode == "off"


@pytest.mark.parametrize(
    "client",
    ["web", "web-*", "*", "spiffe://td/node/web", "spiffe://other.td/ns/a/*", "spiffe://td/a-*"],
)
def test_clients_are_node_ids_or_spiffe_ids(client: str) -> None:
    assert mesh(f'{{mode: strict, clients: ["{client}"]}}').clients == (client,)


@pytest.mark.parametrize(
    "client", ["", "a b", "*a", "a/b", "spiffe://td", "spiffe://td*", "spiffe://td/*/a", "x" * 3000]
)
def test_other_clients_are_refused(client: str) -> None:
    body = {"mesh": {"mode": "strict", "clients": [client]}}
    assert refused(PoolSettings, body).path == ("mesh", "clients", 0)


@pytest.mark.parametrize("mode", ["off", "permissive"])
def test_clients_are_named_only_where_everybody_has_a_certificate(mode: str) -> None:
    body = {"mesh": {"mode": mode, "clients": ["a"]}}
    assert refused(PoolSettings, body).path == ("mesh", "clients")


def test_an_ingress_is_not_where_its_replica_serves() -> None:
    with pytest.raises(SettingsError, match=r"10\.0\.0\.1:80 is where the replica itself serves"):
        validated(ReplicaSettings, {"address": "10.0.0.1:80", "ingress": "10.0.0.1:80"})


@pytest.mark.parametrize(
    ("ingress", "why"),
    [
        ("10.0.0.1:443", "two replicas have the ingress 10.0.0.1:443"),
        ("127.0.0.1:10000", "is where an Envoy listens for pool 'p'"),
        ("gpu-2:443", "is a name"),
    ],
)
def test_an_ingress_that_cannot_be_is_refused_with_its_line(ingress: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        load_config(POOL.replace("INGRESS", ingress), "f.yaml")
    assert str(caught.value).startswith("f.yaml:8: pools[0].replicas[1].ingress")
