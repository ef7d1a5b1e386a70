"""In which order the types of an aggregated stream are sent, so that no request is lost."""

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_URLS, Snapshot
from tests.xds.client import DeltaClient, SotwClient
from tests.xds.snapshots import snapshot

Protocol = type[DeltaClient] | type[SotwClient]
OLD = snapshot(
    clusters={"old": "1"}, endpoints={"old": "1"}, listeners={"l": "1"}, routes={"r": "to old"}
)
NEW = snapshot(
    clusters={"new": "1"}, endpoints={"new": "1"}, listeners={"l": "2"}, routes={"r": "to new"}
)


def settled(protocol: Protocol, now: Snapshot) -> DeltaClient | SotwClient:
    """A client that wants everything, as Envoy does, and holds it."""
    client = protocol(now)
    client.want(CLUSTER)
    client.want(ENDPOINT, *now.type(CLUSTER))
    client.want(LISTENER)
    client.want(ROUTE, *now.type(ROUTE))
    client.accept_all()
    return client


def test_a_change_that_adds_a_cluster_repoints_its_route_and_drops_the_old_one_goes_in_order(
    protocol: Protocol,
) -> None:
    client = settled(protocol, OLD)
    client.want(ENDPOINT, "new")
    client.accept_all()
    client.show(NEW)
    steps = []
    while (got := client.next()) is not None:
        client.ack(got)
        steps.append((got.type_url, sorted(client.held[CLUSTER]), client.held[ROUTE]["r"]))
    assert steps == [
        (CLUSTER, ["new", "old"], "to old"),
        (ENDPOINT, ["new", "old"], "to old"),
        (LISTENER, ["new", "old"], "to old"),
        (ROUTE, ["new", "old"], "to new"),
        (CLUSTER, ["new"], "to new"),
    ]


def test_endpoints_follow_a_cluster_without_waiting_for_its_acknowledgement(
    protocol: Protocol,
) -> None:
    client = settled(protocol, OLD)
    client.show(snapshot(clusters={"old": "2"}, endpoints={"old": "1"}))
    assert client.got().type_url == CLUSTER
    assert client.got().type_url == ENDPOINT


def test_listeners_and_routes_wait_while_a_cluster_may_be_warming(protocol: Protocol) -> None:
    client = settled(protocol, OLD)
    client.show(
        snapshot(
            clusters={"old": "2"}, endpoints={"old": "2"}, listeners={"l": "2"}, routes={"r": "2"}
        )
    )
    clusters, endpoints = client.got(), client.got()
    client.ack(endpoints)
    assert client.next() is None
    client.ack(clusters)
    assert [got.type_url for got in client.accept_all()] == [LISTENER, ROUTE]


def test_a_cluster_stays_until_its_last_route_is_acknowledged(protocol: Protocol) -> None:
    client = settled(protocol, OLD)
    client.show(snapshot(endpoints={"old": "2"}, listeners={"l": "1"}, routes={"r": "to nothing"}))
    assert client.accept().type_url == ENDPOINT
    route = client.got()
    assert route.type_url == ROUTE
    assert client.next() is None
    client.ack(route)
    client.accept()
    assert client.held[CLUSTER] == {}


def test_a_cluster_stays_while_the_route_that_leaves_it_is_rejected(protocol: Protocol) -> None:
    client = settled(protocol, OLD)
    client.show(snapshot(endpoints={"old": "2"}, listeners={"l": "1"}, routes={"r": "bad"}))
    client.accept()
    client.nack(client.got())
    assert client.next() is None
    client.show(snapshot(endpoints={"old": "2"}, listeners={"l": "1"}, routes={"r": "good"}))
    assert client.accept().resources == {"r": "good"}
    client.accept()
    assert client.held[CLUSTER] == {}


def test_after_a_reconnect_no_cluster_is_removed_before_the_routes_were_asked_for() -> None:
    # Delta only: a client of state of the world does not say which clusters it holds.
    held = {
        url: {name: resource.version for name, resource in OLD.type(url).items()}
        for url in TYPE_URLS
    }
    client = DeltaClient(NEW)
    client.request(CLUSTER, held=held[CLUSTER])
    added = client.got()
    assert (added.resources, added.removed) == ({"new": "1"}, [])
    assert client.next() is None
    client.request(ROUTE, subscribe=["r"], held=held[ROUTE])
    client.ack(added)
    assert client.accept().resources == {"r": "to new"}
    assert client.accept().removed == ["old"]


def test_a_changed_cluster_takes_its_unchanged_endpoints_along(protocol: Protocol) -> None:
    # envoy#13009
    client = settled(protocol, OLD)
    client.show(
        snapshot(
            clusters={"old": "2"},
            endpoints={"old": "1"},
            listeners={"l": "1"},
            routes={"r": "to old"},
        )
    )
    assert [(got.type_url, got.resources) for got in client.accept_all()] == [
        (CLUSTER, {"old": "2"}),
        (ENDPOINT, {"old": "1"}),
    ]


def test_endpoints_answered_before_their_cluster_are_answered_again_after_it(
    protocol: Protocol,
) -> None:
    client = settled(protocol, OLD).reconnected(
        snapshot(clusters={"old": "2"}, endpoints={"old": "1"})
    )
    client.want(ENDPOINT, "old")
    assert client.accept().resources == {"old": "1"}
    client.want(CLUSTER)
    assert [(got.type_url, got.resources) for got in client.accept_all()] == [
        (CLUSTER, {"old": "2"}),
        (ENDPOINT, {"old": "1"}),
    ]


def test_endpoints_under_way_when_their_cluster_is_sent_are_sent_again(protocol: Protocol) -> None:
    client = protocol(OLD)
    client.want(ENDPOINT, "old")
    under_way = client.got()
    client.want(CLUSTER)
    client.accept()
    assert client.next() is None
    client.ack(under_way)
    assert client.got().resources == {"old": "1"}


@pytest.mark.parametrize(
    ("content", "error"),
    [("2", None), ("worse", "Error adding/updating cluster(s) a: worse")],
    ids=["accepted", "taken beside one that is named"],
)
def test_a_refused_cluster_that_is_sent_again_with_others_takes_its_endpoints_along(
    content: str, error: str | None
) -> None:
    # State of the world: it stays in the set, and Envoy takes it once that has nothing invalid.
    endpoints = {"a": "1", "b": "1"}
    client = SotwClient(snapshot(clusters={"a": "bad", "b": "1"}, endpoints=endpoints))
    client.want(CLUSTER)
    client.want(ENDPOINT, *endpoints)
    client.nack(client.got(), "Proto constraint validation failed")
    assert client.accept().resources == endpoints
    assert client.next() is None
    client.show(snapshot(clusters={"a": content, "b": "1"}, endpoints=endpoints))
    clusters = client.got()
    assert clusters.resources == {"a": content, "b": "1"}
    client.answer(clusters, error)
    assert client.accept().resources == endpoints
    assert client.next() is None


def test_endpoints_do_not_wait_for_clusters_that_cannot_be_sent_yet(protocol: Protocol) -> None:
    client = settled(protocol, OLD)
    client.show(snapshot(clusters={"old": "2"}, endpoints={"old": "2"}))
    clusters = client.got()
    client.accept()
    client.show(snapshot(clusters={"old": "3"}, endpoints={"old": "3"}))
    assert client.accept().type_url == ENDPOINT, "Envoy acknowledges clusters once they are warm"
    client.ack(clusters)
    assert [got.type_url for got in client.accept_all()][:2] == [CLUSTER, ENDPOINT]


def test_a_client_that_asks_for_clusters_alone_is_told_of_their_removal(protocol: Protocol) -> None:
    client = protocol(OLD)
    client.want(CLUSTER)
    client.accept()
    client.show(snapshot())
    client.accept()
    assert client.held[CLUSTER] == {}
    assert client.next() is None
