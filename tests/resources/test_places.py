"""In which order an Envoy uses replicas, by where it and they run and what it is to send where."""

from collections.abc import Mapping

import envoy_data_plane.envoy.config.endpoint.v3 as endpoint_v3
import envoy_data_plane.google.protobuf as protobuf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.balancing import NOWHERE, Place
from controlplane.config import Locality, PoolSettings, ReplicaSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.resources.catalog import Catalog, build
from controlplane.resources.classes import Parting, TrafficClass
from controlplane.resources.endpoints import EndpointWeight, Spread, order, place_of
from controlplane.resources.resource import ENDPOINT
from controlplane.resources.views import View
from tests.fleet.fleets import after
from tests.resources.decoded import in_zone

EU_A, EU_B, US_A = Place("eu", "a"), Place("eu", "b"), Place("us", "a")
PLACES = st.builds(Place, st.sampled_from(["", "eu", "us"]), st.sampled_from(["", "a", "b"]))


def ranks(
    here: Place, *places: Place, told: Mapping[Place, float] | None = None
) -> dict[Place, int]:
    """Of replicas of one class that all serve."""
    shares = {} if told is None else {here: told}
    found = order(here, {(place, True, True) for place in places}, shares)
    return {place: rank for (place, _, _), rank in found.ranks.items()}


def test_the_own_zone_comes_first_then_the_region_then_the_rest() -> None:
    assert ranks(EU_A, US_A, EU_B, EU_A) == {EU_A: 0, EU_B: 1, US_A: 2}


def test_priorities_have_no_gap() -> None:
    assert ranks(EU_A, EU_A, US_A) == {EU_A: 0, US_A: 1}
    assert ranks(EU_A, US_A) == {US_A: 0}


@pytest.mark.parametrize("replicas", [[EU_A, US_A], [NOWHERE], [NOWHERE, EU_A]])
def test_an_envoy_that_runs_nowhere_in_particular_uses_all_alike(replicas: list[Place]) -> None:
    assert {*ranks(NOWHERE, *replicas).values()} == {0}


def test_zones_that_get_a_part_come_first_together_and_the_others_behind() -> None:
    assert ranks(EU_A, EU_A, EU_B, US_A, told={EU_A: 0.8, US_A: 0.2}) == {EU_A: 0, US_A: 0, EU_B: 1}


def test_a_part_for_a_zone_without_replicas_goes_by_distance() -> None:
    assert ranks(EU_A, EU_B, US_A, told={EU_A: 1.0}) == {EU_B: 0, US_A: 1}


def test_the_others_of_a_class_come_before_nearer_ones_of_other_classes() -> None:
    groups = {(EU_A, True, True), (US_A, True, True), (EU_A, False, True), (EU_B, False, True)}
    found = order(EU_A, groups, {EU_A: {EU_A: 1.0}})
    assert found.ranks == {
        (EU_A, True, True): 0,
        (US_A, True, True): 1,
        (EU_A, False, True): 2,
        (EU_B, False, True): 3,
    }


def test_those_that_serve_nobody_come_last() -> None:
    groups = {(EU_A, True, True), (EU_A, True, False), (US_A, False, True)}
    found = order(EU_A, groups, {})
    assert found.ranks[EU_A, True, False] == 2


@given(PLACES, st.sets(st.tuples(PLACES, st.booleans(), st.booleans()), min_size=1))
def test_priorities_begin_with_0_and_are_contiguous_as_envoy_counts_them(
    here: Place, groups: set[tuple[Place, bool, bool]]
) -> None:
    found = {*order(here, groups, {here: {EU_A: 0.5, US_A: 0.5}}).ranks.values()}
    assert found == set(range(len(found)))


def test_a_replica_without_a_locality_runs_nowhere() -> None:
    settings = validated(ReplicaSettings, {"address": "127.0.0.1:9000"})
    assert place_of(settings) == NOWHERE
    there = settings.model_copy(update={"locality": Locality(region="eu", zone="a")})
    assert place_of(there) == EU_A


def zoned() -> Fleet:
    """Two replicas in each of two zones of a region, one of another region."""
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": {"locality": "nearest"},
    }
    fleet = after(PutPool("p", validated(PoolSettings, body)))
    fleet = in_zone("eu", "a", "a", "b", fleet=fleet)
    fleet = in_zone("eu", "b", "c", "d", fleet=fleet)
    return in_zone("us", "a", "e", fleet=fleet)


PORTIONS = {
    "a": EndpointWeight("fast", 3000),
    "b": EndpointWeight("slow", 1000),
    "c": EndpointWeight("fast", 3000),
    "d": EndpointWeight("slow", 1000),
    "e": EndpointWeight("slow", 1000),
}


def made(
    spread: Spread,
    endpoint_weights: Mapping[str, EndpointWeight] = PORTIONS,
    parting: Parting | None = None,
    previous: Catalog | None = None,
) -> Catalog:
    parted = {} if parting is None else {"p": parting}
    return build(
        zoned(), {"p": endpoint_weights}, previous or Catalog(), None, parted, {"p": spread}
    )


def told(
    held: Catalog, here: Place, name: str = "p"
) -> dict[int, dict[tuple[str, str], tuple[int, str]]]:
    """By priority: locality weights and members of a tier in a zone."""
    resource = held.view(View(place=here)).get(ENDPOINT, name)
    assert resource is not None
    message = endpoint_v3.ClusterLoadAssignment.parse(protobuf.Any.parse(resource.packed).value)
    found: dict[int, dict[tuple[str, str], tuple[int, str]]] = {}
    for item in message.endpoints:
        assert item.locality is not None
        ids = "".join(each.endpoint.hostname for each in item.lb_endpoints if each.endpoint)
        key = (f"{item.locality.region}/{item.locality.zone}", item.locality.sub_zone)
        found.setdefault(item.priority, {})[key] = (item.load_balancing_weight or 0, ids)
    return found


SPILLS = Spread({"": {EU_A: {EU_A: 0.75, EU_B: 0.25}, EU_B: {EU_B: 1.0}}})


def test_the_parts_are_weights_of_zones_and_inside_a_zone_tiers_share_as_before() -> None:
    assert told(made(SPILLS), EU_A) == {
        0: {
            ("eu/a", "fast"): (4500, "a"),
            ("eu/a", "slow"): (1500, "b"),
            ("eu/b", "fast"): (1500, "c"),
            ("eu/b", "slow"): (500, "d"),
        },
        1: {("us/a", "slow"): (1000, "e")},
    }
    assert told(made(SPILLS), EU_B)[0] == {
        ("eu/b", "fast"): (3000, "c"),
        ("eu/b", "slow"): (1000, "d"),
    }


def test_drained_and_gone_replicas_take_no_part_of_those_that_serve() -> None:
    """Envoy would take them for ill ones, and send their part to the next priority."""
    held = made(
        Spread(SPILLS.by_class, frozenset("a")),
        {**PORTIONS, "d": EndpointWeight("slow", 1000, draining=True)},
    )
    found = told(held, EU_A)
    assert found[0] == {("eu/a", "slow"): (3000, "b"), ("eu/b", "fast"): (1000, "c")}
    assert found[2] == {("eu/a", "fast"): (3000, "a"), ("eu/b", "slow"): (1000, "d")}


def test_what_is_told_otherwise_is_among_what_changed_and_what_is_not_stays() -> None:
    before = made(SPILLS)
    same = made(Spread(dict(SPILLS.by_class), frozenset()), previous=before)
    assert same is before
    after_it = made(Spread({"": {EU_A: {EU_A: 1.0}}}), previous=before)
    changes = after_it.changed_since(before.revision)
    assert changes is not None
    assert changes[ENDPOINT] == frozenset("p")
    assert 1 in told(after_it, EU_A)
    assert ("eu/b", "fast") in told(after_it, EU_A)[1]


def test_each_class_goes_its_own_way_and_falls_back_to_its_own_replicas_first() -> None:
    of_bulk = {id_: PORTIONS[id_] for id_ in "ac"}
    others = {id_: PORTIONS[id_] for id_ in "bde"}
    parting = Parting(
        (
            TrafficClass("bulk", None, of_bulk, routed=True),
            TrafficClass("", None, others, routed=True),
        )
    )
    spread = Spread(
        {"bulk": {EU_A: {EU_A: 0.5, EU_B: 0.5}}, "": {EU_A: {EU_A: 1.0}}},
    )
    held = made(spread, parting=parting)
    bulk, rest = told(held, EU_A, "p:bulk"), told(held, EU_A, "p")
    assert bulk[0] == {("eu/a", "fast"): (3000, "a"), ("eu/b", "fast"): (3000, "c")}
    assert [*bulk[1]] == [("eu/a", "slow")]
    assert rest[0] == {("eu/a", "slow"): (1000, "b")}
    assert [*rest[1]] == [("eu/b", "slow")]
    assert [*rest[2]] == [("us/a", "slow")]
    assert [*rest[3]] == [("eu/a", "fast")]


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(1, 10_000), min_size=1),
    st.dictionaries(st.sampled_from([EU_A, EU_B, US_A]), st.floats(0.01, 1), min_size=1),
)
def test_zones_get_their_parts_whatever_their_replicas_weigh(
    weights: dict[str, int], parts: dict[Place, float]
) -> None:
    endpoint_weights = {id_: EndpointWeight("t", weight) for id_, weight in weights.items()}
    found = told(made(Spread({"": {EU_A: parts}}), endpoint_weights), EU_A)[0]
    there = {zone: weight for (zone, _), (weight, _) in found.items()}
    shares = {f"{each.region}/{each.zone}": part for each, part in parts.items()}
    if there.keys() & shares.keys() and len(there) > 1:
        for zone, weight in there.items():
            wanted = shares[zone] / sum(shares[item] for item in there) * sum(weights.values())
            inside = sum(there.values())
            assert weight == pytest.approx(wanted * inside / sum(weights.values()), abs=2)
