"""Streams that stand alike share what follows, and only those."""

import pytest

from controlplane.config import PoolSettings, validated
from controlplane.fleet import Fleet, PutPool
from controlplane.resources.resource import CLUSTER, ENDPOINT
from controlplane.resources.views import View
from controlplane.xds import Acknowledged, Locality, Node, Rejected
from controlplane.xds.state import SharedStates
from controlplane.xds.stream import Stream
from tests.fleet.fleets import after
from tests.resources.decoded import catalog, in_zone
from tests.xds.client import DeltaClient, SotwClient
from tests.xds.snapshots import snapshot


def nearest(**zones: str) -> Fleet:
    """A pool of replicas by zone, of which each Envoy uses the nearest first."""
    body = {
        "model": "m",
        "listener": {"address": "127.0.0.1:10000"},
        "balancing": {"locality": "nearest"},
    }
    fleet = after(PutPool("p", validated(PoolSettings, body)))
    for id_, zone in zones.items():
        fleet = in_zone("eu", zone, id_, fleet=fleet)
    return fleet


def view(client: DeltaClient) -> View:
    found = client.stream.view
    assert found is not None
    return found


def test_streams_that_hold_the_same_and_see_differently_are_told_apart() -> None:
    held, shared_states = catalog(nearest(a="a")), SharedStates()
    clients = []
    for zone in "ab":
        node = Node(f"sidecar-{zone}", user_agent="envoy", locality=Locality("eu", zone))
        client = DeltaClient(held.view(View()), node, shared_states=shared_states)
        client.want(CLUSTER)
        client.show(held.view(view(client)))
        client.want(ENDPOINT, "p")
        client.accept_all()
        clients.append(client)
    assert clients[0].held == clients[1].held
    more = catalog(nearest(a="a", b="b"), previous=held)
    told = []
    for client in clients:
        client.show(more.view(view(client)))
        told.append(client.accept().versions["p"])
    assert told == [more.view(view(item)).type(ENDPOINT)["p"].version for item in clients]
    assert told[0] != told[1]


def test_what_follows_is_worked_out_once_for_streams_that_are_alike() -> None:
    held, shared_states = catalog(nearest(a="a")), SharedStates()
    clients = [
        DeltaClient(held.view(View()), Node(f"sidecar-{number}"), shared_states=shared_states)
        for number in range(2)
    ]
    for client in clients:
        client.want(CLUSTER)
        client.want(ENDPOINT, "p")
        client.accept_all()
    more = catalog(nearest(a="a", b="b"), previous=held)
    bodies = []
    for client in clients:
        response = client.stream.next_response(more.view(View()), 0.0)
        assert response is not None
        bodies.append(state_of(client.stream))
    assert bodies[0] is bodies[1]


def state_of(stream: Stream) -> object:
    return stream._state


def test_streams_share_their_state_as_soon_as_they_have_acknowledged_all() -> None:
    held, shared_states = catalog(nearest(a="a")), SharedStates()
    clients = [
        DeltaClient(held.view(View()), Node(f"sidecar-{number}"), shared_states=shared_states)
        for number in range(2)
    ]
    for client in clients:
        client.want(CLUSTER)
        client.accept()
    first, second = (state_of(client.stream) for client in clients)
    assert first is second


def sharing(protocol: type[DeltaClient] | type[SotwClient]) -> DeltaClient | SotwClient:
    """A client that was sent a shared answer and has not answered it."""
    before, after_ = snapshot(endpoints={"a": "1"}), snapshot(endpoints={"a": "2", "b": "1"})
    client = protocol(before, shared_states=SharedStates())
    client.want(ENDPOINT, "a")
    client.accept_all()
    client.show(after_)
    return client


@pytest.mark.parametrize("protocol", [DeltaClient, SotwClient])
def test_a_rejection_of_a_shared_answer_is_one(
    protocol: type[DeltaClient] | type[SotwClient],
) -> None:
    client = sharing(protocol)
    client.nack(client.got(), "no")
    assert client.events[-1] == Rejected(ENDPOINT, ("a",), "no")
    client.show(snapshot(endpoints={"a": "3"}))
    assert client.accept().resources == {"a": "3"}


def test_an_acknowledgement_of_a_shared_answer_that_also_subscribes_is_answered() -> None:
    client = sharing(DeltaClient)
    assert isinstance(client, DeltaClient)
    client.request(ENDPOINT, subscribe=["b"], nonce=client.got().nonce)
    assert client.events[-1] == Acknowledged(ENDPOINT, client.stream.status().types[0].sent)  # type: ignore[union-attr]
    assert client.accept().resources == {"b": "1"}


def test_an_acknowledgement_of_a_shared_answer_with_another_name_is_answered() -> None:
    client = sharing(SotwClient)
    assert isinstance(client, SotwClient)
    got = client.got()
    client.request(ENDPOINT, ["a", "b"], nonce=got.nonce, version=got.version)
    assert client.accept().resources == {"b": "1"}


def test_an_old_nonce_acknowledges_no_shared_answer() -> None:
    client = sharing(DeltaClient)
    assert isinstance(client, DeltaClient)
    client.got()
    events = [*client.events]
    client.request(ENDPOINT, nonce="1")
    assert client.events == events
    assert client.next() is None
