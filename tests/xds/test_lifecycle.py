"""What both protocols promise from a stream's first request to its reconnect."""

import pytest

from controlplane.resources.resource import CLUSTER, ENDPOINT, LISTENER, SECRET, TYPE_URLS
from controlplane.resources.secret_sources import Secrets
from controlplane.xds import ProtocolError, Unserved
from tests.xds.client import DeltaClient, SotwClient
from tests.xds.snapshots import resource, snapshot

Protocol = type[DeltaClient] | type[SotwClient]
KINDS = ("clusters", "endpoints", "secrets", "listeners", "routes")
A = snapshot(clusters={"a": "1"}, endpoints={"a": "1"})


def settled(protocol: Protocol) -> DeltaClient | SotwClient:
    client = protocol(A)
    client.want(CLUSTER)
    client.want(ENDPOINT, "a")
    client.accept_all()
    return client


def test_a_known_cluster_without_endpoints_has_an_explicit_empty_assignment(
    protocol: Protocol,
) -> None:
    client = settled(protocol)
    client.show(snapshot(clusters={"a": "1"}, endpoints={"a": ""}))
    got = client.accept()
    assert (got.type_url, got.resources, got.removed) == (ENDPOINT, {"a": ""}, [])


def test_endpoints_of_a_cluster_removed_meanwhile_are_answered_empty(protocol: Protocol) -> None:
    # java-control-plane#127
    client = settled(protocol)
    client.show(snapshot())
    client.accept_all()
    client.drop(ENDPOINT, "a")
    client.want(ENDPOINT, "a")
    got = client.accept()
    assert (got.type_url, got.resources) == (ENDPOINT, {})
    assert client.next() is None


def test_an_aggregated_stream_without_a_type_is_an_invalid_argument(protocol: Protocol) -> None:
    with pytest.raises(ProtocolError, match="INVALID_ARGUMENT: type_url is required"):
        protocol(A).want("")
    client = settled(protocol)
    with pytest.raises(ProtocolError, match="INVALID_ARGUMENT: type_url is required"):
        client.want("")


@pytest.mark.parametrize("url", TYPE_URLS)
def test_a_stream_of_one_type_need_not_name_it(protocol: Protocol, url: str) -> None:
    kind = dict(zip(TYPE_URLS, KINDS, strict=True))[url]
    client = protocol(snapshot(**{kind: {"a": "1"}}), only=url)
    client.stream.secrets = Secrets(resource(SECRET, "a", "1"))
    client.want("", "a")
    got = client.got()
    assert (got.type_url, got.resources) == (url, {"a": "1"})


def test_another_type_on_a_stream_of_one_type_is_an_invalid_argument(protocol: Protocol) -> None:
    client = protocol(A, only=CLUSTER)
    client.want(CLUSTER)
    with pytest.raises(ProtocolError, match=f"INVALID_ARGUMENT: type_url must be {CLUSTER}"):
        client.want(LISTENER)


def test_names_asked_for_twice_are_answered_once(protocol: Protocol) -> None:
    client = protocol(A)
    client.want(CLUSTER, "*", "a", "a", "b", "b")
    got = client.accept()
    assert (got.resources, [*got.resources]) == ({"a": "1"}, ["a"])
    assert client.next() is None


def test_a_reconnect_after_a_change_gets_the_change_and_nothing_older(protocol: Protocol) -> None:
    before = settled(protocol)
    before.show(snapshot(clusters={"a": "2"}, endpoints={"a": "2"}))
    before.got()
    after = before.reconnected(snapshot(clusters={"a": "3"}, endpoints={"a": "3"}))
    after.want(CLUSTER)
    after.want(ENDPOINT, "a")
    assert [(got.type_url, got.resources) for got in after.accept_all()] == [
        (CLUSTER, {"a": "3"}),
        (ENDPOINT, {"a": "3"}),
    ]


def test_what_one_stream_was_told_says_nothing_of_another(protocol: Protocol) -> None:
    settled(protocol)
    other = settled(protocol)
    assert other.held == {CLUSTER: {"a": "1"}, ENDPOINT: {"a": "1"}}


def test_a_client_that_answers_nothing_is_sent_one_response_and_then_the_newest(
    protocol: Protocol,
) -> None:
    client = settled(protocol)
    client.show(snapshot(clusters={"a": "1"}, endpoints={"a": "2"}))
    unanswered = client.got()
    for content in map(str, range(3, 50)):
        client.show(snapshot(clusters={"a": "1"}, endpoints={"a": content}))
        assert client.next() is None
    client.ack(unanswered)
    assert [got.resources for got in client.accept_all()] == [{"a": "49"}]


def test_a_type_that_is_not_served_gets_silence_and_the_others_their_answers(
    protocol: Protocol,
) -> None:
    client = protocol(A)
    runtime = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
    client.want(runtime, "layer")
    assert client.events[-1] == Unserved(runtime)
    assert client.next() is None
    client.want(CLUSTER)
    assert client.accept().resources == {"a": "1"}
