"""What the benchmark's clients write and read, against Envoy's own messages."""

import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3

from benchmarks.xds.requests import TYPE_URLS, answer, first_requests
from controlplane.resources.resource import CLUSTER, ENDPOINT, ROUTE, Resource
from controlplane.resources.views import View
from controlplane.xds import decode_delta, encode_delta


def test_a_client_asks_for_every_type_and_names_endpoints_and_routes() -> None:
    requests = [
        discovery_v3.DeltaDiscoveryRequest.parse(data)
        for data in first_requests("n", TYPE_URLS, ["a", "b"], shown=None)
    ]
    assert {request.type_url: list(request.resource_names_subscribe) for request in requests} == {
        url: ["a", "b"] if url in (ENDPOINT, ROUTE) else [] for url in TYPE_URLS
    }


def test_the_first_request_says_who_asks_and_which_pools_it_wants_to_see() -> None:
    first, second = map(decode_delta, first_requests("n", TYPE_URLS[:2], ["a"], shown=["a"]))
    assert first.node is not None
    assert (first.node.id, first.node.user_agent, second.node) == ("n", "envoy", None)
    assert View.of(first.node.metadata) == View(pools=("a",))


def test_a_client_that_wants_all_pools_has_no_metadata() -> None:
    first = decode_delta(first_requests("n", TYPE_URLS, ["a"], shown=None)[0])
    assert first.node is not None
    assert first.node.metadata == {}


def test_an_answer_accepts_the_response_and_counts_what_it_carries() -> None:
    resources = [Resource.of(CLUSTER, name, b"") for name in ("a", "b")]
    response = encode_delta(version="1", resources=resources, type_url=CLUSTER, nonce="42")
    made = answer(response)
    request = discovery_v3.DeltaDiscoveryRequest.parse(made.acknowledgement)
    expected = discovery_v3.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce="42")
    assert (made.resources, request) == (2, expected)
