"""What operators are told of a connected node."""

from dataclasses import replace

from controlplane.resources.resource import CLUSTER
from controlplane.xds import Acknowledged, Locality, Node, Rejected, Rejection, TypeStatus
from controlplane.xds.protocol import ErrorDetail, Request
from tests.xds.client import DeltaClient
from tests.xds.snapshots import snapshot

AB = snapshot(clusters={"a": "1", "b": "1"})


def clusters(client: DeltaClient) -> TypeStatus:
    status = client.stream.status()
    assert status is not None
    return status.types[0]


def test_a_node_shows_who_it_says_it_is_and_since_when() -> None:
    node = Node("sidecar-1", "apps", Locality("eu", "a"), "envoy", "1.40.0")
    client = DeltaClient(AB)
    client.stream.apply(Request(CLUSTER, node), 12.5)
    status = client.stream.status()
    assert status is not None
    assert (status.id, status.cluster, status.locality) == ("sidecar-1", "apps", node.locality)
    assert (status.user_agent, status.version, status.connected_at) == ("envoy", "1.40.0", 12.5)


def test_a_version_is_sent_before_it_is_acknowledged() -> None:
    client = DeltaClient(AB)
    client.request()
    client.now = 3.0
    got = client.got()
    sent = clusters(client)
    assert (sent.acknowledged, sent.held) == ("", 0)
    assert (sent.sent_at, sent.acknowledged_at) == (3.0, None)
    client.now = 4.0
    client.ack(got)
    acknowledged = clusters(client)
    assert (acknowledged.sent_at, acknowledged.acknowledged_at) == (3.0, 4.0)
    assert acknowledged.acknowledged == sent.sent != ""
    assert acknowledged.held == 2
    assert client.events[-1] == Acknowledged(CLUSTER, sent.sent)


def test_clients_that_hold_the_same_show_the_same_version() -> None:
    at_once, bit_by_bit = DeltaClient(AB), DeltaClient(snapshot(clusters={"a": "1", "b": "0"}))
    for client in (at_once, bit_by_bit):
        client.request()
        client.accept()
    assert clusters(at_once).acknowledged != clusters(bit_by_bit).acknowledged
    bit_by_bit.show(AB)
    bit_by_bit.accept()
    assert clusters(at_once).acknowledged == clusters(bit_by_bit).acknowledged


def test_a_rejection_keeps_the_acknowledged_version_and_shows_the_clients_words() -> None:
    client = DeltaClient(AB)
    client.request()
    client.accept()
    before = clusters(client)
    client.show(snapshot(clusters={"a": "2", "b": "1"}))
    got = client.got()
    request = Request(CLUSTER, nonce=got.nonce, error=ErrorDetail(13, "no port", "no port"))
    assert client.stream.apply(request, 7.0) == [Rejected(CLUSTER, ("a",), "no port")]
    after = clusters(client)
    assert after == replace(
        before,
        sent=after.sent,
        held=1,
        rejection=Rejection(("a",), "no port", 7.0),
        refused=("a",),
    )


def test_a_node_is_not_in_sync_for_as_long_as_anything_stands_refused() -> None:
    client = DeltaClient(AB)
    client.request()
    client.accept()
    client.show(snapshot(clusters={"a": "2", "b": "1"}))
    client.nack(client.got(), "no port")
    client.show(snapshot(clusters={"a": "2", "b": "2"}))
    client.accept()
    status = clusters(client)
    assert status.sent == status.acknowledged
    assert (status.in_sync, status.refused) == (False, ("a",))
    client.show(snapshot(clusters={"a": "3", "b": "2"}))
    client.accept()
    assert (clusters(client).in_sync, clusters(client).refused) == (True, ())
