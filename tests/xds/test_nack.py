"""Which resources of a rejected response count as refused, and which are tried once more."""

from collections.abc import Mapping

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, Resource
from controlplane.xds.nack import Nacks, ResponseRules
from tests.xds.snapshots import resource, snapshot

DELTA = ResponseRules()
ENVOY = ResponseRules(repeats=True, names_bad_resources=True)
OTHER = ResponseRules(repeats=True)
NAMED = "Error adding/updating cluster(s) a: no port"


def news(url: str, **contents: str) -> Mapping[str, Resource]:
    return {name: resource(url, name, content) for name, content in contents.items()}


AB = news(CLUSTER, a="1", b="1")


@pytest.mark.parametrize("rules", [DELTA, ENVOY, OTHER], ids=["delta", "envoy", "other"])
def test_one_that_is_named_is_refused_and_the_others_are_accepted(rules: ResponseRules) -> None:
    nacks = Nacks(CLUSTER, rules)
    assert nacks.reject(NAMED, AB) == (("a",), {"a"}, set(), {})
    assert nacks.resources == {"a": AB["a"]}


@pytest.mark.parametrize("rules", [DELTA, ENVOY, OTHER], ids=["delta", "envoy", "other"])
def test_one_that_was_sent_alone_is_refused_whatever_the_words(rules: ResponseRules) -> None:
    nacks = Nacks(CLUSTER, rules)
    alone = news(CLUSTER, a="1")
    assert nacks.reject("no", alone) == (("a",), {"a"}, set(), {})
    assert (nacks.resources, nacks.repeated) == (alone, {})


@pytest.mark.parametrize("rules", [DELTA, ENVOY], ids=["delta", "envoy"])
def test_those_rejected_together_are_suspected_and_none_is_refused(rules: ResponseRules) -> None:
    nacks = Nacks(CLUSTER, rules)
    assert nacks.reject("no", AB) == (("a", "b"), {"a", "b"}, {"a", "b"}, {})
    assert (nacks.resources, nacks.suspects) == ({}, {"a", "b"})


def test_where_a_client_may_have_taken_some_all_are_refused_and_repeated() -> None:
    nacks = Nacks(CLUSTER, OTHER)
    assert nacks.reject("no", AB) == (("a", "b"), {"a", "b"}, set(), {})
    assert (nacks.repeated, nacks.suspects) == (AB, set())


def test_what_was_rejected_together_once_more_is_refused_in_its_newest_version() -> None:
    nacks = Nacks(CLUSTER, DELTA)
    nacks.reject("no", AB)
    newer = news(CLUSTER, a="2")
    nacks.reject("no", newer)
    assert (nacks.resources, nacks.suspects) == (newer, {"b"})
    assert nacks.include("a", newer["a"].version)
    assert not nacks.include("a", AB["a"].version)


def test_one_refused_before_is_suspected_no_less_when_others_are_rejected_with_it() -> None:
    nacks = Nacks(ENDPOINT, DELTA)
    nacks.reject("no", news(ENDPOINT, a="1"))
    nacks.reject("no", news(ENDPOINT, a="2", b="1"))
    assert (nacks.resources, nacks.suspects) == ({}, {"a", "b"})


def test_what_was_repeated_may_be_named_although_it_was_no_news() -> None:
    nacks = Nacks(CLUSTER, ENVOY, may_hold_unknown=True)
    nacks.reject(NAMED, AB)
    assert nacks.reject(NAMED, news(CLUSTER, b="2")) == (("a",), set(), set(), {})
    assert nacks.repeated == {"a": AB["a"]}


def test_what_was_repeated_beside_one_that_is_named_was_taken() -> None:
    nacks = Nacks(CLUSTER, ENVOY, may_hold_unknown=True)
    nacks.reject("no", news(CLUSTER, a="1", b="1", c="1"))
    verdict = nacks.reject(NAMED, news(CLUSTER, c="2"))
    assert verdict == (("a",), set(), set(), {"b": AB["b"]})
    assert nacks.repeated == {"a": AB["a"]}


def test_what_was_repeated_beside_one_that_was_refused_without_a_name_was_not_taken() -> None:
    nacks = Nacks(CLUSTER, ENVOY, may_hold_unknown=True)
    nacks.reject("no", AB)
    newer = news(CLUSTER, c="1")
    assert nacks.reject("no", newer) == (("c",), {"c"}, set(), {})
    assert nacks.repeated == {**AB, **newer}


def test_suspects_stay_suspected_when_others_are_rejected_together() -> None:
    nacks = Nacks(CLUSTER, DELTA)
    nacks.reject("no", AB)
    assert nacks.reject("no", news(CLUSTER, c="1", d="1")).suspected == {"c", "d"}
    assert nacks.suspects == {"a", "b", "c", "d"}


def test_what_was_refused_and_is_not_repeated_cannot_be_named() -> None:
    nacks = Nacks(CLUSTER, ENVOY)
    nacks.reject(NAMED, AB)
    assert nacks.reject(NAMED, news(CLUSTER, b="2")).names == ("b",)


def test_a_response_that_is_accepted_settles_what_was_repeated_and_only_that() -> None:
    repeated, apart = Nacks(CLUSTER, ENVOY, may_hold_unknown=True), Nacks(CLUSTER, ENVOY)
    for nacks in (repeated, apart):
        nacks.reject(NAMED, AB)
    assert (repeated.accept(), apart.accept()) == ({"a": AB["a"]}, {})
    assert (repeated.is_clear, apart.is_clear) == (True, False)


@pytest.mark.parametrize(
    ("nacks", "is_clear"),
    [
        (Nacks(CLUSTER, ENVOY), True),
        (Nacks(CLUSTER, ENVOY, may_hold_unknown=True), False),
        (Nacks(CLUSTER, ENVOY, {**AB}), False),
        (Nacks(CLUSTER, ENVOY, suspects={"a"}), False),
    ],
    ids=["nothing", "a past", "a refusal", "a suspect"],
)
def test_it_is_clear_when_there_is_nothing_to_know_or_to_try(
    nacks: Nacks, *, is_clear: bool
) -> None:
    assert nacks.is_clear is is_clear


def test_a_refusal_concerns_a_snapshot_that_has_just_that_version() -> None:
    nacks = Nacks(CLUSTER, DELTA)
    nacks.reject(NAMED, AB)
    assert nacks.concern(snapshot(clusters={"a": "1"}))
    assert not nacks.concern(snapshot(clusters={"a": "2", "b": "1"}))
    assert not nacks.concern(snapshot(endpoints={"a": "1"}))


@pytest.mark.parametrize(
    ("words", "clusters", "isolates"),
    [
        (NAMED, {"a": "1", "c": "1"}, True),
        (NAMED, {"a": "2", "c": "1"}, False),
        ("no", {"b": "2", "c": "1"}, True),
        ("no", {"c": "1"}, False),
    ],
    ids=["refused", "refused before", "suspected", "suspected and gone"],
)
def test_resources_are_sent_one_by_one_while_one_of_them_may_be_bad(
    words: str, clusters: dict[str, str], *, isolates: bool
) -> None:
    nacks = Nacks(CLUSTER, DELTA)
    nacks.reject(words, AB)
    assert nacks.isolate(snapshot(clusters=clusters)) is isolates


def test_what_is_forgotten_is_neither_refused_nor_suspected() -> None:
    nacks = Nacks(CLUSTER, DELTA)
    nacks.reject("no", AB)
    nacks.reject("no", news(CLUSTER, a="1"))
    for name in ("a", "b", "unheard of"):
        nacks.forget(name)
    assert nacks.is_clear


def test_a_copy_goes_its_own_way() -> None:
    before = Nacks(CLUSTER, ENVOY, {**AB}, {"c"}, may_hold_unknown=True)
    after = before.copy()
    assert after == before
    after.forget("a")
    after.forget("c")
    after.accept()
    assert before == Nacks(CLUSTER, ENVOY, {**AB}, {"c"}, may_hold_unknown=True)
