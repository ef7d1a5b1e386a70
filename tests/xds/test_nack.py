"""Which resources of a rejected response count as refused, and which are tried once more."""

from collections.abc import Mapping

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, Resource
from controlplane.xds.nack import Refusals, Semantics
from tests.xds.snapshots import resource, snapshot

DELTA = Semantics()
ENVOY = Semantics(repeats=True, names_what_it_took_apart=True)
OTHER = Semantics(repeats=True)
NAMED = "Error adding/updating cluster(s) a: no port"


def news(url: str, **contents: str) -> Mapping[str, Resource]:
    return {name: resource(url, name, content) for name, content in contents.items()}


AB = news(CLUSTER, a="1", b="1")


@pytest.mark.parametrize("semantics", [DELTA, ENVOY, OTHER], ids=["delta", "envoy", "other"])
def test_one_that_is_named_is_refused_and_the_others_are_accepted(semantics: Semantics) -> None:
    refusals = Refusals(CLUSTER, semantics)
    assert refusals.reject(NAMED, AB) == (("a",), {"a"}, set(), {})
    assert refusals.resources == {"a": AB["a"]}


@pytest.mark.parametrize("semantics", [DELTA, ENVOY, OTHER], ids=["delta", "envoy", "other"])
def test_one_that_was_sent_alone_is_refused_whatever_the_words(semantics: Semantics) -> None:
    refusals = Refusals(CLUSTER, semantics)
    alone = news(CLUSTER, a="1")
    assert refusals.reject("no", alone) == (("a",), {"a"}, set(), {})
    assert (refusals.resources, refusals.repeated) == (alone, {})


@pytest.mark.parametrize("semantics", [DELTA, ENVOY], ids=["delta", "envoy"])
def test_those_rejected_together_are_suspected_and_none_is_refused(semantics: Semantics) -> None:
    refusals = Refusals(CLUSTER, semantics)
    assert refusals.reject("no", AB) == (("a", "b"), {"a", "b"}, {"a", "b"}, {})
    assert (refusals.resources, refusals.suspects) == ({}, {"a", "b"})


def test_where_a_client_may_have_taken_some_all_are_refused_and_repeated() -> None:
    refusals = Refusals(CLUSTER, OTHER)
    assert refusals.reject("no", AB) == (("a", "b"), {"a", "b"}, set(), {})
    assert (refusals.repeated, refusals.suspects) == (AB, set())


def test_what_was_rejected_together_once_more_is_refused_in_its_newest_version() -> None:
    refusals = Refusals(CLUSTER, DELTA)
    refusals.reject("no", AB)
    newer = news(CLUSTER, a="2")
    refusals.reject("no", newer)
    assert (refusals.resources, refusals.suspects) == (newer, {"b"})
    assert refusals.include("a", newer["a"].version)
    assert not refusals.include("a", AB["a"].version)


def test_one_refused_before_is_suspected_no_less_when_others_are_rejected_with_it() -> None:
    refusals = Refusals(ENDPOINT, DELTA)
    refusals.reject("no", news(ENDPOINT, a="1"))
    refusals.reject("no", news(ENDPOINT, a="2", b="1"))
    assert (refusals.resources, refusals.suspects) == ({}, {"a", "b"})


def test_what_was_repeated_may_be_named_although_it_was_no_news() -> None:
    refusals = Refusals(CLUSTER, ENVOY, past_is_unknown=True)
    refusals.reject(NAMED, AB)
    assert refusals.reject(NAMED, news(CLUSTER, b="2")) == (("a",), set(), set(), {})
    assert refusals.repeated == {"a": AB["a"]}


def test_what_was_repeated_beside_one_that_is_named_was_taken() -> None:
    refusals = Refusals(CLUSTER, ENVOY, past_is_unknown=True)
    refusals.reject("no", news(CLUSTER, a="1", b="1", c="1"))
    verdict = refusals.reject(NAMED, news(CLUSTER, c="2"))
    assert verdict == (("a",), set(), set(), {"b": AB["b"]})
    assert refusals.repeated == {"a": AB["a"]}


def test_what_was_repeated_beside_one_that_was_refused_without_a_name_was_not_taken() -> None:
    refusals = Refusals(CLUSTER, ENVOY, past_is_unknown=True)
    refusals.reject("no", AB)
    newer = news(CLUSTER, c="1")
    assert refusals.reject("no", newer) == (("c",), {"c"}, set(), {})
    assert refusals.repeated == {**AB, **newer}


def test_suspects_stay_suspected_when_others_are_rejected_together() -> None:
    refusals = Refusals(CLUSTER, DELTA)
    refusals.reject("no", AB)
    assert refusals.reject("no", news(CLUSTER, c="1", d="1")).suspected == {"c", "d"}
    assert refusals.suspects == {"a", "b", "c", "d"}


def test_what_was_refused_and_is_not_repeated_cannot_be_named() -> None:
    refusals = Refusals(CLUSTER, ENVOY)
    refusals.reject(NAMED, AB)
    assert refusals.reject(NAMED, news(CLUSTER, b="2")).names == ("b",)


def test_a_response_that_is_accepted_settles_what_was_repeated_and_only_that() -> None:
    repeated, apart = Refusals(CLUSTER, ENVOY, past_is_unknown=True), Refusals(CLUSTER, ENVOY)
    for refusals in (repeated, apart):
        refusals.reject(NAMED, AB)
    assert (repeated.accept(), apart.accept()) == ({"a": AB["a"]}, {})
    assert (repeated.is_clear, apart.is_clear) == (True, False)


@pytest.mark.parametrize(
    ("refusals", "is_clear"),
    [
        (Refusals(CLUSTER, ENVOY), True),
        (Refusals(CLUSTER, ENVOY, past_is_unknown=True), False),
        (Refusals(CLUSTER, ENVOY, {**AB}), False),
        (Refusals(CLUSTER, ENVOY, suspects={"a"}), False),
    ],
    ids=["nothing", "a past", "a refusal", "a suspect"],
)
def test_it_is_clear_when_there_is_nothing_to_know_or_to_try(
    refusals: Refusals, *, is_clear: bool
) -> None:
    assert refusals.is_clear is is_clear


def test_a_refusal_concerns_a_snapshot_that_has_just_that_version() -> None:
    refusals = Refusals(CLUSTER, DELTA)
    refusals.reject(NAMED, AB)
    assert refusals.concern(snapshot(clusters={"a": "1"}))
    assert not refusals.concern(snapshot(clusters={"a": "2", "b": "1"}))
    assert not refusals.concern(snapshot(endpoints={"a": "1"}))


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
    refusals = Refusals(CLUSTER, DELTA)
    refusals.reject(words, AB)
    assert refusals.isolate(snapshot(clusters=clusters)) is isolates


def test_what_is_forgotten_is_neither_refused_nor_suspected() -> None:
    refusals = Refusals(CLUSTER, DELTA)
    refusals.reject("no", AB)
    refusals.reject("no", news(CLUSTER, a="1"))
    for name in ("a", "b", "unheard of"):
        refusals.forget(name)
    assert refusals.is_clear


def test_a_copy_goes_its_own_way() -> None:
    before = Refusals(CLUSTER, ENVOY, {**AB}, {"c"}, past_is_unknown=True)
    after = before.copy()
    assert after == before
    after.forget("a")
    after.forget("c")
    after.accept()
    assert before == Refusals(CLUSTER, ENVOY, {**AB}, {"c"}, past_is_unknown=True)
