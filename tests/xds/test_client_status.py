"""What the client status service says of a client, and of which clients it is asked."""

from typing import Any

import envoy_data_plane.envoy.service.status.v3 as status_v3
import envoy_data_plane.envoy.type.matcher.v3 as matcher_v3
import pytest

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import CLUSTER
from controlplane.xds import Locality, Node, ProtocolError
from controlplane.xds.client_status import ConfigStatus, decode_status_request, encode_config
from tests.xds.client import DeltaClient
from tests.xds.snapshots import snapshot

AB = snapshot(clusters={"b": "1", "a": "1"})
NODE = Node("sidecar-1", "apps", Locality("eu", "a", "rack-7"), "envoy", "1.40.0")


def decoded(*resources: pb.GenericXdsConfig) -> status_v3.ClientConfig:
    (config,) = status_v3.ClientStatusResponse.parse(encode_config(NODE, resources)).config
    return config


def test_a_client_is_shown_as_it_says_it_is() -> None:
    node = decoded().node
    assert node is not None
    assert node.locality is not None
    assert (node.id, node.cluster) == ("sidecar-1", "apps")
    assert (node.user_agent_name, node.user_agent_version) == ("envoy", "1.40.0")
    place = node.locality
    assert (place.region, place.zone, place.sub_zone) == ("eu", "a", "rack-7")


def test_a_refusal_says_of_which_version_it_is() -> None:
    client = DeltaClient(AB)
    client.request()
    client.nack(client.got(), "Error adding/updating cluster(s) a: no port")
    entry, *_ = decoded(*client.stream.resources(AB)).generic_xds_configs
    assert entry.error_state is not None
    assert (entry.name, entry.error_state.version_info) == ("a", AB.type(CLUSTER)["a"].version)
    assert "no port" in entry.error_state.details


def test_what_a_client_holds_of_another_version_and_was_not_sent_yet_is_not_sent() -> None:
    client = DeltaClient(AB)
    client.request()
    client.accept()
    newer = snapshot(clusters={"b": "2", "a": "1"})
    found = [(resource.name, resource.config_status) for resource in client.stream.resources(newer)]
    assert found == [("a", ConfigStatus.SYNCED), ("b", ConfigStatus.NOT_SENT)]


def encoded(*matchers: matcher_v3.NodeMatcher, **more: Any) -> bytes:
    return bytes(status_v3.ClientStatusRequest(node_matchers=[*matchers], **more))


def by_id(**kind: Any) -> matcher_v3.NodeMatcher:
    return matcher_v3.NodeMatcher(node_id=matcher_v3.StringMatcher(**kind))


def wanted(*matchers: matcher_v3.NodeMatcher) -> list[str]:
    request = decode_status_request(encoded(*matchers))
    return [
        item for item in ("web", "web-1", "a-web", "a-web-1", "Web-1") if request.wants(Node(item))
    ]


@pytest.mark.parametrize(
    ("kind", "ids", "with_any_case"),
    [
        ("exact", ["web-1"], ["web-1", "Web-1"]),
        ("prefix", ["web-1"], ["web-1", "Web-1"]),
        ("suffix", ["web-1", "a-web-1"], ["web-1", "a-web-1", "Web-1"]),
        ("contains", ["web-1", "a-web-1"], ["web-1", "a-web-1", "Web-1"]),
    ],
)
def test_ids_are_matched_as_the_kind_says_and_case_counts_unless_told(
    kind: str, ids: list[str], with_any_case: list[str]
) -> None:
    assert wanted(by_id(**{kind: "web-1"})) == ids
    assert wanted(by_id(**{kind: "WEB-1"})) == []
    assert wanted(by_id(**{kind: "WEB-1"}, ignore_case=True)) == with_any_case


def test_a_prefix_and_an_exact_id_are_not_the_same() -> None:
    assert wanted(by_id(exact="web")) == ["web"]
    assert wanted(by_id(prefix="web")) == ["web", "web-1"]
    assert wanted(by_id(suffix="web")) == ["web", "a-web"]
    assert wanted(by_id(contains="web")) == ["web", "web-1", "a-web", "a-web-1"]


def test_any_of_several_matchers_will_do_and_none_means_all() -> None:
    assert wanted(by_id(exact="web"), by_id(exact="Web-1")) == ["web", "Web-1"]
    assert len(wanted()) == 5


@pytest.mark.parametrize("without", [True, False])
def test_contents_are_left_out_where_that_is_asked_for(*, without: bool) -> None:
    data = encoded(exclude_resource_contents=without)
    assert decode_status_request(data).without_contents is without


@pytest.mark.parametrize(
    ("matcher", "why"),
    [
        (matcher_v3.NodeMatcher(), "needs a node_id"),
        (by_id(safe_regex=matcher_v3.RegexMatcher(regex="a")), "exact, prefix, suffix or contains"),
        (matcher_v3.NodeMatcher(node_metadatas=[matcher_v3.StructMatcher()]), "by node_id only"),
        (by_id(), "exact, prefix, suffix or contains"),
    ],
    ids=["empty", "regex", "metadata", "no kind"],
)
def test_other_matchers_are_refused_in_a_sentence(
    matcher: matcher_v3.NodeMatcher, why: str
) -> None:
    with pytest.raises(ProtocolError, match=f"INVALID_ARGUMENT.*{why}"):
        decode_status_request(encoded(matcher))
