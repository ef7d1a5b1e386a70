"""What a rejection means for what was in the response, in both protocols."""

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from controlplane.xds import Rejected
from controlplane.xds.nack import named_as_bad
from tests.xds.client import DeltaClient, SotwClient
from tests.xds.snapshots import snapshot

Protocol = type[DeltaClient] | type[SotwClient]


def test_after_a_rejection_the_version_before_is_sent_again(protocol: Protocol) -> None:
    client = protocol(snapshot(clusters={"a": "1"}))
    client.want(CLUSTER)
    client.accept()
    client.show(snapshot(clusters={"a": "2"}))
    client.nack(client.got())
    client.show(snapshot(clusters={"a": "1"}))
    assert client.accept().resources == {"a": "1"}
    assert client.next() is None


def test_a_rejected_version_is_not_resent_and_the_next_one_at_once(protocol: Protocol) -> None:
    client = protocol(snapshot(endpoints={"a": "1"}))
    client.want(ENDPOINT, "a")
    client.nack(client.got())
    client.show(snapshot(endpoints={"a": "1"}, clusters={"b": "1"}))
    assert client.next() is None
    client.show(snapshot(endpoints={"a": "2"}))
    assert client.accept().resources == {"a": "2"}


def test_a_rejection_that_names_the_bad_cluster_accepts_the_others(protocol: Protocol) -> None:
    client = protocol(snapshot(clusters={"a": "1", "b": "1"}))
    words = "Error adding/updating cluster(s) b: not ab, ba, a-b, b-a or a.b"
    client.want(CLUSTER)
    client.nack(client.got(), words)
    assert client.events[-1] == Rejected(CLUSTER, ("b",), words)
    # It has the other one, and notes its version with a response that it accepts.
    if isinstance(client, DeltaClient):
        assert client.accept().resources == {"a": "1"}
    assert client.next() is None


def test_all_that_envoy_names_are_bad_and_no_name_within_its_words_is() -> None:
    names = ["a", "b", "c", "found", "listener", "name.b"]
    clusters = "Error adding/updating cluster(s) a: no policy a: b: found, c: it, found: not, b: 1"
    assert named_as_bad(CLUSTER, clusters, names) == {"a", "c", "found", "b"}
    listeners = "Error adding/updating listener(s) b: cannot bind '[::1]:1': found c  name.b: no "
    assert named_as_bad(LISTENER, listeners, names) == {"b", "name.b"}


@pytest.mark.parametrize(
    "words",
    [
        'goo.gle/debugstr name: "a" type: EDS : Proto constraint validation failed (b: a: bad)',
        "a: bad",
        "Error adding/updating listener(s) a: bad",
    ],
)
def test_other_words_with_a_clusters_name_in_them_accept_no_other_cluster(words: str) -> None:
    # Envoy has then looked at none of the others.
    assert named_as_bad(CLUSTER, words, ["a", "b"]) == set()


def test_a_name_in_a_rejection_that_was_not_in_the_response_excuses_nobody(
    protocol: Protocol,
) -> None:
    client = protocol(snapshot(clusters={"a": "1", "b": "1"}))
    client.want(CLUSTER)
    client.accept()
    client.show(snapshot(clusters={"a": "bad", "b": "1"}))
    client.nack(client.got(), "Error adding/updating cluster(s) a: bad")
    client.show(snapshot(clusters={"a": "bad", "b": "bad"}))
    words = "Error adding/updating cluster(s) c: bad"
    client.nack(client.got(), words)
    assert client.events[-1] == Rejected(CLUSTER, ("b",), words)


def test_resources_rejected_together_are_tried_once_more_one_by_one(protocol: Protocol) -> None:
    client = protocol(snapshot(endpoints={"bad": "1", "good": "1"}))
    client.want(ENDPOINT, "bad", "good")
    client.nack(client.got(), "weight must not be 0")
    first = client.got()
    assert first.resources == {"bad": "1"}
    client.nack(first, "weight must not be 0")
    assert client.accept().resources == {"good": "1"}
    assert client.next() is None


def test_a_cluster_named_in_the_rejection_of_routes_does_not_accept_the_other_routes(
    protocol: Protocol,
) -> None:
    client = protocol(snapshot(routes={"a": "1", "b": "1"}))
    client.want(ROUTE, "a", "b")
    client.nack(client.got(), "route: unknown cluster 'a'")
    assert [got.resources for got in client.accept_all()] == [{"a": "1"}, {"b": "1"}]


@pytest.mark.parametrize("before", ["", "from another server"])
def test_after_a_reconnect_too_assignments_rejected_together_are_tried_one_by_one(
    protocol: Protocol, before: str
) -> None:
    client = protocol(snapshot(endpoints={"bad": "1", "good": "1"}))
    if isinstance(client, SotwClient):
        client.version[ENDPOINT] = before
    client.want(ENDPOINT, "bad", "good")
    client.nack(client.got())
    client.nack(client.got())
    assert client.accept().resources == {"good": "1"}


def test_a_resource_that_stands_rejected_takes_no_other_down_with_it(protocol: Protocol) -> None:
    client = protocol(snapshot(endpoints={"bad": "1"}))
    client.want(ENDPOINT, "bad", "good", "well")
    client.nack(client.got())
    client.show(snapshot(endpoints={"bad": "1", "good": "1", "well": "1"}))
    assert [got.resources for got in client.accept_all()] == [{"good": "1"}, {"well": "1"}]


def cut(*names: str) -> str:
    """Envoy's words about clusters, cut after so many of them."""
    words = ", ".join(f"{name}: {'unknown ' * 100}" for name in names)
    return f"Error adding/updating cluster(s) {words}...(truncated)"


def test_what_envoy_had_no_room_to_name_is_not_taken_for_accepted(protocol: Protocol) -> None:
    names = ["bad1", "bad2", "good"]
    client = protocol(snapshot(clusters=dict.fromkeys(names, "1")))
    client.want(CLUSTER)
    client.accept()
    client.show(snapshot(clusters=dict.fromkeys(names, "2")))
    client.nack(client.got(), cut("bad1"))
    # Of the others each is asked for alone.
    second = client.got()
    assert {name for name, resource in second.resources.items() if resource == "2"} == {"bad2"}
    client.nack(second, "Error adding/updating cluster(s) bad2: unknown")
    assert "good" in client.accept().resources
    assert client.next() is None


def test_long_words_are_shown_short_and_read_whole(protocol: Protocol) -> None:
    names = [f"c{number:02}" for number in range(40)]
    client = protocol(snapshot(clusters=dict.fromkeys(names, "1")))
    client.want(CLUSTER)
    client.accept()
    client.show(snapshot(clusters=dict.fromkeys(names, "2")))
    words = "Error adding/updating cluster(s) " + ", ".join(
        f"{name}: {'unknown ' * 20}" for name in names[:39]
    )
    client.nack(client.got(), words)
    rejected = client.events[-1]
    assert isinstance(rejected, Rejected)
    assert rejected.names == tuple(names[:39])
    assert rejected.message == words[:4_000] != words


def test_what_a_client_took_of_a_response_that_it_rejected_is_known_when_it_reconnects() -> None:
    client = DeltaClient(snapshot(clusters={"a": "1", "b": "1"}))
    client.want(CLUSTER)
    client.accept()
    client.show(snapshot(clusters={"a": "2", "b": "bad", "c": "1"}))
    client.nack(client.got(), "Error adding/updating cluster(s) b: bad")
    client.accept_all()
    # All of it is taken back while the client is away.
    back = client.reconnected(snapshot(clusters={"a": "1", "b": "1"}))
    back.want(CLUSTER)
    sent = back.accept_all()
    assert {name: resource for got in sent for name, resource in got.resources.items()} == {
        "a": "1"
    }
    assert [name for got in sent for name in got.removed] == ["c"]
