"""What the client status service says of a client, as bytes that betterproto2 reads."""

import envoy_data_plane.envoy.service.status.v3 as status_v3

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import CLUSTER
from controlplane.xds import Locality, Node
from controlplane.xds.client_status import ConfigStatus, encode_config
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
