"""What ends a stream, and that nothing less does."""

from dataclasses import replace

import pytest

from controlplane.resources.resource import CLUSTER, LISTENER
from controlplane.resources.views import View
from controlplane.xds import Connected, Locality, Node, ProtocolError
from controlplane.xds.holdings import mark
from controlplane.xds.protocol import Delta, Request
from controlplane.xds.stream import Stream
from controlplane.xds.subscription import MAX_NAME_LENGTH, MAX_NAMES, MAX_VERSION_LENGTH
from tests.xds.client import ENVOY, DeltaClient
from tests.xds.snapshots import snapshot


def refusal(stream: Stream, request: Request) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        stream.apply(request, 0.0)
    return caught.value


@pytest.mark.parametrize("node", [None, Node(), Node(cluster="apps")])
def test_a_stream_without_a_node_ends(node: Node | None) -> None:
    error = refusal(Stream(Delta()), Request(CLUSTER, node))
    assert error.code == "INVALID_ARGUMENT"


def test_a_stream_without_a_node_shows_none() -> None:
    stream = Stream(Delta())
    refusal(stream, Request("", ENVOY))
    assert stream.status() is None


def test_the_node_is_needed_once() -> None:
    stream = Stream(Delta())
    assert stream.apply(Request(CLUSTER, ENVOY), 0.0) == [Connected(ENVOY)]
    assert stream.apply(Request(LISTENER), 0.0) == []


def test_the_node_may_be_repeated() -> None:
    stream = Stream(Delta())
    stream.apply(Request(CLUSTER, ENVOY), 0.0)
    assert stream.apply(Request(LISTENER, ENVOY), 0.0) == []


@pytest.mark.parametrize(
    "other", [Node(id="other"), replace(ENVOY, metadata={"plimsoll": {"pools": ["b"]}})]
)
def test_a_stream_whose_node_changes_ends(other: Node) -> None:
    stream = Stream(Delta())
    stream.apply(Request(CLUSTER, ENVOY), 0.0)
    assert refusal(stream, Request(LISTENER, other)).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "node",
    [
        Node(id="a\nb"),
        Node(id="a" * 257),
        Node(id="a", cluster="\x1b[31m"),
        Node(id="a", locality=Locality(zone="\0")),
    ],
)
def test_a_node_that_cannot_be_shown_is_refused(node: Node) -> None:
    assert refusal(Stream(Delta()), Request(CLUSTER, node)).code == "INVALID_ARGUMENT"


def test_metadata_that_cannot_be_understood_is_refused_with_the_reason() -> None:
    node = Node(id="a", metadata={"plimsoll": {"pools": "all"}})
    error = refusal(Stream(Delta()), Request(CLUSTER, node))
    assert error.code == "INVALID_ARGUMENT"
    assert error.message == "node metadata plimsoll.pools: must be a list, not 'all'"


def test_metadata_chooses_the_view() -> None:
    stream = Stream(Delta())
    node = Node(id="a", metadata={"plimsoll": {"pools": ["b", "a"]}})
    stream.apply(Request(CLUSTER, node), 0.0)
    assert stream.view == View(pools=("a", "b"))


def test_too_many_names_in_one_request_are_refused() -> None:
    names = tuple(map(str, range(MAX_NAMES + 1)))
    error = refusal(Stream(Delta()), Request(CLUSTER, ENVOY, names=names))
    assert error.code == "RESOURCE_EXHAUSTED"


def test_too_many_names_in_several_requests_are_refused() -> None:
    stream = Stream(Delta())
    names = tuple(map(str, range(MAX_NAMES)))
    stream.apply(Request(CLUSTER, ENVOY, names=names), 0.0)
    assert stream.apply(Request(CLUSTER, names=names), 0.0) == []
    error = refusal(stream, Request(CLUSTER, names=("one more",)))
    assert error.code == "RESOURCE_EXHAUSTED"


def test_too_many_names_held_are_refused() -> None:
    held = dict.fromkeys(map(str, range(MAX_NAMES + 1)), "1")
    error = refusal(Stream(Delta()), Request(CLUSTER, ENVOY, initial_versions=held))
    assert error.code == "RESOURCE_EXHAUSTED"


def test_a_name_that_is_too_long_is_refused() -> None:
    names = ("a" * (MAX_NAME_LENGTH + 1),)
    error = refusal(Stream(Delta()), Request(CLUSTER, ENVOY, names=names))
    assert error.code == "INVALID_ARGUMENT"


def test_a_claim_that_is_no_version_of_ours_is_not_kept() -> None:
    client = DeltaClient(snapshot(clusters={"a": "1"}))
    kept = mark.cache_info()
    client.request(held={"a": "x" * (MAX_VERSION_LENGTH + 1)})
    assert mark.cache_info() == kept
    assert client.accept().resources == {"a": "1"}


@pytest.mark.parametrize(
    ("user_agent", "view"),
    [
        ("gRPC Go", View(is_grpc=True)),
        ("gRPC Java", View(is_grpc=True, ejects=False)),
        ("gRPC C-core linux", View(is_grpc=True)),
        ("envoy", View()),
        ("my gRPC", View()),
    ],
)
def test_a_grpc_client_is_known_by_the_name_of_its_program(user_agent: str, view: View) -> None:
    stream = Stream(Delta())
    stream.apply(Request(CLUSTER, replace(ENVOY, user_agent=user_agent)), 0.0)
    assert stream.view == view
