"""The replicas of a pool: no version changes, and who is at an address is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Address
from controlplane.fleet import PutPool, PutReplicas, Refused, Replica, Replicas, Source
from tests.fleet.fleets import after, pool_settings, put, replica_settings


def at(port: int) -> Address:
    return Address("127.0.0.1", port)


def replicas_at(ports: dict[str, int]) -> dict[str, Replica]:
    return {id_: Replica(id_, replica_settings(port), Source.API, 1) for id_, port in ports.items()}


@given(st.permutations(range(1, 6)), st.permutations("abcde"))
def test_who_is_at_an_address_is_known_however_many_swap_theirs_one_by_one(
    ports: list[int], order: list[str]
) -> None:
    made = Replicas(replicas_at(dict(zip("abcde", range(1, 6), strict=True))))
    for id_ in order:
        made = made.updated(replicas_at({id_: ports["abcde".index(id_)]}))
    for id_, port in zip("abcde", ports, strict=True):
        assert made.at(Address("127.0.0.1", port)) is made[id_]


def test_nobody_is_at_an_address_that_was_left() -> None:
    made = Replicas(replicas_at({"a": 1, "b": 2})).updated(replicas_at({"a": 3}), ("b",))
    assert [made.at(Address("127.0.0.1", port)) for port in (1, 2)] == [None, None]
    assert made.at(Address("127.0.0.1", 3)) is made["a"]


def test_no_older_version_changes() -> None:
    made = Replicas(replicas_at({"a": 1, "b": 2}))
    made.updated(replicas_at({"a": 3, "c": 4}), ("b",))
    assert (dict(made), made.at(Address("127.0.0.1", 3))) == (replicas_at({"a": 1, "b": 2}), None)


def test_one_that_goes_and_is_put_stays() -> None:
    made = Replicas(replicas_at({"a": 1})).updated(replicas_at({"a": 2}), ("a", "a"))
    assert made.at(Address("127.0.0.1", 1)) is None
    assert made.at(Address("127.0.0.1", 2)) is made["a"]


def test_a_replica_with_an_ingress_is_found_at_both_of_its_addresses() -> None:
    fleet = after(PutPool("p", pool_settings()), put("a", 1, ingress="127.0.0.1:2"))
    replicas = fleet.pool("p").replicas
    assert [item and item.id for item in map(replicas.at, (at(1), at(2)))] == ["a", "a"]
    moved = after(put("a", 1, ingress="127.0.0.1:3"), fleet=fleet).pool("p").replicas
    assert [each and each.id for each in map(moved.at, (at(1), at(2), at(3)))] == ["a", None, "a"]


@pytest.mark.parametrize(
    ("port", "ingress", "key"), [(9, 2, "ingress"), (2, 9, "address"), (9, 1, "ingress")]
)
def test_no_two_replicas_share_an_address_or_an_ingress(port: int, ingress: int, key: str) -> None:
    fleet = after(PutPool("p", pool_settings()), put("a", 1, ingress="127.0.0.1:2"))
    with pytest.raises(Refused, match="is already that of replica 'a'") as caught:
        after(put("b", port, ingress=f"127.0.0.1:{ingress}"), fleet=fleet)
    assert caught.value.path == (key,)


def test_an_ingress_is_not_where_an_envoy_listens_for_a_pool() -> None:
    fleet = after(PutPool("p", pool_settings()))
    with pytest.raises(Refused, match="would loop") as caught:
        after(put("a", 1, ingress="127.0.0.1:10000"), fleet=fleet)
    assert caught.value.path == ("ingress",)


def test_most_replicas_of_a_pool_do_not_get_another_ingress_in_one_step() -> None:
    fleet = after(PutPool("p", pool_settings()), put("a", 1), put("b", 2))
    both = {
        "a": put("a", 1, ingress="127.0.0.1:11"),
        "b": put("b", 2, ingress="127.0.0.1:12"),
    }
    many = PutReplicas("p", {id_: item.settings for id_, item in both.items()})
    with pytest.raises(Refused, match="would move to other addresses in one step"):
        after(many, fleet=fleet)
    assert after(both["a"], fleet=fleet).pool("p").replica("a").settings.ingress == at(11)


def test_the_same_process_has_the_same_generation_with_an_ingress() -> None:
    fleet = after(PutPool("p", pool_settings()), put("a", 1))
    known = fleet.pool("p").replica("a")
    there = after(put("a", 1, ingress="127.0.0.1:2"), fleet=fleet).pool("p").replica("a")
    assert there.generation == known.generation
