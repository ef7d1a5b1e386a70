"""Maps that share what is the same: they hold what dicts hold, and nothing is ever changed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.fleet import Replica, Replicas, Source
from controlplane.fleet.persistent import ONE_BUCKET, PersistentMap
from controlplane.settings import Address
from tests.fleet.fleets import replica_settings

KEYS = [*(f"r{number}" for number in range(5 * ONE_BUCKET)), "é", "", "\ud800"]
STEPS = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), st.integers(), max_size=200),
    st.lists(st.sampled_from(KEYS), max_size=200),
)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=6))
def test_it_holds_what_a_dict_holds_and_no_older_version_changes(
    steps: list[tuple[dict[str, int], list[str]]],
) -> None:
    made, known = PersistentMap[int](), dict[str, int]()
    versions = [(made, known)]
    for put, gone in steps:
        made = made.updated(put, gone)
        known = {key: it for key, it in known.items() if key not in gone} | put
        versions.append((made, known))
    for version, expected in versions:
        assert version == expected
        assert len(version) == len(expected)
        assert dict(version.items()) == expected
        assert sorted(version.values()) == sorted(expected.values())
        assert all(version[key] == value for key, value in expected.items())
        assert all((key in version) == (key in expected) for key in KEYS)
        assert version == PersistentMap(expected)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=4), st.lists(STEPS, max_size=4))
def test_what_differs_is_what_one_has_and_the_other_has_not(
    one: list[tuple[dict[str, int], list[str]]], other: list[tuple[dict[str, int], list[str]]]
) -> None:
    start = PersistentMap({key: object() for key in KEYS[: 2 * ONE_BUCKET]})
    ends: list[PersistentMap[object]] = []
    for steps in (one, other):
        made = start
        for put, gone in steps:
            made = made.updated({key: object() for key in put}, gone)
        ends.append(made)
    left, right = ends
    expected = {key for key in KEYS if left.get(key) is not right.get(key)}
    found = list(left.differing(right))
    assert (set(found), len(found)) == (expected, len(expected))
    assert (left == right) == (not expected)


def test_few_entries_keep_the_order_in_which_they_came() -> None:
    made = PersistentMap[int]()
    for key in reversed(KEYS[:ONE_BUCKET]):
        made = made.updated({key: 1})
    assert list(made) == KEYS[:ONE_BUCKET][::-1]


def test_a_change_shares_all_but_one_bucket() -> None:
    known = PersistentMap({f"r{number}": object() for number in range(10_000)})
    made = known.updated({"r17": object()})
    assert (
        sum(one is not other for one, other in zip(known._buckets, made._buckets, strict=True)) == 1
    )
    assert max(map(len, made._buckets)) < 200
    assert list(made.differing(known)) == ["r17"]


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
