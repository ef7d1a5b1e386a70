"""Requests and responses as bytes: the same as betterproto2 reads and writes them."""

import contextlib
from typing import Any

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.envoy.type.v3 as type_v3
import envoy_data_plane.google.protobuf as protobuf
import envoy_data_plane.google.rpc as rpc
import pytest
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import ENDPOINT, Resource
from controlplane.xds import Locality, Node, decode_delta, encode_delta
from controlplane.xds.holdings import Holdings, version_of
from controlplane.xds.node import MalformedRequestError
from controlplane.xds.protocol import (
    ErrorDetail,
    Request,
    decode_sotw,
    encode_sotw,
    with_nonce,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PRINTABLE = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=20)
NAMES = st.lists(TEXT, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(TEXT, TEXT, TEXT, NAMES, st.lists(st.tuples(TEXT, st.binary(max_size=300)), max_size=5))
def test_a_response_says_what_was_put_into_it(
    version: str, url: str, nonce: str, removed: list[str], contents: list[tuple[str, bytes]]
) -> None:
    resources = [Resource.of(ENDPOINT, name, content) for name, content in contents]
    encoded = with_nonce(
        encode_delta(version=version, resources=resources, type_url=url, removed=removed), nonce
    )
    assert discovery_v3.DeltaDiscoveryResponse.parse(
        encoded
    ) == discovery_v3.DeltaDiscoveryResponse(
        system_version_info=version,
        resources=[discovery_v3.Resource.parse(resource.framed) for resource in resources],
        type_url=url,
        nonce=nonce,
        removed_resources=removed,
    )


@given(TEXT, TEXT, TEXT, st.lists(st.tuples(TEXT, st.binary(max_size=200)), max_size=3))
def test_a_response_of_the_state_of_the_world_says_what_was_put_into_it(
    version: str, url: str, nonce: str, contents: list[tuple[str, bytes]]
) -> None:
    message = discovery_v3.DiscoveryResponse(
        version_info=version,
        resources=[protobuf.Any(type_url=url, value=value) for _, value in contents],
        type_url=url,
        nonce=nonce,
    )
    resources = [Resource.of(url, name, value) for name, value in contents]
    encoded = with_nonce(encode_sotw(version=version, resources=resources, type_url=url), nonce)
    assert discovery_v3.DiscoveryResponse.parse(encoded) == message


@given(TEXT, TEXT, NAMES, NAMES, st.dictionaries(TEXT, TEXT, max_size=5), PRINTABLE)
def test_a_request_is_read_as_betterproto2_writes_it(
    url: str,
    nonce: str,
    subscribe: list[str],
    unsubscribe: list[str],
    versions: dict[str, str],
    error: str,
) -> None:
    message = discovery_v3.DeltaDiscoveryRequest(
        type_url=url,
        response_nonce=nonce,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=versions,
        error_detail=rpc.Status(code=13, message=error) if error else None,
    )
    assert decode_delta(bytes(message)) == Request(
        url,
        None,
        nonce,
        ErrorDetail(13, error, error) if error else None,
        tuple(subscribe),
        tuple(unsubscribe),
        versions,
    )


@given(TEXT, TEXT, TEXT, NAMES, PRINTABLE)
def test_a_request_for_the_state_of_the_world_is_read_as_betterproto2_writes_it(
    url: str, nonce: str, version: str, names: list[str], error: str
) -> None:
    message = discovery_v3.DiscoveryRequest(
        type_url=url,
        response_nonce=nonce,
        version_info=version,
        resource_names=names,
        error_detail=rpc.Status(code=13, message=error) if error else None,
    )
    assert decode_sotw(bytes(message)) == Request(
        url,
        None,
        nonce,
        ErrorDetail(13, error, error) if error else None,
        tuple(names),
        version=version,
    )


@given(TEXT, TEXT, TEXT, st.dictionaries(TEXT, JSON, max_size=3), st.integers(0, 2**32 - 1))
def test_a_node_is_read_as_betterproto2_writes_it(
    identity: str, cluster: str, zone: str, metadata: dict[str, Any], minor: int
) -> None:
    message = discovery_v3.DeltaDiscoveryRequest(
        node=core_v3.Node(
            id=identity,
            cluster=cluster,
            locality=core_v3.Locality(region="eu", zone=zone, sub_zone="s"),
            metadata=protobuf.Struct.from_dict(metadata),
            user_agent_name="envoy",
            user_agent_build_version=core_v3.BuildVersion(
                version=type_v3.SemanticVersion(major_number=1, minor_number=minor, patch=3)
            ),
            extensions=[core_v3.Extension(name="skipped", category="all of them")],
        )
    )
    assert decode_delta(bytes(message)).node == Node(
        identity, cluster, Locality("eu", zone, "s"), "envoy", f"1.{minor}.3", metadata
    )


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_garbage_is_a_malformed_request_or_none_at_all(data: bytes) -> None:
    with contextlib.suppress(MalformedRequestError):
        decode_delta(data)


@settings(max_examples=50)
@given(st.data())
def test_a_damaged_request_is_a_malformed_request_or_another_one(data: st.DataObject) -> None:
    message = discovery_v3.DeltaDiscoveryRequest(
        node=core_v3.Node(id="a", metadata=protobuf.Struct.from_dict({"b": [1, None, {"c": "d"}]})),
        initial_resource_versions={"e": "f"},
        error_detail=rpc.Status(code=3, message="g"),
    )
    damaged = bytearray(bytes(message))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(MalformedRequestError):
        decode_delta(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a",
        b"\x0a\x05ab",
        b"\x12\x01\xff",
        b"\x00\x01",
        b"\xff" * 11,
        b"\x0a\x02\x0a\xff",
    ],
    ids=["no length", "cut off", "not UTF-8", "field 0", "endless number", "inside"],
)
def test_bytes_that_are_no_request_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        decode_delta(data)


def test_metadata_nested_too_deeply_is_malformed() -> None:
    def nested(depth: int) -> bytes:
        """Lists within lists; betterproto2 cannot write so many."""
        value = struct_pb2.Value(string_value="deep").SerializeToString()
        for _ in range(depth):
            inner = b"\x0a" + varint(len(value)) + value
            value = b"\x32" + varint(len(inner)) + inner
        entry = b"\x0a\x03key\x12" + varint(len(value)) + value
        struct = b"\x0a" + varint(len(entry)) + entry
        node = b"\x1a" + varint(len(struct)) + struct
        return b"\x0a" + varint(len(node)) + node

    assert decode_delta(nested(20)).node is not None
    with pytest.raises(MalformedRequestError):
        decode_delta(nested(10_000))


def varint(number: int) -> bytes:
    more, last = divmod(number, 128)
    return bytes([last]) if not more else bytes([last | 128]) + varint(more)


def rejecting(message: bytes) -> bytes:
    status = pb.Status(message=message)
    return pb.DeltaDiscoveryRequest(error_detail=status).SerializeToString()


def test_the_words_of_a_rejection_are_cut_and_cleaned() -> None:
    words = "\x1b[31mno\n" + "x" * 10_000 + ": it has no port"
    error = decode_delta(rejecting(words.encode())).error
    assert error is not None
    assert error.message.startswith(" [31mno x")
    assert error.message.endswith("xx: it has no port")
    assert len(error.message) == 4_000
    assert error.words == " [31mno " + "x" * 10_000 + ": it has no port"


def test_words_that_are_not_utf8_are_read_as_far_as_they_are() -> None:
    error = decode_delta(rejecting(b"no \xff port")).error
    assert error is not None
    assert error.message == "no \N{REPLACEMENT CHARACTER} port"


def test_no_more_of_a_rejection_is_read_than_it_can_say() -> None:
    error = decode_delta(rejecting(b"x" * 1_000_000)).error
    assert error is not None
    assert error.words == "x" * 65_536 + "...(truncated)"


def test_a_version_depends_on_names_and_versions_and_not_on_their_order() -> None:
    def of(**contents: str) -> str:
        return version_of([Resource.of(ENDPOINT, n, c.encode()) for n, c in contents.items()])

    assert of(a="1", b="2") == of(b="2", a="1")
    assert len({of(a="1"), of(a="2"), of(b="1"), of()}) == 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "1", "2"]))))
def test_a_version_that_follows_changes_is_that_of_the_whole(steps: list[tuple[str, str]]) -> None:
    holdings, held = Holdings({}, keep=False), dict[str, Resource]()
    for name, content in steps:
        resource = Resource.of(ENDPOINT, name, content.encode()) if content else None
        held.pop(name, None)
        if resource:
            held[name] = resource
        assert holdings.version_with({name: resource}) == version_of([*held.values()])
        holdings.accept(name, resource)
    assert holdings.version_with({}) == version_of([*held.values()])
