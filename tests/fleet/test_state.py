"""The replicas of a pool: no version changes, and who is at an address is known."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.config import Address
from controlplane.fleet import Replica, Replicas, Source
from tests.fleet.fleets import replica_settings


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
