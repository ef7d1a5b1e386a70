"""Bytes that are no valid request end their own stream, with a status that says why."""

import asyncio
import builtins
import contextlib
import re

import envoy_data_plane.envoy.config.core.v3 as core_v3
import envoy_data_plane.envoy.service.discovery.v3 as discovery_v3
import envoy_data_plane.google.protobuf as protobuf
import envoy_data_plane.google.rpc as rpc
import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.resources.resource import CLUSTER
from tests.features.xds import Envoy, FixedCatalog, SotwEnvoy, envoy, serving
from tests.xds.snapshots import snapshot

A = FixedCatalog(snapshot(clusters={"a": "1"}))
PROTOCOLS = pytest.mark.parametrize(
    "protocol", [Envoy, SotwEnvoy], ids=["delta", "state of the world"]
)
NODE = core_v3.Node(
    id="sidecar-1", metadata=protobuf.Struct.from_dict({"plimsoll": {"pools": ["a"]}})
)
VALID = {
    Envoy: bytes(
        discovery_v3.DeltaDiscoveryRequest(
            node=NODE,
            type_url=CLUSTER,
            resource_names_subscribe=["a"],
            initial_resource_versions={"a": "1"},
            error_detail=rpc.Status(code=3, message="no"),
        )
    ),
    SotwEnvoy: bytes(
        discovery_v3.DiscoveryRequest(
            node=NODE,
            type_url=CLUSTER,
            version_info="1",
            resource_names=["a"],
            error_detail=rpc.Status(code=3, message="no"),
        )
    ),
}
TYPES_OF_PYTHON = [item for item in dir(builtins) if isinstance(getattr(builtins, item), type)]
EXCEPTIONS = [
    each for each in TYPES_OF_PYTHON if issubclass(getattr(builtins, each), BaseException)
]
INTERNALS = re.compile(rf"Traceback|File \"|\.py\b|controlplane|<|internal|{'|'.join(EXCEPTIONS)}")
DAMAGES = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "cut"]),
        st.integers(0, 200),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def damaged(message: bytes, damages: list[tuple[str, int, int]]) -> bytes:
    found = bytearray(message)
    for kind, where, byte in damages:
        at = where % (len(found) or 1)
        if kind == "cut":
            del found[at:]
        elif kind == "delete":
            del found[at : at + 1]
        elif kind == "insert":
            found.insert(at, byte)
        elif found:
            found[at] = byte
    return bytes(found)


async def outcome(client: Envoy, sent: list[bytes]) -> tuple[grpc.StatusCode, str]:
    """Send these and no more, and see how the stream ends."""
    # Either raises when the server has ended the stream before it had read everything.
    with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
        for data in sent:
            await client.call.write(data)
        await client.call.done_writing()
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await client.call.read() is not grpc.aio.EOF:
            pass
    code = await client.call.code()
    assert isinstance(code, grpc.StatusCode)
    return code, await client.call.details()


@PROTOCOLS
@settings(max_examples=8)
@given(batch=st.lists(st.tuples(st.booleans(), DAMAGES), min_size=10, max_size=20))
def test_a_damaged_request_ends_its_own_stream_with_a_status_that_says_why(
    protocol: type[Envoy], batch: list[tuple[bool, list[tuple[str, int, int]]]]
) -> None:
    async def scenario() -> None:
        async with (
            serving(A) as plane,
            envoy(plane.address, "good", protocol=protocol) as good,
            grpc.aio.insecure_channel(str(plane.address)) as channel,
        ):
            await good.want(CLUSTER)
            await good.accept()
            for first, damages in batch:
                bad = protocol(channel, "bad")
                garbage = damaged(VALID[protocol], damages)
                code, why = await outcome(bad, [garbage] if first else [VALID[protocol], garbage])
                assert code in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}, why
                assert bool(why) is (code is not grpc.StatusCode.OK)
                assert not INTERNALS.search(why), why
            plane.show(snapshot(clusters={"a": "after"}))
            assert (await good.accept()).resources == {"a": "after"}

    asyncio.run(scenario())


@PROTOCOLS
@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a", b"\x12\x01\xff"])
async def test_garbage_after_a_good_request_is_said_to_be_malformed(
    protocol: type[Envoy], data: bytes
) -> None:
    async with serving(A) as plane, envoy(plane.address, protocol=protocol) as client:
        code, why = await outcome(client, [VALID[protocol], data])
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert why.startswith("malformed request: ")


@PROTOCOLS
async def test_a_request_of_the_other_protocol_is_refused(protocol: type[Envoy]) -> None:
    other = SotwEnvoy if protocol is Envoy else Envoy
    async with serving(A) as plane, envoy(plane.address, protocol=protocol) as client:
        code, why = await outcome(client, [VALID[other]])
        assert (code, bool(why)) == (grpc.StatusCode.INVALID_ARGUMENT, True)
