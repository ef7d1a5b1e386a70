"""What a delta server must get right about one resource type."""

import pytest

from controlplane.resources.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPE_URLS,
    Snapshot,
)
from controlplane.xds import Acknowledged, Node
from tests.xds.client import DeltaClient, Got
from tests.xds.snapshots import snapshot

A = snapshot(clusters={"a": "1"})
AB = snapshot(clusters={"a": "1", "b": "1"})


def wildcard(client: DeltaClient) -> Got:
    client.request(CLUSTER)
    return client.accept()


def version(of: str, name: str = "a") -> str:
    return snapshot(clusters={name: of}).type(CLUSTER)[name].version


def test_a_known_name_subscribed_again_is_resent() -> None:
    # go-control-plane#1450
    client = DeltaClient(AB)
    client.request(subscribe=["a"])
    client.accept()
    client.request(subscribe=["a"])
    assert client.got().resources == {"a": "1"}


def test_a_name_subscribed_again_while_it_is_under_way_is_resent_after_it() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["a"])
    under_way = client.got()
    client.request(subscribe=["a"])
    assert client.next() is None
    client.ack(under_way)
    assert client.got().resources == {"a": "1"}


def test_a_stale_nonce_does_not_lose_the_subscription_changes_beside_it() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["a"])
    first = client.accept()
    client.request(subscribe=["a"])
    second = client.got()
    client.request(nonce=first.nonce, subscribe=["b"])
    assert client.next() is None, "the second response is still under way"
    client.ack(second)
    assert client.got().resources == {"b": "1"}


def test_a_rejection_that_also_subscribes_is_answered() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["a"])
    client.request(nonce=client.got().nonce, error="bad", subscribe=["b"])
    assert client.got().resources == {"b": "1"}


def test_an_unknown_nonce_answers_nothing_and_the_stream_survives() -> None:
    # envoy#15767
    client = DeltaClient(A)
    client.request()
    got = client.got()
    client.request(nonce="never sent")
    client.request(nonce="never sent", error="bad")
    assert client.events[1:] == []
    client.ack(got)
    assert isinstance(client.events[-1], Acknowledged)


def test_a_request_without_a_nonce_acknowledges_nothing() -> None:
    client = DeltaClient(A)
    client.request()
    client.got()
    client.request(subscribe=["a"])
    client.request(error="bad")
    assert client.events[1:] == []
    assert client.next() is None, "the response is still under way"


def test_two_responses_at_one_version_have_different_nonces() -> None:
    client = DeltaClient(A)
    client.request(subscribe=["a"])
    first = client.accept()
    client.request(subscribe=["a"])
    second = client.got()
    assert first.versions == second.versions
    assert first.nonce != second.nonce


def test_after_a_reconnect_the_changed_and_the_gone_are_sent_and_nothing_else() -> None:
    # istio#41494
    client = DeltaClient(snapshot(clusters={"a": "2", "c": "1"}))
    client.request(held={"a": version("1"), "b": version("1", "b"), "c": version("1", "c")})
    changed, gone = client.accept_all()
    assert changed.resources == {"a": "2"}
    assert (gone.resources, gone.removed) == ({}, ["b"])


def test_a_client_that_reconnects_without_a_change_is_sent_no_resource() -> None:
    client = DeltaClient(A)
    client.request(held={"a": version("1")})
    assert [(got.resources, got.removed) for got in client.accept_all()] == [({}, [])]


def test_a_name_both_held_and_subscribed_is_resent() -> None:
    # envoy#22418: the texts of the protocol disagree, and resending is safe
    now = snapshot(endpoints={"a": "1", "b": "1"})
    held = {name: resource.version for name, resource in now.type(ENDPOINT).items()}
    client = DeltaClient(now)
    client.request(ENDPOINT, subscribe=["a"], held=held)
    assert client.got().resources == {"a": "1"}


def test_versions_held_count_in_the_first_request_only() -> None:
    client = DeltaClient(snapshot())
    wildcard(client)
    client.request(held={"a": version("1")})
    client.show(A)
    assert client.got().resources == {"a": "1"}


def test_an_unknown_name_is_answered_as_removed_and_sent_when_it_is_created() -> None:
    # go-control-plane#488, #565
    client = DeltaClient(snapshot())
    client.request(subscribe=["a"])
    absent = client.accept()
    assert (absent.resources, absent.removed) == ({}, ["a"])
    assert client.next() is None, "it is said once"
    client.show(A)
    assert client.accept().resources == {"a": "1"}


def test_an_empty_first_request_wants_everything_and_still_does_after_a_name() -> None:
    client = DeltaClient(AB)
    assert wildcard(client).resources == {"a": "1", "b": "1"}
    client.request(subscribe=["a"])
    client.accept()
    client.show(snapshot(clusters={"a": "1", "b": "1", "c": "1"}))
    assert client.got().resources == {"c": "1"}


@pytest.mark.parametrize("url", [ENDPOINT, ROUTE])
def test_an_empty_first_request_for_endpoints_or_routes_wants_nothing(url: str) -> None:
    client = DeltaClient(snapshot(endpoints={"a": "1"}, routes={"a": "1"}))
    client.request(url)
    assert client.next() is None


def test_without_the_wildcard_only_the_names_are_left() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["*", "a"])
    client.accept()
    client.request(unsubscribe=["*"])
    assert client.next() is None
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    assert client.got().resources == {"a": "2"}


def test_a_name_dropped_together_with_the_wildcard_is_not_answered() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["*", "a"])
    client.accept()
    client.request(unsubscribe=["a", "*"])
    assert client.next() is None


def test_dropping_the_wildcard_forgets_also_what_is_under_way() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["*"])
    under_way = client.got()
    client.request(unsubscribe=["*"])
    client.ack(under_way)
    client.request(subscribe=["*"])
    assert client.got().resources == {"a": "1", "b": "1"}


def test_without_its_last_name_a_client_wants_nothing() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["a"])
    client.accept()
    client.request(unsubscribe=["a"])
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    assert client.next() is None


@pytest.mark.parametrize(
    ("now", "resources", "removed"),
    [(A, {"a": "1"}, []), (snapshot(), {}, ["a"])],
    ids=["which exists", "which does not"],
)
def test_a_name_dropped_under_the_wildcard_is_answered(
    now: Snapshot, resources: dict[str, str], removed: list[str]
) -> None:
    client = DeltaClient(now)
    client.request(subscribe=["*", "a"])
    client.accept()
    client.request(unsubscribe=["a"])
    got = client.accept()
    assert (got.resources, got.removed) == (resources, removed)
    assert client.next() is None


@pytest.mark.parametrize("subscribed", [["*"], ["a"]])
def test_dropping_a_name_never_subscribed_needs_no_reply(subscribed: list[str]) -> None:
    client = DeltaClient(AB)
    client.request(subscribe=subscribed)
    client.accept()
    client.request(unsubscribe=["b", "unheard of"])
    assert client.next() is None


def test_dropping_a_name_without_the_wildcard_needs_no_reply() -> None:
    client = DeltaClient(AB)
    client.request(subscribe=["a", "b"])
    client.accept()
    client.request(unsubscribe=["a"])
    assert client.next() is None


def test_a_dropped_name_subscribed_again_is_resent() -> None:
    client = DeltaClient(A)
    client.request(subscribe=["a"])
    client.accept()
    client.request(unsubscribe=["a"])
    client.request(subscribe=["a"])
    assert client.got().resources == {"a": "1"}


@pytest.mark.parametrize("subscribe", [[], ["*"]])
def test_a_wildcard_over_no_resources_is_answered_once(subscribe: list[str]) -> None:
    client = DeltaClient(snapshot())
    client.request(subscribe=subscribe)
    got = client.accept()
    assert (got.resources, got.removed) == ({}, [])
    assert client.next() is None


@pytest.mark.parametrize(("envoy", "sees_new"), [("1.18.6", True), ("1.19.0", False)])
def test_names_in_the_reconnect_of_an_old_envoy_mean_the_wildcard(
    envoy: str, *, sees_new: bool
) -> None:
    # envoy#16063
    client = DeltaClient(A, Node(id="old", user_agent="envoy", version=envoy))
    client.request(subscribe=["a"], held={"a": version("1")})
    client.accept()
    client.show(AB)
    assert (client.next() is not None) is sees_new


def test_a_new_snapshot_with_equal_resources_sends_nothing() -> None:
    client = DeltaClient(AB)
    wildcard(client)
    client.show(snapshot(clusters={"a": "1", "b": "1"}))
    assert client.next() is None


def test_types_do_not_mix() -> None:
    client = DeltaClient(snapshot(clusters={"a": "1"}, listeners={"a": "2"}))
    for url in TYPE_URLS:
        client.request(url, subscribe=["a"])
    assert [(got.type_url, got.resources, got.removed) for got in client.accept_all()] == [
        (SECRET, {}, ["a"]),
        (CLUSTER, {"a": "1"}, []),
        (ENDPOINT, {}, ["a"]),
        (LISTENER, {"a": "2"}, []),
        (ROUTE, {}, ["a"]),
    ]
