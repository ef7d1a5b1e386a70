"""What a state-of-the-world server must get right about one resource type."""

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Snapshot
from controlplane.xds import Acknowledged, Rejected
from tests.xds.client import SotwClient
from tests.xds.snapshots import snapshot

A = snapshot(clusters={"a": "1"})
AB = snapshot(clusters={"a": "1", "b": "1"})
KINDS = {CLUSTER: "clusters", ENDPOINT: "endpoints", LISTENER: "listeners", ROUTE: "routes"}


def of(url: str, **contents: str) -> Snapshot:
    return snapshot(**{KINDS[url]: contents})


def subscribed(now: Snapshot, url: str, *names: str) -> SotwClient:
    """A client that has and holds what it asked for."""
    client = SotwClient(now)
    client.request(url, names)
    client.accept()
    return client


@pytest.mark.parametrize("url", KINDS)
def test_a_first_request_without_version_and_nonce_is_answered(url: str) -> None:
    client = SotwClient(of(url, a="1"))
    client.request(url, ["a"])
    assert client.got().resources == {"a": "1"}


def test_a_restarted_server_answers_an_empty_first_request() -> None:
    before = subscribed(AB, CLUSTER)
    restarted = SotwClient(AB)
    restarted.request()
    assert restarted.got().resources == before.held[CLUSTER]


def test_a_version_of_another_server_is_answered_where_the_content_differs() -> None:
    before = subscribed(A, CLUSTER)
    after = before.reconnected(snapshot(clusters={"a": "2"}))
    after.request()
    assert after.got().resources == {"a": "2"}
    foreign = SotwClient(A)
    foreign.request(version="from another kind of server")
    assert foreign.got().resources == {"a": "1"}


def test_a_version_of_another_server_with_equal_content_is_believed() -> None:
    before = subscribed(AB, CLUSTER)
    after = before.reconnected(snapshot(clusters={"a": "1", "b": "1"}))
    after.request()
    assert after.next() is None
    after.show(snapshot(clusters={"a": "1", "b": "2"}))
    assert after.got().resources == {"a": "1", "b": "2"}


def test_names_are_answered_after_a_reconnect_whatever_the_version() -> None:
    before = subscribed(of(ENDPOINT, a="1"), ENDPOINT, "a")
    after = before.reconnected(of(ENDPOINT, a="1"))
    after.request(ENDPOINT, ["a"])
    assert after.got().resources == {"a": "1"}


def test_a_name_dropped_and_wanted_again_is_sent_although_a_reconnect_claims_its_version() -> None:
    client = subscribed(A, CLUSTER, "*").reconnected(A)
    client.request(names=[])
    client.request(names=["a"])
    client.request(names=[])
    client.request(names=["*"])
    assert client.got().resources == {"a": "1"}


def test_an_old_nonce_is_not_answered_and_its_names_are_not_lost() -> None:
    # envoy#10363
    client = subscribed(of(ENDPOINT, a="1", b="1"), ENDPOINT, "a")
    old = client.nonce[ENDPOINT]
    client.show(of(ENDPOINT, a="2", b="1"))
    newer = client.got()
    client.request(ENDPOINT, ["a", "b"], nonce=old)
    assert client.next() is None, "the newer response is still under way"
    client.ack(newer)
    assert client.accept().resources == {"b": "1"}
    assert client.next() is None


def test_an_acknowledgement_with_unchanged_names_gets_silence() -> None:
    client = SotwClient(AB)
    client.request(names=["a"])
    got = client.accept()
    assert client.events[-1] == Acknowledged(CLUSTER, got.version)
    assert client.next() is None


@pytest.mark.parametrize("url", KINDS)
def test_an_acknowledgement_with_another_name_gets_its_resource_at_the_same_version(
    url: str,
) -> None:
    client = SotwClient(of(url, a="1", b="1"))
    client.request(url, ["a"])
    got = client.got()
    client.version[url], client.nonce[url] = got.version, got.nonce
    client.request(url, ["a", "b"])
    assert client.got().resources["b"] == "1"


@pytest.mark.parametrize("url", KINDS)
def test_a_dropped_name_subscribed_again_is_resent_at_the_same_version(url: str) -> None:
    # go-control-plane#431, #608
    client = subscribed(of(url, a="1", b="1"), url, "a", "b")
    client.request(url, ["b"])
    client.request(url, ["a", "b"])
    assert client.got().resources["a"] == "1"


def test_an_error_with_the_current_version_is_still_a_rejection() -> None:
    client = SotwClient(A)
    client.request()
    got = client.got()
    client.request(version=got.version, nonce=got.nonce, error="no port")
    assert client.events[-1] == Rejected(CLUSTER, ("a",), "no port")


@pytest.mark.parametrize("url", KINDS)
def test_what_was_rejected_is_not_resent_until_its_content_changes(url: str) -> None:
    # go-control-plane#46, #582
    client = subscribed(of(url, a="1"), url, "a")
    client.show(of(url, a="2"))
    client.nack(client.got())
    assert client.next() is None
    client.show(of(url, a="2"))
    assert client.next() is None
    client.show(of(url, a="3"))
    assert client.got().resources == {"a": "3"}


@pytest.mark.parametrize("url", [CLUSTER, LISTENER])
def test_one_changed_cluster_or_listener_sends_the_full_set(url: str) -> None:
    client = subscribed(of(url, a="1", b="1", c="1"), url)
    client.show(of(url, a="1", b="2", c="1"))
    assert client.accept().resources == {"a": "1", "b": "2", "c": "1"}
    client.show(of(url, a="1", c="1"))
    assert client.accept().resources == {"a": "1", "c": "1"}


@pytest.mark.parametrize("url", [CLUSTER, LISTENER])
def test_the_last_cluster_or_listener_removed_sends_an_empty_response(url: str) -> None:
    client = subscribed(of(url, a="1"), url)
    client.show(snapshot())
    assert client.accept().resources == {}
    assert client.next() is None


@pytest.mark.parametrize("url", [ENDPOINT, ROUTE])
def test_one_changed_assignment_or_route_is_sent_alone(url: str) -> None:
    client = subscribed(of(url, a="1", b="1"), url, "a", "b")
    client.show(of(url, a="1", b="2"))
    assert client.accept().resources == {"b": "2"}
    assert client.next() is None


@pytest.mark.parametrize("wildcard", [["*", "a"], ["*"]])
def test_no_names_after_the_wildcard_was_named_and_dropped_is_no_wildcard(
    wildcard: list[str],
) -> None:
    client = subscribed(AB, CLUSTER)
    for names in (wildcard, ["a"], []):
        client.request(names=names)
    client.accept_all()
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    assert client.next() is None


def test_a_wildcard_named_after_it_was_implied_is_dropped_with_its_name() -> None:
    client = subscribed(AB, CLUSTER)
    client.request(names=["*"])
    client.request(names=[])
    client.show(snapshot(clusters={"a": "2"}))
    assert client.next() is None


def test_endpoints_with_no_names_left_are_dropped_and_so_is_what_was_due() -> None:
    # go-control-plane#1498
    client = subscribed(of(ENDPOINT, a="1", b="1"), ENDPOINT, "a", "b")
    client.show(of(ENDPOINT, a="2", b="1"))
    under_way = client.got()
    client.show(of(ENDPOINT, a="2", b="2"))
    client.request(ENDPOINT, [], nonce="")
    client.ack(under_way)
    assert client.next() is None
    client.show(of(ENDPOINT, a="3", b="3"))
    assert client.next() is None


@pytest.mark.parametrize("url", KINDS)
def test_a_request_for_a_part_of_what_there_is_is_answered(url: str) -> None:
    # go-control-plane#119, kuma#12098
    client = SotwClient(of(url, a="1", b="1", c="1"))
    client.request(url, ["b"])
    assert client.accept().resources == {"b": "1"}
    client.request(url, ["b", "unheard of"])
    client.accept()
    assert client.next() is None


def test_equal_holdings_have_equal_versions_whatever_the_way_to_them() -> None:
    at_once = subscribed(of(ENDPOINT, a="2", b="1"), ENDPOINT, "a", "b")
    bit_by_bit = subscribed(of(ENDPOINT, a="1", b="1"), ENDPOINT, "b")
    bit_by_bit.request(ENDPOINT, ["a", "b"])
    bit_by_bit.accept()
    assert bit_by_bit.version != at_once.version
    bit_by_bit.show(of(ENDPOINT, a="2", b="1"))
    bit_by_bit.accept()
    assert bit_by_bit.version == at_once.version
