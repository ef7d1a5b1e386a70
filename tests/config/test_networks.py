"""Which networks replicas put through the API may be in."""

import pytest

from controlplane.config import (
    Address,
    AdminSettings,
    PoolSettings,
    ReplicaSettings,
    SettingsError,
    validated,
)


def admin(*networks: str) -> AdminSettings:
    return validated(AdminSettings, {"networks": list(networks)})


def replica(address: str) -> ReplicaSettings:
    return validated(ReplicaSettings, {"address": address})


def test_without_a_list_a_replica_may_be_anywhere() -> None:
    AdminSettings().check_replica(replica("10.0.0.1:80"))


@pytest.mark.parametrize("host", ["10.0.0.1", "10.255.255.255", "[::ffff:10.0.0.1]", "[fd00::7]"])
def test_a_replica_in_one_of_the_networks_is_taken(host: str) -> None:
    admin("10.0.0.0/8", "fd00::/64").check_replica(replica(f"{host}:80"))


@pytest.mark.parametrize("host", ["11.0.0.1", "127.0.0.1", "[::ffff:11.0.0.1]", "[fd00:1::]"])
def test_a_replica_elsewhere_is_refused_with_what_would_be_right(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        admin("10.0.0.0/8", "fd00::/64").check_replica(replica(f"{host}:80"), ("replicas", 3))
    assert caught.value.path == ("replicas", 3, "address")
    assert "is in none of the networks of admin.networks (10.0.0.0/8, fd00::/64)" in str(
        caught.value
    )


def test_an_empty_list_lets_nobody_register() -> None:
    with pytest.raises(SettingsError, match=r"admin\.networks \(none\)"):
        admin().check_replica(replica("10.0.0.1:80"))


def test_a_name_is_in_no_network_whatever_it_resolves_to() -> None:
    named = ReplicaSettings.model_construct(address=Address("localhost", 80))
    with pytest.raises(SettingsError, match=r"localhost is in none of the networks"):
        admin("0.0.0.0/0", "::/0").check_replica(named)


def test_networks_that_were_read_once_are_taken_again() -> None:
    once = admin("10.0.0.0/8", "fd00::/64")
    again = validated(AdminSettings, {"networks": list(once.networks or ())})
    assert again.networks == once.networks


def test_an_exporter_of_a_pool_is_held_to_the_same_list() -> None:
    gpu = {"addresses": ["10.0.0.1:9400", "11.0.0.1:9400"]}
    pool = {"model": "m", "listener": {"address": "127.0.0.1:1"}, "metrics": {"gpu": gpu}}
    with pytest.raises(SettingsError) as caught:
        admin("10.0.0.0/8").check_pool(validated(PoolSettings, pool))
    assert caught.value.path == ("metrics", "gpu", "addresses", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10.0.0.1", "is not a network such as"),
        ("10.0.0.1/8", "with no bits set after the mask"),
        ("10.0.0.0/33", "is not a network such as"),
        ("::ffff:10.0.0.0/104", "write the IPv4 network"),
        (10, "is not a network such as"),
    ],
)
def test_what_is_no_network_is_refused(text: object, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        validated(AdminSettings, {"networks": ["127.0.0.0/8", text]})
    assert caught.value.path == ("networks", 1)
