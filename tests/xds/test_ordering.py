"""In which order the types of an aggregated stream are sent, so that no request is lost."""

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPE_URLS
from controlplane.resources.snapshot import Snapshot
from tests.xds.client import Client, snapshot

OLD = snapshot(
    clusters={"old": "1"}, endpoints={"old": "1"}, listeners={"l": "1"}, routes={"r": "to old"}
)
NEW = snapshot(
    clusters={"new": "1"}, endpoints={"new": "1"}, listeners={"l": "2"}, routes={"r": "to new"}
)


def settled(now: Snapshot) -> Client:
    """A client that wants everything, as Envoy does, and holds it."""
    client = Client(now)
    client.request(CLUSTER)
    client.request(ENDPOINT, subscribe=[*now.type(CLUSTER)])
    client.request(LISTENER)
    client.request(ROUTE, subscribe=[*now.type(ROUTE)])
    client.accept_all()
    return client


def test_a_cluster_is_removed_only_after_the_route_left_it() -> None:
    client = settled(OLD)
    client.request(ENDPOINT, subscribe=["new"])
    client.accept_all()
    client.show(NEW)
    assert [(got.type_url, [*got.resources], got.removed) for got in client.accept_all()] == [
        (CLUSTER, ["new"], []),
        (ENDPOINT, ["new"], ["old"]),
        (LISTENER, ["l"], []),
        (ROUTE, ["r"], []),
        (CLUSTER, [], ["old"]),
    ]


def test_endpoints_follow_a_cluster_without_waiting_for_its_acknowledgement() -> None:
    client = settled(OLD)
    client.show(snapshot(clusters={"old": "2"}, endpoints={"old": "1"}))
    assert client.got().type_url == CLUSTER
    assert client.got().type_url == ENDPOINT


def test_listeners_and_routes_wait_while_a_cluster_may_be_warming() -> None:
    client = settled(OLD)
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


def test_a_cluster_stays_until_its_last_route_is_acknowledged() -> None:
    client = settled(OLD)
    client.show(snapshot(listeners={"l": "1"}, routes={"r": "to nothing"}))
    assert client.accept().type_url == ENDPOINT
    route = client.got()
    assert route.type_url == ROUTE
    assert client.next() is None
    client.ack(route)
    assert client.got().removed == ["old"]


def test_a_cluster_stays_while_the_route_that_leaves_it_is_rejected() -> None:
    client = settled(OLD)
    client.show(snapshot(listeners={"l": "1"}, routes={"r": "bad"}))
    client.accept()
    client.nack(client.got())
    assert client.next() is None
    client.show(snapshot(listeners={"l": "1"}, routes={"r": "good"}))
    assert client.accept().resources == {"r": "good"}
    assert client.got().removed == ["old"]


def test_after_a_reconnect_no_cluster_is_removed_before_the_routes_were_asked_for() -> None:
    held = {
        url: {name: resource.version for name, resource in OLD.type(url).items()}
        for url in TYPE_URLS
    }
    client = Client(NEW)
    client.request(CLUSTER, held=held[CLUSTER])
    added = client.got()
    assert (added.resources, added.removed) == ({"new": "1"}, [])
    assert client.next() is None
    client.request(ROUTE, subscribe=["r"], held=held[ROUTE])
    client.ack(added)
    assert client.accept().resources == {"r": "to new"}
    assert client.accept().removed == ["old"]


def test_a_changed_cluster_takes_its_unchanged_endpoints_along() -> None:
    client = settled(OLD)
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


def test_endpoints_answered_before_their_cluster_are_answered_again_after_it() -> None:
    client = Client(OLD)
    client.request(ENDPOINT, subscribe=["old"], held={"old": "from another server"})
    assert client.accept().resources == {"old": "1"}
    client.request(CLUSTER, held={"old": "from another server"})
    assert [(got.type_url, got.resources) for got in client.accept_all()] == [
        (CLUSTER, {"old": "1"}),
        (ENDPOINT, {"old": "1"}),
    ]


def test_endpoints_under_way_when_their_cluster_is_sent_are_sent_again() -> None:
    client = Client(OLD)
    client.request(ENDPOINT, subscribe=["old"])
    under_way = client.got()
    client.request(CLUSTER)
    client.accept()
    assert client.next() is None
    client.ack(under_way)
    assert client.got().resources == {"old": "1"}


def test_endpoints_do_not_wait_for_clusters_that_cannot_be_sent_yet() -> None:
    client = settled(OLD)
    client.show(snapshot(clusters={"old": "2"}, endpoints={"old": "2"}))
    clusters = client.got()
    client.accept()
    client.show(snapshot(clusters={"old": "3"}, endpoints={"old": "3"}))
    assert client.accept().type_url == ENDPOINT, "Envoy acknowledges clusters once they are warm"
    client.ack(clusters)
    assert [got.type_url for got in client.accept_all()][:2] == [CLUSTER, ENDPOINT]


def test_an_empty_assignment_is_a_resource_like_any_other() -> None:
    client = settled(snapshot(clusters={"a": "1"}, endpoints={"a": "one"}))
    client.show(snapshot(clusters={"a": "1"}, endpoints={"a": ""}))
    got = client.accept()
    assert (got.type_url, got.resources, got.removed) == (ENDPOINT, {"a": ""}, [])


def test_endpoints_of_a_cluster_removed_meanwhile_are_answered() -> None:
    client = settled(OLD)
    client.show(snapshot())
    client.accept_all()
    client.request(ENDPOINT, subscribe=["old"])
    got = client.accept()
    assert (got.type_url, got.resources, got.removed) == (ENDPOINT, {}, ["old"])


def test_a_client_that_asks_for_clusters_alone_is_told_of_their_removal() -> None:
    client = Client(OLD)
    client.request(CLUSTER)
    client.accept()
    client.show(snapshot())
    assert client.accept().removed == ["old"]
    assert client.next() is None


def test_a_reconnect_after_a_change_gets_the_change_and_nothing_older() -> None:
    held = {name: resource.version for name, resource in OLD.type(ENDPOINT).items()}
    client = Client(snapshot(clusters={"old": "1"}, endpoints={"old": "2"}))
    client.request(ENDPOINT, subscribe=["old"], held=held)
    assert [got.resources for got in client.accept_all()] == [{"old": "2"}]
