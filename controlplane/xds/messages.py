"""Requests of both xDS protocols as frozen values, and responses as bytes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.resources.encoding import VARINT, delimited, implicit, tag
from controlplane.resources.resource import Resource
from controlplane.xds.nack import CUT
from controlplane.xds.node import Node, decode_node
from controlplane.xds.wire import fields, text, texts

_LONGEST_ERROR: Final = 4_000
"""Characters of a client's words that are shown."""
_MOST_WORDS: Final = 65_536
"""That are read; Envoy cuts them at 4,096 bytes."""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why a client rejected a response, in its own words.

    Attributes:
        code: Of gRPC.
        message: To be shown: of a long one its begin and its end.
        words: To be read: all of it, or what is not `CUT`.
    """

    code: int
    message: str
    words: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """What both protocols say in each request; the attributes are the fields of the same name."""

    type_url: str = ""
    node: Node | None = None
    nonce: str = ""
    error: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class DeltaRequest(Request):
    """A ``DeltaDiscoveryRequest``; the attributes are its fields of the same meaning."""

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SotwRequest(Request):
    """A ``DiscoveryRequest``; the attributes are its fields of the same meaning."""

    names: tuple[str, ...] = ()
    version: str = ""


def decode_delta(data: bytes) -> DeltaRequest:
    """Decode a ``DeltaDiscoveryRequest``.

    Raises:
        MalformedRequestError: When the bytes are no such message; no other error escapes.
    """
    type_url, nonce, node, error = "", "", None, None
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    versions: dict[str, str] = {}
    for key, _, value in fields(memoryview(data)):
        if key == tag(1):
            node = decode_node(value)
        elif key == tag(2):
            type_url = text(value)
        elif key == tag(3):
            subscribe.append(text(value))
        elif key == tag(4):
            unsubscribe.append(text(value))
        elif key == tag(5):
            name, version = texts(value, 1, 2)
            versions[name] = version
        elif key == tag(6):
            nonce = text(value)
        elif key == tag(7):
            error = _error(value)
    return DeltaRequest(
        type_url, node, nonce, error, tuple(subscribe), tuple(unsubscribe), versions
    )


def decode_sotw(data: bytes) -> SotwRequest:
    """Decode a ``DiscoveryRequest``.

    Raises:
        MalformedRequestError: When the bytes are no such message; no other error escapes.
    """
    type_url, nonce, version, node, error = "", "", "", None, None
    names: list[str] = []
    for key, _, value in fields(memoryview(data)):
        if key == tag(1):
            version = text(value)
        elif key == tag(2):
            node = decode_node(value)
        elif key == tag(3):
            names.append(text(value))
        elif key == tag(4):
            type_url = text(value)
        elif key == tag(5):
            nonce = text(value)
        elif key == tag(6):
            error = _error(value)
    return SotwRequest(type_url, node, nonce, error, tuple(names), version)


def _error(data: memoryview) -> ErrorDetail:
    code, message = 0, ""
    for key, number, value in fields(data):
        if key == tag(1, VARINT):
            code = number
        elif key == tag(2):
            message = str(value, "utf-8", "replace")
    shown = message
    if len(message) > _LONGEST_ERROR:
        # Envoy names the resource first and, behind all that is in it, what is wrong with it.
        half = _LONGEST_ERROR // 2
        shown = message[: half - 3] + " … " + message[-half:]
    words = message if len(message) <= _MOST_WORDS else message[:_MOST_WORDS] + CUT
    return ErrorDetail(code, _printable(shown), _printable(words))


def _printable(message: str) -> str:
    """It goes to logs and dashboards: no control characters."""
    return "".join(c if c.isprintable() else " " for c in message)


def encode_delta(
    *,
    version: str,
    resources: Iterable[Resource],
    type_url: str,
    nonce: str = "",
    removed: Iterable[str] = (),
) -> bytes:
    """Encode a ``DeltaDiscoveryResponse``; equal to what betterproto2 makes of the same.

    Args:
        version: The ``system_version_info``, which clients show and do not act on.
        resources: New and changed ones.
        type_url: Of all the resources.
        nonce: By which the client will acknowledge it; left out when empty, to be added at the end.
        removed: Names that do not exist (any more).
    """
    parts = [implicit(1, version.encode())]
    parts += [delimited(2, resource.framed) for resource in resources]
    parts.append(implicit(4, type_url.encode()))
    parts += [delimited(6, name.encode()) for name in removed]
    parts.append(implicit(5, nonce.encode()))
    return b"".join(parts)


def encode_sotw(
    *, version: str, resources: Iterable[Resource], type_url: str, nonce: str = ""
) -> bytes:
    """Encode a ``DiscoveryResponse``; equal to what betterproto2 makes of the same.

    Args:
        version: The ``version_info``, which clients repeat in their next requests.
        resources: All of them, or those that have changed: see `controlplane.xds.protocol`.
        type_url: Of all the resources.
        nonce: As in `encode_delta`.
    """
    parts = [implicit(1, version.encode())]
    parts += [delimited(2, resource.packed) for resource in resources]
    parts += [implicit(4, type_url.encode()), implicit(5, nonce.encode())]
    return b"".join(parts)


def with_nonce(body: bytes, nonce: str) -> bytes:
    """A response of either protocol that was encoded without a nonce, with one."""
    return body + delimited(5, nonce.encode())
