"""Requests of both xDS protocols as plain values, and responses as bytes.

Only the fields that the control plane acts on are read.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message

from controlplane.protos import envoy_pb2 as pb
from controlplane.resources.resource import Resource
from controlplane.xds.nack import CUT
from controlplane.xds.node import MalformedRequestError, Node, node_of

MessageT = TypeVar("MessageT", bound=Message)

_LONGEST_ERROR: Final = 4_000
"""Characters of a client's error message that are shown."""
_NO_VERSIONS: Final[Mapping[str, str]] = MappingProxyType({})
_MOST_WORDS: Final = 65_536
"""Characters of it that are read; Envoy cuts them at 4,096 bytes."""


class ErrorDetail(NamedTuple):
    """Why a client rejected a response, in its own words.

    `message` is for display: of a long one the beginning and the end. `words` are for parsing: all
    of them, or a part that ends with `CUT`.
    """

    code: int
    message: str
    words: str


class Request(NamedTuple):
    """A ``DeltaDiscoveryRequest`` or a ``DiscoveryRequest``.

    `names` are to be added (delta) or all that is wanted (state of the world). Of the attributes
    after it a request of the state of the world has the last alone, and one of delta the others.
    """

    type_url: str = ""
    node: Node | None = None
    nonce: str = ""
    error: ErrorDetail | None = None
    names: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = _NO_VERSIONS
    version: str = ""


def parse(message: type[MessageT], data: bytes) -> MessageT:
    """Parse untrusted bytes, or raise `MalformedRequestError`."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise MalformedRequestError(f"not a {message.DESCRIPTOR.name}") from None


def decode_delta(data: bytes) -> Request:
    """Decode a ``DeltaDiscoveryRequest``, or raise `MalformedRequestError` and nothing else."""
    request = parse(pb.DeltaDiscoveryRequest, data)
    subscribe, unsubscribe = request.resource_names_subscribe, request.resource_names_unsubscribe
    versions = request.initial_resource_versions
    # Most requests are acknowledgements, without any of these: no copies of nothing.
    return Request(
        request.type_url,
        node_of(request.node) if request.HasField("node") else None,
        request.response_nonce,
        _error(request.error_detail) if request.HasField("error_detail") else None,
        tuple(subscribe) if subscribe else (),
        tuple(unsubscribe) if unsubscribe else (),
        dict(versions) if versions else _NO_VERSIONS,
    )


def decode_sotw(data: bytes) -> Request:
    """Decode a ``DiscoveryRequest``, or raise `MalformedRequestError` and nothing else."""
    request = parse(pb.DiscoveryRequest, data)
    return Request(
        request.type_url,
        node_of(request.node) if request.HasField("node") else None,
        request.response_nonce,
        _error(request.error_detail) if request.HasField("error_detail") else None,
        tuple(request.resource_names),
        version=request.version_info,
    )


def encode_delta(
    *,
    version: str,
    resources: Iterable[Resource],
    type_url: str,
    nonce: str = "",
    removed: Iterable[str] = (),
) -> bytes:
    """Encode a ``DeltaDiscoveryResponse``; clients show the version, and do not act on it."""
    return pb.DeltaDiscoveryResponse(
        system_version_info=version,
        resources=[resource.framed for resource in resources],
        type_url=type_url,
        nonce=nonce,
        removed_resources=removed,
    ).SerializeToString()


def encode_sotw(
    *, version: str, resources: Iterable[Resource], type_url: str, nonce: str = ""
) -> bytes:
    """Encode a ``DiscoveryResponse``; clients repeat the version in their next requests."""
    return pb.DiscoveryResponse(
        version_info=version,
        resources=[resource.packed for resource in resources],
        type_url=type_url,
        nonce=nonce,
    ).SerializeToString()


def with_nonce(response: bytes, nonce: str) -> bytes:
    """Add a nonce to a response of either protocol that was encoded without one.

    Encoded messages that follow each other are merged. The nonce is field 5 in both protocols.
    """
    return response + pb.DeltaDiscoveryResponse(nonce=nonce).SerializeToString()


def _error(status: pb.Status) -> ErrorDetail:
    message = status.message.decode("utf-8", "replace")
    shown = message
    if len(message) > _LONGEST_ERROR:
        # Envoy names the resource first and, behind all that is in it, what is wrong with it.
        half = _LONGEST_ERROR // 2
        shown = message[: half - 3] + " … " + message[-half:]
    words = message if len(message) <= _MOST_WORDS else message[:_MOST_WORDS] + CUT
    return ErrorDetail(status.code, _printable(shown), _printable(words))


def _printable(message: str) -> str:
    """Replace control characters: the message goes to logs and dashboards."""
    return "".join(c if c.isprintable() else " " for c in message)
