"""What a rejection means for the set that state of the world repeats: nothing is taken away."""

import pytest

from controlplane.xds import Node
from controlplane.xds.client_status import ClientStatus
from tests.xds.client import ENVOY, Got, SotwClient
from tests.xds.snapshots import snapshot


def holding(node: Node = ENVOY, **clusters: str) -> SotwClient:
    """A client that has and holds all clusters."""
    client = SotwClient(snapshot(clusters=clusters), node)
    client.request()
    client.accept()
    return client


def refused_on_arrival(error: str) -> SotwClient:
    """Of a client that may hold more than the server knows, after it refused its first response."""
    client = SotwClient(snapshot(clusters={"a": "bad", "b": "1"}))
    client.request()
    client.nack(client.got(), error)
    assert client.next() is None
    return client


@pytest.mark.parametrize("error", ["Error adding/updating cluster(s) a: bad", "something is bad"])
def test_what_a_new_client_refused_stays_in_the_set_so_that_it_keeps_what_it_had(
    error: str,
) -> None:
    client = refused_on_arrival(error)
    client.show(snapshot(clusters={"a": "bad", "b": "2"}))
    got = client.got()
    assert got.resources == {"a": "bad", "b": "2"}
    client.nack(got, error)
    assert client.next() is None
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    assert client.accept().resources == {"a": "2", "b": "2"}


def test_what_was_refused_and_is_accepted_in_a_later_set_is_known_to_be_held() -> None:
    client = refused_on_arrival("Error adding/updating cluster(s) a: its port is in use")
    client.show(snapshot(clusters={"a": "bad", "b": "2"}))
    client.ack(client.got())
    client.show(snapshot(clusters={"a": "bad", "b": "2"}))
    assert client.next() is None
    client.show(snapshot(clusters={"a": "bad", "b": "3"}))
    assert client.accept().resources == {"a": "bad", "b": "3"}


def test_what_was_refused_and_is_taken_beside_one_that_is_named_is_known_to_be_held() -> None:
    client = refused_on_arrival("Proto constraint validation failed")
    shown = snapshot(clusters={"a": "worse", "b": "1"})
    client.show(shown)
    client.nack(client.got(), "Error adding/updating cluster(s) a: no port")
    found = {resource.name: resource.client_status for resource in client.stream.resources(shown)}
    assert found == {"a": ClientStatus.NACKED, "b": ClientStatus.ACKED}
    assert client.next() is None


def test_what_was_refused_and_is_removed_beside_one_that_is_refused_is_not_held() -> None:
    client = SotwClient(snapshot(clusters={"a": "bad", "b": "bad"}))
    client.request()
    client.nack(client.got(), "Error adding/updating cluster(s) a: bad, b: bad")
    client.show(snapshot(clusters={"a": "bad"}))
    got = client.got()
    assert got.resources == {"a": "bad"}
    client.nack(got, "Error adding/updating cluster(s) a: bad")
    client.show(snapshot(clusters={"a": "bad", "c": "1"}))
    assert client.got().resources == {"a": "bad", "c": "1"}


def last_good(client: SotwClient) -> Got:
    client.show(snapshot(clusters={"a": "bad", "b": "1", "c": "1"}))
    client.nack(client.got(), "Error adding/updating cluster(s) a: bad")
    client.show(snapshot(clusters={"a": "bad", "b": "2", "c": "1"}))
    return client.accept()


def test_the_last_good_of_what_was_refused_stays_in_the_set() -> None:
    client = holding(a="1", b="1")
    assert last_good(client).resources == {"a": "1", "b": "2", "c": "1"}


def test_clusters_that_envoy_rejects_together_without_a_name_are_tried_one_by_one() -> None:
    client = holding(a="1", b="1")
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    client.nack(client.got(), "Proto constraint validation failed")
    first = client.got()
    assert first.resources == {"a": "2", "b": "1"}
    client.nack(first, "Proto constraint validation failed")
    assert client.accept().resources == {"a": "1", "b": "2"}
    assert client.next() is None


def test_clusters_of_which_another_client_may_have_taken_some_stay_together() -> None:
    client = holding(Node("client-1", user_agent="gRPC Python"), a="1", b="1")
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    client.nack(client.got(), "something is bad")
    assert client.next() is None
    client.show(snapshot(clusters={"a": "2", "b": "2", "c": "1"}))
    assert client.got().resources == {"a": "2", "b": "2", "c": "1"}
