"""A stream of istiod: what it is answered, when, and that nothing is taken from it too soon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.istio.resources import NOTHING, Configuration
from controlplane.istio.stream import MAX_TYPES, Stream
from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.endpoints import EndpointWeight
from controlplane.xds import ProtocolError
from tests.fleet.fleets import after, put
from tests.istio.decoded import a_pool, configured

ENTRY = "networking.istio.io/v1/ServiceEntry"
RULE = "networking.istio.io/v1/DestinationRule"
OTHER = "networking.istio.io/v1/VirtualService"
FOREIGN = "example.com/v1/ServiceEntry"
SLOW, FAST = EndpointWeight("tier-1", 100), EndpointWeight("tier-4", 400)


def configuration(endpoint_weight: EndpointWeight = SLOW) -> Configuration:
    return configured(after(put("a", 9000), fleet=a_pool()), {"a": endpoint_weight})


def request(type_url: str, nonce: str = "2026-08-27 12:45:20 m=+0.35", **more: object) -> bytes:
    """istiod puts the time into the nonce of its first requests."""
    said = pb.DiscoveryRequest(type_url=type_url, response_nonce=nonce, **more)  # type: ignore[arg-type]
    said.node.id = "sidecar~10.0.0.1~istiod.istio-system~istio-system.svc.cluster.local"
    return said.SerializeToString()


def asked(*types: str) -> Stream:
    """A stream on which these types were asked for."""
    stream = Stream()
    for type_url in types:
        assert stream.receive(request(type_url)) is None
    return stream


def sent(stream: Stream, newest: Configuration | None) -> dict[str, pb.DiscoveryResponse]:
    """What is sent, by type."""
    found = [pb.DiscoveryResponse.FromString(response) for response in stream.responses(newest)]
    assert len({item.type_url for item in found}) == len(found)
    return {each.type_url: each for each in found}


def accepted(stream: Stream, newest: Configuration | None) -> dict[str, pb.DiscoveryResponse]:
    """The same, with every response accepted."""
    found = sent(stream, newest)
    for item in found.values():
        assert stream.receive(request(item.type_url, item.nonce)) is None
    return found


def test_every_type_is_answered_and_of_two_there_is_something() -> None:
    found = sent(asked(ENTRY, RULE, OTHER, FOREIGN, "core/v1alpha1/MeshConfig"), configuration())
    assert {url: len(item.resources) for url, item in found.items()} == {
        ENTRY: 1,
        RULE: 1,
        OTHER: 0,
        FOREIGN: 0,
        "core/v1alpha1/MeshConfig": 0,
    }


def test_any_version_of_the_api_is_answered() -> None:
    url = "networking.istio.io/v1alpha3/ServiceEntry"
    assert len(sent(asked(url), configuration())[url].resources) == 1


def test_before_anything_is_known_nothing_is_said_of_what_istiod_may_hold() -> None:
    stream = asked(ENTRY, RULE, OTHER)
    assert accepted(stream, None).keys() == {OTHER}
    assert accepted(stream, configuration()).keys() == {ENTRY, RULE}


def test_that_there_is_no_pool_is_an_answer() -> None:
    assert sent(asked(ENTRY), NOTHING)[ENTRY].resources == []


def test_what_has_not_changed_is_not_sent_again() -> None:
    stream = asked(ENTRY, RULE)
    accepted(stream, configuration())
    assert sent(stream, configuration()) == {}
    assert sent(stream, configuration(FAST)).keys() == {ENTRY}


def test_the_next_response_of_a_type_waits_for_the_answer_to_the_last() -> None:
    stream = asked(ENTRY)
    (first,) = sent(stream, configuration()).values()
    assert sent(stream, configuration(FAST)) == {}
    stream.receive(request(ENTRY, "long ago"))
    assert sent(stream, configuration(FAST)) == {}
    stream.receive(request(ENTRY, first.nonce))
    assert sent(stream, configuration(FAST)).keys() == {ENTRY}


def test_why_a_response_is_rejected_is_told_and_it_is_not_sent_again() -> None:
    stream = asked(ENTRY)
    (first,) = sent(stream, configuration()).values()
    error = pb.Status(code=3, message=b"no\nhost")
    said = stream.receive(request(ENTRY, first.nonce, error_detail=error))
    assert said == f"{ENTRY}: no host"
    assert sent(stream, configuration()) == {}
    assert sent(stream, configuration(FAST)).keys() == {ENTRY}


def test_the_first_request_names_the_node() -> None:
    said = pb.DiscoveryRequest(type_url=ENTRY).SerializeToString()
    with pytest.raises(ProtocolError, match="the first request must name the node"):
        Stream().receive(said)


@pytest.mark.parametrize("url", ["", "a\nb", "x" * 257, "ü"])
def test_a_type_that_no_log_is_to_show_ends_the_stream(url: str) -> None:
    with pytest.raises(ProtocolError, match="type_url must have 1 to 256 printable"):
        Stream().receive(request(url))


def test_there_is_an_end_to_types() -> None:
    stream = asked(*(f"a/b/{i}" for i in range(MAX_TYPES)))
    with pytest.raises(ProtocolError, match="more than 256 types"):
        stream.receive(request("a/b/c"))


@given(st.lists(st.binary(max_size=60) | st.builds(request, st.text(max_size=8)), max_size=8))
def test_no_other_error_escapes(requests: list[bytes]) -> None:
    stream = Stream()
    try:
        for data in requests:
            stream.receive(data)
            list(stream.responses(NOTHING))
    except ProtocolError as error:
        assert error.message  # noqa: PT017 - any number of examples raise none
